// What a model file says of itself: its card, the kind and size of its tokenizer, its chat templates. No vocabulary is
// built for it, so that it is quick for files of any size.

import type { ContainerHeader } from "@fidelity/barewire";
import { readContainerHeader } from "@fidelity/barewire/node";
import { CHAT_TEMPLATE, cardOfTexts } from "./card.ts";
import type { ModelCard } from "./card.ts";
import { openForeignModel } from "./foreign-file.node.ts";
import type { ForeignFile } from "./foreign-file.ts";
import { formatOf } from "./model-file.node.ts";

export interface VocabularyInfo {
  /** What the file calls its kind. */
  readonly kind: string;
  readonly tokens: number;
}

export interface AboutModel {
  /** Without chat templates. */
  readonly card: ModelCard;
  /** Undefined where the file has none. */
  readonly vocabulary: VocabularyInfo | undefined;
  /** Names; the main one is "default". */
  readonly chatTemplates: readonly string[];
}

/** What a model file says of itself. Throws as `describeModel` does for what is no model file. */
export function aboutModel(path: string): AboutModel {
  const format = formatOf(path);
  if (format === "gguf" || format === "safetensors") {
    using file = openForeignModel(path);
    return aboutForeign(file);
  }
  if (format !== "fidelity") return about(new Map(), undefined);
  return aboutContainer(readContainerHeader(path));
}

/** What a file of another program that is open says of its model. */
export function aboutForeign(file: ForeignFile): AboutModel {
  return about(file.card(), file.vocabulary());
}

/** What a container says of its model, by its header. */
export function aboutContainer({ config, metadata }: ContainerHeader): AboutModel {
  const spec = typeof config === "object" && config !== null && "tokenizer" in config ? config.tokenizer : undefined;
  return about(cardOfTexts(metadata), ownVocabulary(spec));
}

function about(card: ModelCard, vocabulary: VocabularyInfo | undefined): AboutModel {
  const keys = [...card.keys()].filter((key) => key.startsWith(CHAT_TEMPLATE));
  return {
    card: new Map([...card].filter(([key]) => !keys.includes(key))),
    vocabulary,
    chatTemplates: keys.map((key) => (key === CHAT_TEMPLATE ? "default" : key.slice(CHAT_TEMPLATE.length + 1))),
  };
}

/** Of a tokenizer as a container keeps it. */
function ownVocabulary(spec: unknown): VocabularyInfo | undefined {
  if (typeof spec !== "object" || spec === null || !("kind" in spec) || typeof spec.kind !== "string") return undefined;
  const { kind } = spec;
  if ("tokens" in spec && Array.isArray(spec.tokens)) return { kind, tokens: spec.tokens.length };
  if ("characters" in spec && typeof spec.characters === "string") {
    return { kind, tokens: Array.from(spec.characters).length };
  }
  return kind === "byte" ? { kind, tokens: 256 } : undefined;
}
