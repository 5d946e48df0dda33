// Names of models as commands take them: OWNER/NAME[:CHOICE], where the choice is a quantisation or a file of the
// repository, as users of llama.cpp and ollama write it. Addresses of the hub's pages are names as well.

import { HubError } from "./errors.ts";

export interface ModelName {
  /** `owner/name` at the hub. */
  readonly repository: string;
  /** What was asked for after the colon: a quantisation such as Q4_K_M, or the path of a file. */
  readonly choice: string | undefined;
  /** What the store calls the model: the repository, and `:` and the choice where there is one. */
  readonly name: string;
}

const PAGE = /^(?:https?:\/\/)?(?:huggingface\.co|hf\.co)\//;
const REPOSITORY = /^[\w][\w.-]{0,95}\/[\w][\w.-]{0,95}$/;
/** Names in the store: one to two parts and a tag. */
const STORE_NAME = /^[\w][\w.-]*(\/[\w][\w.-]*)?(:[\w][\w.-]*)?$/;
const NAME_LENGTH_MAX = 200;

/** Reads OWNER/NAME[:CHOICE]. Throws `HubError` for what is no such name. */
export function parseModelName(text: string): ModelName {
  const plain = text.replace(PAGE, "").replace(/\/(tree|blob|resolve)\/.*$/, "");
  const colon = plain.indexOf(":");
  const repository = colon < 0 ? plain : plain.slice(0, colon);
  const choice = colon < 0 ? undefined : plain.slice(colon + 1);
  const isName = REPOSITORY.test(repository) && !/--|\.\./.test(repository);
  if (!isName || choice === "") {
    throw new HubError("this is not the name of a model at the hub", {
      expected: "OWNER/NAME or OWNER/NAME:QUANTISATION, such as Qwen/Qwen3-0.6B-GGUF:Q8_0",
      got: JSON.stringify(text.slice(0, 200)),
    });
  }
  // Of a file the store keeps the name alone.
  const tag = choice?.slice(choice.lastIndexOf("/") + 1).replace(/\.gguf$/i, "");
  return { repository, choice, name: tag === undefined ? repository : `${repository}:${tag}` };
}

/** Whether the store could have a model of this name. */
export function isStoreName(name: string): boolean {
  return name.length <= NAME_LENGTH_MAX && STORE_NAME.test(name) && !/--|\.\./.test(name);
}
