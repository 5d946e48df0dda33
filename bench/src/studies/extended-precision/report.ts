// The page and the pictures of the study, from what its parts measured.

import { formatStability, stabilitySvg } from "@fidelity/furnace";
import type { StabilityReport } from "@fidelity/furnace";
import { mean } from "../../statistics.ts";
import { dotsSvg } from "../dots.ts";
import type { GradientErrors } from "./gradients.ts";
import type { ProblemResult, ThresholdResult } from "./ill_conditioned.ts";
import { ARITHMETICS } from "./ill_conditioned.ts";
import type { TrainingResult } from "./training.ts";
import { TRAINING, VARIANTS } from "./training.ts";

export interface StudyResults {
  readonly trainings: readonly TrainingResult[];
  readonly gradients: readonly GradientErrors[];
  readonly problems: readonly ProblemResult[];
  readonly thresholds: readonly ThresholdResult[];
}

const MODELS = ["transformer", "MatMul-free"] as const;
/** Runs in float32 that differ by a bit of one weight at the start: what the others are compared with is their mean. */
const FLOAT32 = new Set(["f32", "f32-nudged", "f32-other"]);

const signed = (value: number, digits: number): string => `${value < 0 ? "" : "+"}${value.toFixed(digits)}`;
const short = (value: number): string => value.toExponential(0);
const finalLoss = ({ curve }: TrainingResult): number => curve.at(-1)![1];

/** The step at which a curve comes down to a loss, between its points; undefined if it never does. */
function stepsTo({ curve }: TrainingResult, loss: number): number | undefined {
  const after = curve.findIndex(([, value]) => value <= loss);
  if (after < 0) return undefined;
  if (after === 0) return curve[0][0];
  const [[x0, y0], [x1, y1]] = [curve[after - 1], curve[after]];
  return x0 + ((x1 - x0) * (y0 - loss)) / (y0 - y1);
}

/** A variant beside the mean of the float32 runs of the same model and seed. */
interface Comparison {
  readonly loss: number;
  /** Of the final loss, in percent; negative is better. */
  readonly lossPercent: number;
  /** Of the steps down to float32's loss at two thirds of the run, in percent; negative is faster. */
  readonly stepsPercent: number | undefined;
}

function comparisons(trainings: readonly TrainingResult[], model: string, variant: string): Comparison[] {
  const own = trainings.filter((run) => run.model === model);
  return own
    .filter((run) => run.variant === variant)
    .map((run) => {
      const base = own.filter((other) => other.seed === run.seed && FLOAT32.has(other.variant));
      const point = Math.floor((run.curve.length * 2) / 3) - 1;
      const steps = stepsTo(run, mean(base.map(({ curve }) => curve[point][1])));
      const loss = finalLoss(run);
      return {
        loss,
        lossPercent: 100 * (loss / mean(base.map(finalLoss)) - 1),
        stepsPercent: steps === undefined ? undefined : 100 * (steps / run.curve[point][0] - 1),
      };
    });
}

const list = (values: readonly (number | undefined)[], digits: number): string =>
  values.map((value) => (value === undefined ? "never" : signed(value, digits))).join(", ");

