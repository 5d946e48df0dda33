// Recurrences over states: the selective scan of Mamba and the generalised delta rule, over a sequence, backwards, and
// for one token of decoding. Sequences compute more than they read, and are held against the multiply-add units, by the
// operations of a step of one state (counted as in kernels.ts, two a vector operation):
//   selective_scan   2 x 16: a power of two (12), its argument, what comes in, the new state, what is read
//   its reverse      2 x 38: two passes forwards that read nothing, since no states are kept, and 8 backwards
//   delta rule       2 x 3: decay, product, what is read; and one for each of a and b
//   its reverse      2 x 10: two passes forwards, 6 backwards; 2 x 18 with a and b
// The delta rule is counted step by step; its kernels take chunks of steps as products of matrices, which need fewer
// operations (a tenth to a quarter, at this size), so that more than all of the ceiling is possible.
// A token passes over the state once: a selective scan computes (its exponentials), a delta rule reads and writes.
// States of many layers in turn, `x N states`, are what decoding meets: no wake-up of the team for each, and where they
// fit in no cache, memory is what binds them. States of delta rules and of layers are updated in place, as it does it.
// Short convolutions are bound by memory.

import { emit, OPS, storageBytes, tensorType, trace } from "@fidelity/core";
import type { OpDef, Tensor, TensorType } from "@fidelity/core";
import type { KernelCase } from "./kernels.ts";

const f32 = (...shape: number[]): TensorType => tensorType("f32", shape);

/** The cases of a quick run, or of a whole one. */
export function stateRecurrences(quick: boolean): KernelCase[] {
  const time = quick ? 256 : 2048;
  const [scan, heads] = [quick ? 256 : 1536, quick ? 4 : 24];
  const rules = [
    { name: "one decay", decays: 1, erases: false },
    { name: "decays", decays: 64, erases: false },
    { name: "decays and erasing", decays: 64, erases: true },
  ];
  return [
    ...selectiveScans(time, scan, 16, quick ? 4 : 64),
    ...rules.flatMap((rule) => deltaRules(rule, time, heads)),
    ...(quick ? [] : rules.map((rule) => manyStates(rule, heads))),
    ...convolutions(time, scan, 4),
  ];
}

/** Decays below 1, so that states stay where they are. */
const SCAN_RANGES = [
  [0, 1],
  [-1, 0],
] as const;
const SMALL = [-0.2, 0.2] as const;
const RULE_RANGES = [SMALL, SMALL, SMALL, [-0.1, 0], SMALL, SMALL, SMALL] as const;

const rangesOf = ({ name }: OpDef) => (name.startsWith("selective_scan") ? SCAN_RANGES : RULE_RANGES);

function opCase(op: OpDef, name: string, inputs: readonly TensorType[], work: number, bytes?: number): KernelCase {
  const { graph } = trace(op.name, (tensors: readonly Tensor[]) => [...emit(op, tensors, {})], [inputs]);
  const ceiling = bytes === undefined ? ({ kind: "f32" } as const) : ({ kind: "triad", sizeBytes: bytes } as const);
  return { name: `${op.name} ${name}`, graph, work, ceiling, ranges: rangesOf(op) };
}

function selectiveScans(time: number, channels: number, states: number, layerCount: number): KernelCase[] {
  const inputs = (steps: number): TensorType[] => {
    const [sequence, gates] = [f32(1, steps, channels), f32(1, steps, states)];
    return [sequence, f32(channels, states), gates, gates, sequence, f32(1, channels, states)];
  };
  const elements = channels * states;
  const [long, token] = [inputs(time), inputs(1)];
  const name = `${time}x${channels}x${states}`;
  return [
    opCase(OPS.selective_scan, name, long, 2 * 16 * time * elements),
    opCase(OPS.selective_scan_grad, name, [...long, long[4], long[5]], 2 * 38 * time * elements),
    opCase(OPS.selective_scan, `token ${channels}x${states}`, token, 2 * 16 * elements),
    {
      ...layers(OPS.selective_scan, `${channels}x${states}`, token, 5, layerCount),
      work: 2 * 16 * elements * layerCount,
      ceiling: { kind: "f32" },
    },
  ];
}

