// What the README.md of a Hugging Face folder says of its model: the front matter, lines of YAML between two of "---"
// (https://huggingface.co/docs/hub/model-cards). Of YAML it reads what these have: texts and lists of texts at the top;
// anything nested is passed over.

import type { CardValue, ModelCard } from "./card.ts";

/** GGUF's key for a field of the front matter. */
const KEYS: Readonly<Record<string, string>> = {
  model_name: "general.name",
  model_creator: "general.author",
  license: "general.license",
  license_name: "general.license.name",
  license_link: "general.license.link",
  language: "general.languages",
  tags: "general.tags",
  datasets: "general.datasets",
};
const LISTS: ReadonlySet<string> = new Set(["general.languages", "general.tags", "general.datasets"]);

/** The card in the front matter of a README; empty where there is none. */
export function cardOfReadme(text: string): ModelCard {
  const card = new Map<string, CardValue>();
  const matter = /^---\r?\n([^]*?)\r?\n---/.exec(text)?.[1] ?? "";
  for (const [field, values] of topFields(matter.split(/\r?\n/))) {
    const key = Object.hasOwn(KEYS, field) ? KEYS[field] : undefined;
    if (key !== undefined && values.length > 0) card.set(key, LISTS.has(key) ? values : values.join(", "));
    if (field !== "base_model") continue;
    card.set("general.base_model.count", values.length);
    for (const [i, model] of values.entries()) card.set(`general.base_model.${i}.name`, model);
  }
  return card;
}

/** Texts by the fields at the top. */
function topFields(lines: readonly string[]): Map<string, string[]> {
  const fields = new Map<string, string[]>();
  let last: string[] = [];
  for (const line of lines) {
    const [, field, value = ""] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
    const item = /^\s*-\s+(.*)$/.exec(line)?.[1];
    if (field !== undefined) {
      const list = /^\[(.*)\]$/.exec(value)?.[1];
      last = (list?.split(",") ?? [value]).map(plainText).filter((text) => text !== "");
      fields.set(field, last);
    } else if (item !== undefined && !/^[\w-]+:(\s|$)/.test(item)) last.push(plainText(item));
  }
  return fields;
}

function plainText(text: string): string {
  const trimmed = text.trim();
  return /^(["'])(.*)\1$/.exec(trimmed)?.[2] ?? trimmed.replace(/\s+#.*$/, "");
}
