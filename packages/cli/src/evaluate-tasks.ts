// What `eval` measures besides a text: multiple choice and associative recall, each as a table and as a value.

import type { Device } from "@fidelity/core";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import { evaluateChoices, evaluateRecall } from "@fidelity/train";
import type { Question } from "@fidelity/train";
import { formatCount, plural } from "./table.ts";

/** A model with one form of its weights. */
export interface Variant {
  readonly device: Device;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly parameters: DeviceParameters;
  /** "packed", "float32", or the narrow dtypes of the file. */
  readonly weights: string;
}

/** What was measured of a variant. */
export interface TaskReport {
  /** What it was measured on, in words. */
  readonly what: string;
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly result: object;
}

/** Multiple choice. Throws what `evaluateChoices` throws. */
export async function measureChoices(
  { weights, ...variant }: Variant,
  questions: readonly Question[],
  contextLength: number | undefined,
): Promise<TaskReport> {
  const measured = await evaluateChoices({ ...variant, questions, contextLength });
  const { accuracy, accuracyError, normalisedAccuracy, normalisedAccuracyError, chance, truncated } = measured;
  const cut = truncated > 0 ? `; of ${formatCount(truncated)} the beginning was left out` : "";
  return {
    what: `${plural(questions.length, "question")}; guessing would give ${percent(chance)}${cut}`,
    header: ["weights", "accuracy", "+/-", "normalised", "+/-"],
    rows: [[weights, ...[accuracy, accuracyError, normalisedAccuracy, normalisedAccuracyError].map(percent)]],
    result: { weights, ...measured },
  };
}

export interface RecallChoice {
  readonly pairs?: readonly number[];
  readonly sequences?: number;
  /** Tokens of a sequence. */
  readonly context: number;
}

const DEFAULT_SEQUENCES = 256;

/** Associative recall. Throws what `evaluateRecall` throws. */
export async function measureRecall(
  { weights, ...variant }: Variant,
  { pairs, sequences = DEFAULT_SEQUENCES, context }: RecallChoice,
): Promise<TaskReport> {
  const asked = pairs ?? powersOfTwo(Math.min(context / 4, variant.model.vocabSize / 2 - 1));
  const recall = await evaluateRecall({ ...variant, pairs: asked, sequences, contextLength: context });
  return {
    what: `MQAR, ${formatCount(recall[0].sequences)} sequences of ${context} tokens for each number of pairs`,
    header: ["weights", "pairs", "accuracy", "+/-"],
    rows: recall.map(({ pairs: count, accuracy, standardError }) => [
      weights,
      String(count),
      percent(accuracy),
      percent(standardError),
    ]),
    result: { weights, context, recall },
  };
}

/** 2, 4, 8, ... up to `most`, and at least one number, which is refused by name where it does not fit. */
function powersOfTwo(most: number): number[] {
  const count = Math.max(1, Math.floor(Math.log2(most)));
  return Array.from({ length: count }, (_, i) => 2 ** (i + 1));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