interface Rule {
  readonly name: string;
  readonly decays: number;
  readonly erases: boolean;
}

const SIZE = 64;
/** In no cache. */
const FAR_BYTES = 192 * 2 ** 20;

function deltaInputs({ decays, erases }: Rule, steps: number, heads: number): TensorType[] {
  const rows = f32(1, steps, heads, SIZE);
  return [rows, rows, rows, f32(1, steps, heads, decays), f32(1, heads, SIZE, SIZE), ...(erases ? [rows, rows] : [])];
}

function deltaRules(rule: Rule, time: number, heads: number): KernelCase[] {
  const { name, erases } = rule;
  const elements = heads * SIZE * SIZE;
  const [long, token] = [deltaInputs(rule, time, heads), deltaInputs(rule, 1, heads)];
  const [forth, back] = erases ? [5, 18] : [3, 10];
  const shape = `${heads}x${SIZE}x${SIZE} ${name}`;
  const bytes = 2 * storageBytes(token[4]);
  return [
    opCase(OPS.generalized_delta_rule, `${time}x${shape}`, long, 2 * forth * time * elements),
    opCase(
      OPS.generalized_delta_rule_grad,
      `${time}x${shape}`,
      [...long, long[2], long[4]],
      2 * back * time * elements,
    ),
    {
      ...opCase(OPS.generalized_delta_rule, `token ${shape}`, token, bytes, 2 ** 20),
      donations: [{ parameter: 4, result: 1 }],
    },
  ];
}

/** A token of `count` layers, each with a state of its own that follows the shared inputs `before` it. */
function layers(op: OpDef, name: string, inputs: readonly TensorType[], before: number, count: number) {
  const state = inputs[before];
  const { graph } = trace(
    op.name,
    (tensors: readonly Tensor[], states: readonly Tensor[]) =>
      states.flatMap((own) => [...emit(op, tensors.toSpliced(before, 0, own), {})]),
    [inputs.toSpliced(before, 1), Array.from({ length: count }, () => state)],
  );
  const ranges = rangesOf(op).slice(0, inputs.length).toSpliced(before, 1);
  return {
    name: `${op.name} token ${name} x ${count} states`,
    graph,
    donations: Array.from({ length: count }, (_, i) => ({ parameter: inputs.length - 1 + i, result: 2 * i + 1 })),
    ranges: [...ranges, ...Array.from({ length: count }, () => SMALL)],
  };
}

/** Delta rules of layers whose states fit in no cache. */
function manyStates(rule: Rule, heads: number): KernelCase {
  const inputs = deltaInputs(rule, 1, heads);
  const stateBytes = storageBytes(inputs[4]);
  const count = Math.round(FAR_BYTES / (2 * stateBytes));
  return {
    ...layers(OPS.generalized_delta_rule, `${heads}x${SIZE}x${SIZE} ${rule.name}`, inputs, 4, count),
    work: count * 2 * stateBytes,
    ceiling: { kind: "triad", sizeBytes: FAR_BYTES },
  };
}

/** Each reads one sequence, or two, and writes one, or sums; `size` taps cost less than the memory. */
function convolutions(time: number, channels: number, size: number): KernelCase[] {
  const [sequence, weight, state] = [f32(1, time, channels), f32(channels, size), f32(1, size - 1, channels)];
  const [name, bytes] = [`${time}x${channels}x${size}`, 2 * storageBytes(sequence)];
  return [
    opCase(OPS.causal_convolution, name, [sequence, weight, state], bytes, FAR_BYTES),
    opCase(OPS.causal_convolution_transpose, name, [sequence, weight, state], bytes, FAR_BYTES),
    opCase(OPS.causal_convolution_weights, name, [sequence, sequence, state], bytes, FAR_BYTES),
  ];
}
