// The metadata of a GGUF file that we write: the architecture's own entries, the tokenizer, the card, and what the file
// says about its types (docs/gguf.md of ggml-org/ggml; `llama_ftype` in llama.h of ggml-org/llama.cpp).

import { ggufArray } from "@fidelity/formats";
import type { GgufElement, GgufValue, SourceDtype } from "@fidelity/formats";
import type { MetadataEntry } from "@fidelity/models";

/** Numbers of `general.file_type`: what most of a file's bytes are. */
const FILE_TYPES: Readonly<Partial<Record<SourceDtype, number>>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q5_0: 8,
  q5_1: 9,
  q2_k: 10,
  q3_k: 11,
  q4_k: 14,
  q5_k: 16,
  q6_k: 18,
  iq4_nl: 25,
  bf16: 32,
  tq1_0: 36,
  tq2_0: 37,
};

const FLOATS: ReadonlySet<string> = new Set(["f32", "f16", "bf16", "f64"]);

/** What a file says of its types: `general.file_type`, and the version of blocks where it has any. */
export function typeEntries(tensors: readonly { readonly to: SourceDtype; readonly shape: readonly number[] }[]) {
  const elements = new Map<SourceDtype, number>();
  for (const { to, shape } of tensors) {
    elements.set(to, (elements.get(to) ?? 0) + shape.reduce((product, extent) => product * extent, 1));
  }
  const [main] = [...elements].reduce((most, next) => (next[1] > most[1] ? next : most), ["f32", 0] as const);
  const entries: MetadataEntry[] = [];
  const type = FILE_TYPES[main];
  if (type !== undefined) entries.push({ key: "general.file_type", type: "u32", value: type });
  if (!elements.keys().every((dtype) => FLOATS.has(dtype))) {
    entries.push({ key: "general.quantization_version", type: "u32", value: 2 });
  }
  return entries;
}

export function ggufEntry({ key, type, value }: MetadataEntry): [string, GgufValue] {
  if (Array.isArray(value)) return [key, ggufArray(type, value as readonly GgufElement[])];
  return [key, { type, value } as GgufValue];
}
