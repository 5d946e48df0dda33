// What `train` and `quickstart` share: from a corpus and sizes to a run, shown as it happens, stopped by Ctrl-C with a
// whole checkpoint, and a model file at the end.

import type { Device } from "@fidelity/core";
import {
  architectures,
  ByteTokenizer,
  CharacterTokenizer,
  countParameters,
  createModel,
  sampleConfigs,
} from "@fidelity/models";
import type { Model, Tokenizer } from "@fidelity/models";
import { saveModel } from "@fidelity/run/node";
import { ProgressDisplay, train } from "@fidelity/train";
import type { RunFolder, TextCorpus, TokenData, TrainingData, TrainOptions, TrainResult } from "@fidelity/train";
import { UsageError } from "./errors.ts";
import { Interrupt } from "./interrupt.ts";
import type { Output } from "./output.ts";

/** What can be trained on text: every architecture of the registry that gives a next token. "transformer" is llama. */
export const ARCHITECTURES: readonly string[] = [
  ...Object.keys(architectures).filter((name) => name !== "bert"),
  "transformer",
];

export const VOCABULARIES = ["byte", "character"] as const;
export type VocabularyName = (typeof VOCABULARIES)[number];

/** The sizes of a model as the command line has them. */
export interface ModelSizes {
  readonly architecture: string;
  readonly layers: number;
  readonly width: number;
  readonly hidden?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly context: number;
  /** Further fields of the configuration, `name=value`. */
  readonly set?: readonly string[];
}

const DEFAULT_HEADS = 4;

/** Builds a model of these sizes. Throws `UsageError` for heads where there are none, and `ModelConfigError`. */
export function modelOfSizes(sizes: ModelSizes, vocabSize: number): Model {
  const { layers: layerCount, width: dim, hidden, heads, kvHeads, context } = sizes;
  const architecture = sizes.architecture === "transformer" ? "llama" : sizes.architecture;
  const sample = sampleConfigs[architecture];
  const hasHeads = "headCount" in sample;
  if (!hasHeads && (heads !== undefined || kvHeads !== undefined)) {
    throw new UsageError(`a ${architecture} model has no heads`, {
      where: heads === undefined ? "option --kv-heads" : "option --heads",
      hint: "leave it out, or use --architecture transformer",
    });
  }
  const isAttention = "keyValueHeadCount" in sample;
  const headCount = heads ?? (isAttention ? DEFAULT_HEADS : undefined);
  const keyValueHeadCount = kvHeads ?? (isAttention ? headCount : undefined);
  return createModel({
    architecture,
    dim,
    layerCount,
    vocabSize,
    ...(hidden !== undefined && { hiddenDim: hidden }),
    ...(headCount !== undefined && { headCount }),
    ...(keyValueHeadCount !== undefined && { keyValueHeadCount }),
    ...("contextLength" in sample && { contextLength: context }),
    ...Object.fromEntries((sizes.set ?? []).map(readField)),
  });
}

/** A field of a configuration: `window=128`, `weights=ternary`, `tiedEmbeddings=false`. */
function readField(text: string): [string, string | number | boolean] {
  const match = /^([A-Za-z]\w*)=(.+)$/.exec(text);
  if (match === null) {
    throw new UsageError("--set cannot take this value", {
      where: "option --set <name=value...>",
      expected: "a field of the architecture's configuration, such as weights=ternary or pattern=MMMA",
      got: JSON.stringify(text),
    });
  }
  const [, name, value] = match;
  if (value === "true" || value === "false") return [name, value === "true"];
  return [name, value.trim() === "" || Number.isNaN(Number(value)) ? value : Number(value)];
}

/** The vocabulary of a corpus. A character vocabulary reads the whole of it. */
export function vocabularyOf(corpus: TextCorpus, name: VocabularyName): Tokenizer {
  return name === "byte" ? new ByteTokenizer() : CharacterTokenizer.fromTexts(corpus.texts());
}

/** Everything that a run is made of. */
export interface RunPlan<D extends TrainingData = TokenData> extends Pick<
  TrainOptions,
  "settings" | "validation" | "recompute" | "watch"
> {
  readonly device: Device;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly data: D;
  readonly folder: RunFolder;
}

export interface FinishedRun {
  readonly result: TrainResult;
  /** 0, or 128 and the number of the signal that stopped the run. */
  readonly exitCode: number;
}

/** Trains with a live display. The first Ctrl-C stops with a whole checkpoint, the second one at once. */
export async function runTraining(plan: RunPlan<TrainingData>, output: Output): Promise<FinishedRun> {
  const display = new ProgressDisplay({ stream: output.people });
  using interrupt = new Interrupt(() => display.note("stopping after this step; press Ctrl-C again to quit at once"));
  const { folder, ...rest } = plan;
  try {
    const result = await train({
      ...rest,
      folder: folder.path,
      signal: interrupt.signal,
      onProgress: display.update,
      onNotice: display.note,
    });
    return { result, exitCode: result.isFinished ? 0 : interrupt.exitCode };
  } finally {
    display.finish();
  }
}

/** Saves the finished model of a run: ternary weights packed, where it has any. Returns the size of the file. */
export async function saveFinished(
  { device, model, tokenizer, settings, folder }: RunPlan<TrainingData>,
  result: TrainResult,
): Promise<number> {
  const { parameters, step, validationLoss } = result;
  const packed = countParameters(model.parameters).ternaryParameters > 0;
  const metadata = {
    step,
    ...(settings.contextLength !== undefined && { contextLength: settings.contextLength }),
    ...(validationLoss !== undefined && { validationLoss }),
  };
  return saveModel(folder.model, { device, model, parameters, tokenizer, packed, metadata });
}
