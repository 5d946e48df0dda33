// Tables of the study of architectures: losses by seed, accuracy by pairs, what a model and its state weigh, and
// differences between contenders, which are those of equal seeds.

import { elementCount, flattenTree, isTensorType } from "@fidelity/core";
import { countParameters } from "@fidelity/models";
import { mean, median, standardError } from "../statistics.ts";
import { contendersOf, modelOf, MQAR, RECALL, SEEDS } from "./architecture-arms.ts";
import type { Contender, Mixer, Weights } from "./architecture-arms.ts";
import type { Outcome } from "./architecture-runs.ts";

/** All seeds of one contender. */
export interface Group extends Contender {
  readonly outcomes: readonly Outcome[];
}

/** The contenders of a task that have trainings. */
export function groupsOf(all: readonly Outcome[], task: string): Group[] {
  return contendersOf(task)
    .map((contender) => ({ ...contender, outcomes: all.filter((outcome) => isOf(outcome, contender)) }))
    .filter(({ outcomes }) => outcomes.length > 0);
}

function isOf(outcome: Outcome, { task, mixer, weights }: Contender): boolean {
  const isSeed = SEEDS.some((seed) => seed === outcome.seed);
  return isSeed && outcome.task === task && outcome.mixer === mixer && outcome.weights === weights;
}

export function find(groups: readonly Group[], mixer: Mixer, weights: Weights): Group {
  const group = groups.find((candidate) => candidate.mixer === mixer && candidate.weights === weights);
  if (group === undefined) throw new Error(`there are no trainings of ${mixer}, ${weights}`);
  return group;
}

/** The loss of `one` minus that of `other`, by seed. */
export function differences(one: Group, other: Group): number[] {
  const lossOf = new Map(other.outcomes.map(({ seed, loss }) => [seed, loss]));
  return one.outcomes.flatMap(({ seed, loss }) => (lossOf.has(seed) ? [loss - lossOf.get(seed)!] : []));
}

/** `+0.041 ± 0.003`: mean and standard error of paired differences. */
export function signed(values: readonly number[], digits = 3): string {
  const error = values.length > 1 ? ` ± ${standardError(values).toFixed(digits)}` : "";
  const middle = mean(values);
  return `${middle < 0 ? "-" : "+"}${Math.abs(middle).toFixed(digits)}${error}`;
}

/** `1.8012 (1.7950 to 1.8100)`: the median, and what the seeds lie between. */
export function medianOf(group: Group): string {
  const losses = group.outcomes.map(({ loss }) => loss);
  const [low, high] = [Math.min(...losses), Math.max(...losses)].map((loss) => loss.toFixed(3));
  return `**${median(losses).toFixed(3)}** (${low} to ${high})`;
}

/** Accuracy for a number of pairs, by seed, in percent. */
export function accuracies({ outcomes }: Group, pairs: number): number[] {
  return outcomes.map(({ recall }) => 100 * recall.find((measured) => measured.pairs === pairs)!.accuracy);
}

/** Bytes of the decoding state of a model after `tokens` tokens. */
export function stateBytes(contender: Contender, vocabSize: number, tokens: number): number {
  const types: unknown = modelOf(contender, vocabSize).stateTypes({ batch: 1, capacity: tokens });
  return flattenTree(types, isTensorType).reduce((sum, { leaf }) => sum + 4 * elementCount(leaf.shape), 0);
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), `|${" --- |".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

/** Contexts for which the size of the state is told. */
export const STATE_TOKENS = [128, 8192] as const;

/** The main table: sizes of the models for text, and what all tasks came to. */
export function mainTable(all: readonly Outcome[], texts: readonly string[], vocabSize: number): string {
  const groups = new Map([...texts, RECALL].map((task) => [task, groupsOf(all, task)]));
  const rows = contendersOf(texts[0]).map((contender) => {
    const { mixer, weights } = contender;
    const { parameters, packedBytes } = countParameters(modelOf(contender, vocabSize).parameters);
    const state = STATE_TOKENS.map((tokens) => kib(stateBytes(contender, vocabSize, tokens)));
    const losses = texts.map((task) => medianOf(find(groups.get(task)!, mixer, weights)));
    const recall = find(groups.get(RECALL)!, mixer, weights);
    const answered = MQAR.pairs.map((pairs) => percent(median(accuracies(recall, pairs))));
    return [
      mixer,
      weights,
      parameters.toLocaleString("en"),
      kib(packedBytes),
      state.join(", "),
      ...losses,
      ...answered,
    ];
  });
  const head = ["model", "weights", "parameters", "saved, KiB", `state, KiB, at ${STATE_TOKENS.join(" and ")} tokens`];
  return markdown([...head, ...texts, ...MQAR.pairs.map(counted)], rows);
}

/** Losses of all seeds on a text, and the peak rates. */
export function seedTable(groups: readonly Group[]): string {
  const rows = groups.map(({ mixer, weights, outcomes }) => [
    mixer,
    weights,
    String(outcomes[0].learningRate),
    ...SEEDS.map((seed) => outcomes.find((outcome) => outcome.seed === seed)?.loss.toFixed(4) ?? "-"),
  ]);
  return markdown(["model", "weights", "rate", ...SEEDS.map((seed) => `seed ${seed}`)], rows);
}

/** Accuracy of all seeds on recall. */
export function recallTable(groups: readonly Group[]): string {
  const rows = groups.map((group) => [
    group.mixer,
    group.weights,
    String(group.outcomes[0].learningRate),
    ...MQAR.pairs.map((pairs) => accuracies(group, pairs).map(percent).join(", ")),
  ]);
  return markdown(["model", "weights", "rate", ...MQAR.pairs.map((pairs) => `${counted(pairs)}, %`)], rows);
}

/** Losses of the sweep by which rates were chosen. */
export function sweepTable(all: readonly Outcome[], task: string, rates: readonly number[], seed: number): string {
  const rows = contendersOf(task).map(({ mixer, weights }) => {
    const tried = all.filter((o) => o.task === task && o.seed === seed && o.mixer === mixer && o.weights === weights);
    const best = Math.min(...tried.map(({ loss }) => loss));
    const cells = rates.map((rate) => {
      const loss = tried.find(({ learningRate }) => learningRate === rate)?.loss;
      return loss === undefined ? "-" : loss === best ? `**${loss.toFixed(3)}**` : loss.toFixed(3);
    });
    return [mixer, weights, ...cells];
  });
  return markdown(["model", "weights", ...rates.map(String)], rows);
}

function kib(bytes: number): string {
  return (bytes / 1024).toFixed(bytes < 10 * 1024 ? 1 : 0);
}

/** Only what is 100 looks like it. */
function percent(value: number): string {
  return value > 99 && value < 100 ? (Math.floor(10 * value) / 10).toFixed(1) : value.toFixed(0);
}

function counted(pairs: number): string {
  return pairs === 1 ? "1 pair" : `${pairs} pairs`;
}
