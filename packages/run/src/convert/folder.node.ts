// A Hugging Face folder: config.json, model.safetensors, the tokenizer's files. Each is written whole; what an earlier
// model left in the folder and this one would be mistaken for is removed.

import { rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, writeFileAtomic, writeFileGradually } from "@fidelity/barewire/node";
import { safetensorsPieces } from "@fidelity/formats";
import type { TensorToWrite } from "@fidelity/formats";
import type { HuggingFaceTokenizer } from "@fidelity/models";
import { chatTemplateJson, CHAT_TEMPLATE, textsOfCard } from "../card.ts";
import type { ModelCard } from "../card.ts";
import { CONFIG_FILE, INDEX_FILE, TEMPLATE_FILE, TOKENIZER_FILES, WEIGHTS_FILE } from "../foreign-file.node.ts";

export interface FolderContents {
  /** config.json */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly TensorToWrite[];
  readonly tokenizer: HuggingFaceTokenizer | undefined;
  readonly card: ModelCard;
}

/** Writes the folder and gives the bytes of its tensors. Throws `FileError`, and the signal's reason. */
export async function writeFolder(
  path: string,
  { config, tensors, tokenizer, card }: FolderContents,
  options: { readonly signal?: AbortSignal },
): Promise<number> {
  const isNew = makeFolder(path);
  try {
    const texts = textsOfCard(new Map([...card].filter(([key]) => !key.startsWith(CHAT_TEMPLATE))));
    const file = safetensorsPieces({ metadata: { format: "pt", ...texts }, tensors });
    const sizeBytes = await writeFileGradually(join(path, WEIGHTS_FILE), file, options);
    writeJson(join(path, CONFIG_FILE), config);
    const template = chatTemplateJson(card);
    const named = template === undefined ? tokenizer?.config : { ...tokenizer?.config, chat_template: template };
    const files = { ...tokenizer, config: named };
    for (const [part, name] of Object.entries(TOKENIZER_FILES) as [keyof typeof TOKENIZER_FILES, string][]) {
      if (files[part] === undefined) rmSync(join(path, name), { force: true });
      else writeJson(join(path, name), files[part], part === "tokenizer" ? undefined : 2);
    }
    for (const name of [INDEX_FILE, TEMPLATE_FILE]) rmSync(join(path, name), { force: true });
    return sizeBytes;
  } catch (error) {
    if (isNew) removeEmpty(path);
    throw error;
  }
}

function writeJson(path: string, value: unknown, indent: number | undefined = 2): void {
  writeFileAtomic(path, [new TextEncoder().encode(`${JSON.stringify(value, null, indent)}\n`)]);
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Something was written into it.
  }
}