function trainingTable({ trainings }: StudyResults, model: string): string {
  const rows = VARIANTS.map(({ key, name }) => {
    const all = comparisons(trainings, model, key);
    const losses = all.map(({ loss }) => loss.toFixed(4)).join(", ");
    const quality = all.map(({ lossPercent }) => lossPercent);
    const speed = list(
      all.map(({ stepsPercent }) => stepsPercent),
      1,
    );
    return `| ${name} | ${losses} | ${list(quality, 2)} (mean ${signed(mean(quality), 2)}) | ${speed} |`;
  });
  return [
    "| arithmetic | validation loss by seed | against float32, % | steps to float32's loss at two thirds, % |",
    "| --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

function gradientTable({ gradients }: StudyResults): string {
  const names = Object.keys(gradients[0].errors);
  const rows = MODELS.map((model) => {
    const own = gradients.filter((each) => each.model === model);
    const cells = names.map((name) => own.map(({ errors }) => short(errors[name])).join(", "));
    return `| ${model} | ${cells.join(" | ")} | ${own.map(({ otherBatch }) => otherBatch.toFixed(1)).join(", ")} |`;
  });
  return [`| model | ${names.join(" | ")} | another batch |`, `|${" --- |".repeat(names.length + 2)}`, ...rows].join(
    "\n",
  );
}

function problemTable({ problems }: StudyResults): string {
  const rows = [...new Set(problems.map(({ problem }) => problem))].map((problem) => {
    const own = problems.filter((each) => each.problem === problem);
    const cells = ARITHMETICS.map((name) => {
      return own
        .find(({ arithmetic }) => arithmetic === name)!
        .values.map(short)
        .join(", ");
    });
    return `| ${problem}: ${own[0].measure} | ${cells.join(" | ")} |`;
  });
  return [`| problem | ${ARITHMETICS.join(" | ")} |`, `|${" --- |".repeat(ARITHMETICS.length + 1)}`, ...rows].join(
    "\n",
  );
}

function thresholdTable({ thresholds }: StudyResults): string {
  const storages = [...new Set(thresholds.map(({ storage }) => storage))];
  const rows = [...new Set(thresholds.map(({ stepBits }) => stepBits))].map((stepBits) => {
    const cells = storages.map((storage) => {
      const found = thresholds.find((each) => each.stepBits === stepBits && each.storage === storage);
      return found === undefined ? "" : `${(100 * mean(found.flipped)).toFixed(0)} %`;
    });
    return `| 2^${stepBits} | ${cells.join(" | ")} |`;
  });
  return [`| step | ${storages.join(" | ")} |`, `|${" --- |".repeat(storages.length + 1)}`, ...rows].join("\n");
}

/** The final losses against float32, one picture a model. The claim is the range from -5 to -2. */
export function lossPicture({ trainings }: StudyResults, model: string): string {
  const rows = VARIANTS.map(({ key, short: name }) => ({
    name,
    values: comparisons(trainings, model, key).map(({ lossPercent }) => lossPercent),
  }));
  return dotsSvg(rows, {
    low: -5,
    high: 1,
    title: `${model}: validation loss against float32, %; the claim is -5 to -2`,
  });
}

export function pictures(results: StudyResults, stability: StabilityReport): ReadonlyMap<string, string> {
  return new Map([
    ["extended-precision-transformer.svg", lossPicture(results, "transformer")],
    ["extended-precision-matmul-free.svg", lossPicture(results, "MatMul-free")],
    ["extended-precision-stability.svg", stabilitySvg(stability)],
  ]);
}

/** What was measured once, and how to repeat the rest. */
const FORMATS = `## Which format

Double-double, a pair of float64, has 106 bits on every target with the same bits everywhere, and is the default.
f80 has 64 and is code of the x87 unit: one number at a time, by native code on x86-64 only. f128 has 113; LLVM
makes calls of a compiler's library (\`__addtf3\`, \`__multf3\`) of it, which native code is linked with where it
computes in f128 (Debian's \`libclang-rt-19-dev\` or GCC's \`libgcc.a\`; without one there is a named error).
Numbers of both are pairs of float64 in memory, and neither is a dtype. \`pairsIn("f128")\`, \`doubleDouble(fn,
"f128")\` and \`withPrecision(fn, accumulations("f128"))\` ask for a format; other targets and the interpreter
compute the same program in double-double, which has more digits than f80 and seven fewer than f128. Measured
against arbitrary precision, results are right to 58 bits and better in f80, to 103 in f128 and to 96 in
double-double (\`bench/src/studies/extended-precision/formats.test.ts\`). So f80 is of use for accumulation alone,
where it is no faster than a pair, and f128 where seven more bits inside of a sum, or its range, are worth thirty
times the time. Nanoseconds an element, one thread, 65,536 elements, the least of 15 interleaved rounds on a loaded
machine:

| | native | wasm |
| --- | --- | --- |
| float64 sum | 0.6 | 0.6 |
| f80 sum | 1.6 | |
| f128 sum | 41 | |
| double-double sum | 1.3 | 1.7 |
| exact sum, rounded once | 3.3 | 3.3 |
| float64 product | 0.7 | 0.8 |
| double-double sum or product of two | 1.4 | 1.6 |
| f80 product of two | 1.5 | |
| f128 product of two | 117 | |
| double-double quotient | 3.4 | 12 |
| double-double exponential | 41 | 194 |
| f80 exponential | 45 | |
| f128 exponential | 1,080 | |

Products are split by Dekker's method on all targets, also where a fused multiply-add would do: elementwise they are
bound by memory anyway, and a machine without one gives the same bits.

## How to repeat it

\`npm run study:precision -- --data tinyshakespeare.txt\`. Trainings are kept under \`runs/\`, so that a study that was
stopped goes on; the numbers behind this page are in \`extended-precision.jsonl\` beside it. Rows of the
transformer may change in their fourth digit with the order in which a kernel adds, those of the MatMul-free model in
their second.

What the study does not say: how this goes on for models of billions of parameters, in which a step is smaller beside
its weight; and fp8 or fp4 arithmetic, where digits run out much earlier.
`;

export function page(results: StudyResults, stability: StabilityReport): string {
  const { steps, batch, context } = TRAINING;
  const seeds = new Set(results.trainings.map(({ seed }) => seed)).size;
  return `# Does extended precision train better models?

The claim: computing gradients in extended precision improves convergence by 15 to 30 % and final quality by 2 to
5 %, most of all for ternary models. **Refuted for training these language models; confirmed where parameters are
stored in few bits, and for problems that are ill-conditioned.**

- **float32 is enough for the gradient.** Its error is a few ten-millionths of the gradient, or a few thousandths where
  a rounded activation falls on the other side; the gradient of another batch differs by more than the whole gradient.
  Digits far below the noise of the batch cannot help.
- **A transformer does not notice**: float64, sums in float64 and compensated updates end where float32 ends, to four
  digits.
- **A ternary model notices, and gains nothing**: the last bit decides which code a weight on the edge gets, so runs
  part. But they part as far when one weight of the start is moved by its last bit, with all else in float32, and bf16
  parameters, with fewer digits, end where float64 ends. The differences between the arithmetics are of this size.
- **Where parameters are stored in bf16, steps are lost**: the claim's mechanism, updates that never carry a weight
  across its threshold, is real there; compensation, not extended precision, removes it at the price of two bytes. At
  this rate and length, steps are large enough that models in bf16 end within a percent all the same.
- **Ill-conditioned problems need what they need**: each of them gains as many digits as the arithmetic has.

## Language models on tinyshakespeare

Characters, 2 layers of width 128, context ${context}, batches of ${batch}, ${steps} steps, ${seeds} seeds; the same
first values and batches for all. AdamW, gradients clipped to norm 1, the rate falls by a cosine to a tenth. Losses are
means of ${TRAINING.batches} validation batches, in nats a character. Each seed is compared with the mean of its three
runs in float32, two of which begin with one weight moved by its last bit: what they differ by is what no arithmetic can
be credited with.

### Transformer

${trainingTable(results, "transformer")}

![final loss of the transformer by arithmetic](extended-precision-transformer.svg)

### MatMul-free, with ternary weights and 8-bit activations

${trainingTable(results, "MatMul-free")}

![final loss of the MatMul-free model by arithmetic](extended-precision-matmul-free.svg)

## The gradient itself

|g - exact| / |exact| at the first parameters, the exact gradient in double-double, ${seeds} seeds:

${gradientTable(results)}

What \`gradientStability\` says of the transformer's gradient (seed 1) when it is asked for 1e-7:

![error of each parameter's gradient](extended-precision-stability.svg)

${formatStability(stability).trimEnd()}

## Weights that have to cross a threshold

Share of the ternary codes that change under many small steps which should change (weights of about 0.5, steps relative
to 1). Rounded to nearest, a step below half a unit in the last place does nothing, however often it is repeated.

${thresholdTable(results)}

## Ill-conditioned problems

${problemTable(results)}

${FORMATS}`;
}
