// What goes with a model from file to file although nothing is computed with it: its name, authors, license and the
// like, and its chat templates. The keys are GGUF's (`general.*` and `tokenizer.chat_template` of docs/gguf.md in
// ggml-org/ggml); containers and safetensors keep the same entries as texts of their metadata.

import type { GgufValue } from "@fidelity/formats";
import type { MetadataEntry } from "@fidelity/models";

export type CardValue = string | number | boolean | readonly string[];
/** By GGUF's keys. */
export type ModelCard = ReadonlyMap<string, CardValue>;

export const CHAT_TEMPLATE = "tokenizer.chat_template";
/** The names of templates besides the main one. */
const TEMPLATE_NAMES = "tokenizer.chat_templates";

/** What a file says about itself, not about the model. */
const ABOUT_THE_FILE: ReadonlySet<string> = new Set([
  "general.architecture",
  "general.alignment",
  "general.file_type",
  "general.quantization_version",
]);

/** Whether an entry is the card's. */
function isOfCard(key: string): boolean {
  const isGeneral = key.startsWith("general.") && !ABOUT_THE_FILE.has(key);
  return isGeneral || key === CHAT_TEMPLATE || key.startsWith(`${CHAT_TEMPLATE}.`);
}

export function cardOfGguf(metadata: ReadonlyMap<string, GgufValue>): ModelCard {
  const card = new Map<string, CardValue>();
  for (const [key, entry] of metadata) {
    if (!isOfCard(key)) continue;
    if (entry.type !== "array") card.set(key, typeof entry.value === "bigint" ? Number(entry.value) : entry.value);
    else if (entry.elementType === "string") card.set(key, entry.values().map(String));
  }
  return card;
}

export function ggufEntriesOfCard(card: ModelCard): MetadataEntry[] {
  const entries = Array.from(card, ([key, value]): MetadataEntry => ({ key, type: ggufType(value), value }));
  const names = [...card.keys()].flatMap((key) => templateName(key) ?? []);
  return names.length === 0 ? entries : [...entries, { key: TEMPLATE_NAMES, type: "string", value: names }];
}

function ggufType(value: CardValue): MetadataEntry["type"] {
  if (typeof value === "boolean") return "bool";
  if (typeof value !== "number") return "string";
  return Number.isInteger(value) && value >= 0 && value < 2 ** 32 ? "u32" : "f32";
}

/** The card in a file's own metadata: texts, lists as JSON. */
export function cardOfTexts(metadata: Readonly<Record<string, unknown>>): ModelCard {
  const texts = Object.entries(metadata).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return new Map(texts.filter(([key]) => isOfCard(key)).map(([key, text]) => [key, valueOfText(key, text)]));
}

function valueOfText(key: string, text: string): CardValue {
  if (key.startsWith(CHAT_TEMPLATE) || !/^\[|^\d+$|^(true|false)$/.test(text)) return text;
  if (!text.startsWith("[")) return key.endsWith(".count") ? Number(text) : text;
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) && list.every((item) => typeof item === "string") ? list : text;
  } catch {
    return text; // a text that begins with a bracket
  }
}

export function textsOfCard(card: ModelCard): Record<string, string> {
  return Object.fromEntries(
    Array.from(card, ([key, value]) => [key, Array.isArray(value) ? JSON.stringify(value) : String(value)]),
  );
}

/** The field `chat_template` of a tokenizer_config.json; undefined where there is no template. */
export function chatTemplateJson(card: ModelCard): string | { name: string; template: string }[] | undefined {
  const main = card.get(CHAT_TEMPLATE);
  const named = [...card].flatMap(([key, template]) => {
    const name = templateName(key);
    return name === undefined ? [] : [{ name, template: String(template) }];
  });
  if (named.length === 0) return main === undefined ? undefined : String(main);
  return main === undefined ? named : [{ name: "default", template: String(main) }, ...named];
}

/** The chat templates of a folder's tokenizer_config.json, and of chat_template.jinja, which comes first. */
export function templatesOfFolder(config: unknown, jinja: string | undefined): ModelCard {
  const card = new Map<string, CardValue>();
  const value = typeof config === "object" && config !== null && "chat_template" in config ? config.chat_template : "";
  const list: readonly unknown[] = Array.isArray(value) ? value : [{ name: "default", template: value }];
  for (const item of list) {
    if (typeof item !== "object" || item === null || !("name" in item) || !("template" in item)) continue;
    const { name, template } = item;
    if (typeof name !== "string" || typeof template !== "string" || template === "") continue;
    card.set(name === "default" ? CHAT_TEMPLATE : `${CHAT_TEMPLATE}.${name}`, template);
  }
  return jinja === undefined ? card : card.set(CHAT_TEMPLATE, jinja);
}

function templateName(key: string): string | undefined {
  return key.startsWith(`${CHAT_TEMPLATE}.`) ? key.slice(CHAT_TEMPLATE.length + 1) : undefined;
}
