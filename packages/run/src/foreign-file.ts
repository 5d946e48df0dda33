// A model file of another program as what an import reads: its tensors by name, what it says of its sizes, its
// tokenizer and its card. Where its bytes come from is the business of whoever opened it.

import { decodeTensorValues } from "@fidelity/formats";
import type { GgufSource, SourceMetadata, SourceTensor, TensorSource } from "@fidelity/formats";
import { tokenizerFromGguf } from "@fidelity/models";
import type { ForeignFormat, ForeignModel, Tokenizer } from "@fidelity/models";
import { cardOfGguf } from "./card.ts";
import type { ModelCard } from "./card.ts";

/** What GGUF says where there is no tokenizer. */
const NO_TOKENIZER: readonly unknown[] = ["none", "no_vocab"];

/** A file of another program, open. Dispose it when its tensors have been read. */
export interface ForeignFile extends Disposable {
  readonly format: ForeignFormat;
  readonly path: string;
  readonly fileSizeBytes: number;
  readonly described: ForeignModel;
  /** What the file is made of. */
  readonly source: TensorSource;
  /** The scalars of GGUF's metadata, or config.json. */
  readonly config: unknown;
  /**
   * The file's own tokenizer, or the one beside it; undefined where there is none. Throws `VocabularyError`.
   * @param vocabSize tokens that the model has logits for
   */
  tokenizer(vocabSize: number): Tokenizer | undefined;
  /** The kind and size of the tokenizer, which is not built for it; undefined where there is none. */
  vocabulary(): { readonly kind: string; readonly tokens: number } | undefined;
  /** Its name, license and so on, and its chat templates; read when it is asked for. */
  card(): ModelCard;
  /** Tensors by name. */
  readonly tensors: ReadonlyMap<string, SourceTensor>;
}

/** What GGUF and Hugging Face keep in different places. */
export type ForeignParts = Pick<ForeignFile, "format" | "config" | "tokenizer" | "vocabulary" | "card">;

export function ggufParts({ config, metadata }: GgufSource, { get }: SourceMetadata): ForeignParts {
  const kind = get("tokenizer.ggml.model") ?? "none";
  return {
    format: "gguf",
    config,
    tokenizer: () => (NO_TOKENIZER.includes(kind) ? undefined : tokenizerFromGguf(get)),
    vocabulary: () => {
      const tokens = metadata.get("tokenizer.ggml.tokens");
      return typeof kind === "string" && tokens?.type === "array" ? { kind, tokens: tokens.length } : undefined;
    },
    card: () => cardOfGguf(metadata),
  };
}

/** Brings the parts of a file together. */
export function foreignFile(
  path: string,
  source: TensorSource,
  { get }: SourceMetadata,
  parts: ForeignParts,
  opened: DisposableStack,
): ForeignFile {
  const tensors = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const described: ForeignModel = {
    where: path,
    get,
    shape: (name) => tensors.get(name)?.shape,
    dtype: (name) => tensors.get(name)?.dtype,
    values: (name) => decodeTensorValues(tensors.get(name)!),
  };
  const fileSizeBytes = source.tensors.reduce(
    (end, { byteOffset, sizeBytes }) => Math.max(end, byteOffset + sizeBytes),
    0,
  );
  return { ...parts, path, fileSizeBytes, described, source, tensors, [Symbol.dispose]: () => opened.dispose() };
}
