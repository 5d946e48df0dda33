// What a file says of its model in rows of name and value: the card, the tokenizer, the configuration; and what can be
// done with it next.

import { namings } from "@fidelity/models";
import type { FileDescription } from "../describe-file.ts";
import { shellWord } from "../run-folder.ts";
import { formatPlain, plural } from "../table.ts";

/** Lists of more values are told by their length. */
const LIST_MAX = 8;

/** The card as rows: its own fields, then the tokenizer and chat templates. */
export function cardRows({ card = {}, tokenizer, chatTemplates = [] }: FileDescription): [string, string][] {
  const rows = Object.entries(card)
    .filter(([key]) => !key.endsWith(".count"))
    .map(([key, value]): [string, string] => {
      const name = key.replace(/^general\.|\.0\.name$/g, "").replaceAll(/[._]/g, " ");
      return [name, Array.isArray(value) ? value.join(", ") : formatPlain(value)];
    });
  if (tokenizer !== undefined) rows.push(["tokenizer", `${tokenizer.kind}, ${plural(tokenizer.tokens, "token")}`]);
  if (chatTemplates.length > 0) rows.push(["chat template", chatTemplates.join(", ")]);
  return rows;
}

/** Fields of the configuration and metadata that are no part of the card, nested ones with dotted names. */
export function configRows({ config, metadata, card = {} }: FileDescription): [string, string][] {
  const told = new Set(Object.keys(card));
  return [config, metadata]
    .flatMap((value) => plainEntries(value))
    .filter(([name]) => !told.has(name) && !name.startsWith("tokenizer.chat_template"));
}

function plainEntries(value: unknown, prefix = ""): [string, string][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, field]): [string, string][] => {
    const path = `${prefix}${name}`;
    if (typeof field !== "object" || field === null) return [[path, formatPlain(field)]];
    if (path === "tokenizer") return []; // the whole vocabulary, in a container
    if (Array.isArray(field) && field.length > LIST_MAX) return [[path, plural(field.length, "value")]];
    return plainEntries(field, `${path}.`);
  });
}

/** Commands that make sense with the file; none for a model that cannot be opened, or is not on this machine. */
export function nextSteps({ path, format, architecture, tokenizer, problem }: FileDescription): string[] {
  if (architecture === undefined || problem !== undefined || /^https?:/.test(path)) return [];
  const file = shellWord(path);
  const generates = architecture.name !== "bert";
  const vocabulary = tokenizer === undefined && !format.startsWith("llama2.c") ? " --tokenizer tokenizer.json" : "";
  const use = generates
    ? `fidelity generate --model ${file}${vocabulary} --prompt "Once upon a time"`
    : `fidelity logits ${file} --tokens tokens.json --out vectors.f32`;
  if (format.startsWith("GGUF")) return [use, `fidelity convert ${file} model.fid`];
  const isWritten = namings[architecture.name]?.gguf?.metadata !== undefined;
  return isWritten ? [use, `fidelity convert ${file} model.gguf`] : [use];
}
