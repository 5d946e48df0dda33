// The numbers of a model's parameters, whatever file they are in, one parameter at a time: what a conversion reads. No
// device is needed; files are mapped, and decoding one parameter takes 1 to 5 times its float32 values in memory.

import { mapFile, openContainer } from "@fidelity/barewire/node";
import { cellsOf, decodeTensor, hostValues } from "@fidelity/core";
import { decodeTensorValues, findTensor } from "@fidelity/formats";
import type { SourceTensor } from "@fidelity/formats";
import { importModel, namedParameters } from "@fidelity/models";
import type { Model, Tokenizer } from "@fidelity/models";
import { cardOfTexts } from "../card.ts";
import type { ModelCard } from "../card.ts";
import { openForeignModel } from "../foreign-file.node.ts";
import { foreignValues } from "./foreign-values.ts";
import { fidelityInfo, formatOf, llama2cParts, readTokenizer } from "../model-file.node.ts";
import type { ModelInfo, OpenModelOptions } from "../model-file.node.ts";
import { arenaFor } from "../parameter-file.node.ts";

/** A parameter in a file. */
export interface StoredParameter {
  readonly dtype: string;
  readonly sizeBytes: number;
  /** Its values, row-major, decoded anew at each call. */
  values(): Float32Array;
  /** The tensor of another program's file that it is as it stands, where it is one. */
  readonly source?: SourceTensor;
}

/** A model whose parameters are read from a file. */
export interface StoredValues extends Disposable {
  readonly format: ModelInfo["format"];
  readonly model: Model;
  /** Undefined where there is none; made when it is asked for. */
  readonly tokenizer: Tokenizer | undefined;
  readonly card: ModelCard;
  readonly fileSizeBytes: number;
  /** By path, in the model's order. */
  readonly parameters: ReadonlyMap<string, StoredParameter>;
}

/** Opens a model file of any format. Throws what `openModel` throws. */
export function openValues(path: string, options: Pick<OpenModelOptions, "tokenizer"> = {}): StoredValues {
  const format = formatOf(path);
  if (format === "fidelity") return openFidelityValues(path, options);
  if (format === "llama2c") return openLlama2cValues(path, options);
  using opened = new DisposableStack();
  const file = opened.use(openForeignModel(path));
  const imported = importModel(file.format, file.described);
  const { model } = imported;
  const parameters = foreignValues(file, imported);
  const resources = opened.move();
  const { fileSizeBytes } = file;
  const given = options.tokenizer === undefined ? undefined : readTokenizer(options.tokenizer, model);
  return {
    format,
    model,
    get tokenizer() {
      return given ?? file.tokenizer(model.vocabSize);
    },
    card: file.card(),
    fileSizeBytes,
    parameters,
    [Symbol.dispose]: () => resources.dispose(),
  };
}

function openFidelityValues(path: string, options: Pick<OpenModelOptions, "tokenizer">): StoredValues {
  using opened = new DisposableStack();
  const container = opened.use(openContainer(path, opened.use(arenaFor(path))));
  const { info, types } = fidelityInfo(path, container.header, options);
  const { format, model, tokenizer, fileSizeBytes } = info;
  const parameters = new Map<string, StoredParameter>();
  for (const [name, type] of types) {
    const bytes = container.tensor(name).u8() as Uint8Array; // nothing here writes to it
    // Through float64 a large embedding would take three times the memory.
    const values = (): Float32Array =>
      new Float32Array(type.dtype === "f32" ? cellsOf(type, bytes) : hostValues(decodeTensor(type, bytes)));
    parameters.set(name, { dtype: type.dtype, sizeBytes: bytes.byteLength, values });
  }
  const resources = opened.move();
  const card = cardOfTexts(info.metadata);
  return { format, model, tokenizer, card, fileSizeBytes, parameters, [Symbol.dispose]: () => resources.dispose() };
}

function openLlama2cValues(path: string, options: Pick<OpenModelOptions, "tokenizer">): StoredValues {
  using opened = new DisposableStack();
  const file = opened.use(mapFile(path, opened.use(arenaFor(path))));
  const { info, source } = llama2cParts(path, file.region, options);
  const { format, model, tokenizer, fileSizeBytes } = info;
  const parameters = new Map<string, StoredParameter>();
  for (const { path: name } of namedParameters(model.parameters)) {
    const tensor = findTensor(source, name);
    parameters.set(name, { ...tensor, values: () => decodeTensorValues(tensor) });
  }
  const resources = opened.move();
  const card: ModelCard = new Map();
  return { format, model, tokenizer, card, fileSizeBytes, parameters, [Symbol.dispose]: () => resources.dispose() };
}
