// The chat template that a model file brings, whatever its format.

import { ChatTemplate } from "@fidelity/models";
import { CHAT_TEMPLATE, cardOfTexts } from "./card.ts";
import { openForeignModel } from "./foreign-file.node.ts";
import type { ModelInfo } from "./model-file.node.ts";

/** A model's own chat template; undefined where it has none. Throws `ChatTemplateError` for one that cannot be read. */
export function chatTemplateOf({ path, format, metadata }: ModelInfo): ChatTemplate | undefined {
  if (format === "llama2c") return undefined;
  const source = format === "fidelity" ? cardOfTexts(metadata).get(CHAT_TEMPLATE) : templateOfForeign(path);
  return typeof source === "string" && source !== "" ? new ChatTemplate(source) : undefined;
}

function templateOfForeign(path: string): unknown {
  using file = openForeignModel(path);
  return file.card().get(CHAT_TEMPLATE);
}
