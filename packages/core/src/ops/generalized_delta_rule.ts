// generalized_delta_rule: the recurrence that modern linear attentions share, a matrix state S [values, keys] a head
// whose transition is diagonal plus a rank of one:
//   S_t = S_{t-1} (diag(exp(logDecay_t)) + a_t b_t^T) + v_t k_t^T,   o_t = S_t q_t
// The name is that of RWKV-7 (Peng et al. 2025, arXiv 2503.14456, equation 16). Special cases:
//   RetNet, Mamba-2 (arXiv 2405.21060)     one decay a head, no a and b
//   GLA (arXiv 2312.06635), mLSTM          a decay for each key, no a and b
//   DeltaNet (arXiv 2406.06484)            logDecay = 0, a = -beta k, b = k, v scaled by beta
//   Gated DeltaNet (arXiv 2412.06464)      logDecay = log alpha, a = -alpha beta k, b = k, v scaled by beta
//   RWKV-7                                 a = -kappa, b = kappa * the in-context learning rate
// Rows of S are independent of each other. Kernels take some steps at once, as products of matrices (delta_chunk.ts).
// Left out: normalisers and scales, which are elementwise.

import type { Shape } from "@fidelity/units";
import type { Tensor } from "../graph.ts";
import { emit } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { ShapeMismatchError } from "../op.ts";
import { emitTangent } from "./composed_derivatives.ts";
import type { NoAttrs } from "./elementwise.ts";
import { generalizedDeltaRuleTangentOp } from "./generalized_delta_rule_grad.ts";
import type { DeltaDims } from "./generalized_delta_rule_parts.ts";
import { deltaDims, deltaTypes, requireDelta, sampleDelta } from "./generalized_delta_rule_parts.ts";
import { lowerGeneralizedDeltaRule } from "./kernels/generalized_delta_rule.ts";
import { splat } from "./splat.ts";

/** Inputs: q, k, v, logDecay, state, and a and b or neither. Results: o, and the state after the last step. */
export const generalizedDeltaRuleOp: OpDef<NoAttrs> = {
  name: "generalized_delta_rule",
  summary: "S_t = S_{t-1} (diag(exp(log w_t)) + a_t b_t^T) + v_t k_t^T, o_t = S_t q_t",
  infer(inputs) {
    requireDelta("generalized_delta_rule", inputs);
    return [inputs[2]!, inputs[4]!];
  },
  evaluate(inputs, _attrs, [oType, stateType]) {
    const dims = deltaDims(
      inputs.map(({ type }) => type),
      inputs.length === 7,
    );
    const [q, v, state] = [inputs[0]!.data, inputs[2]!.data, inputs[4]!.data.slice()];
    const o = new Float64Array(v.length);
    const size = dims.valueSize * dims.keySize;
    for (let head = 0; head < dims.batch * dims.heads; head++) {
      const s = state.subarray(head * size, (head + 1) * size);
      for (let t = 0; t < dims.time; t++) {
        const at = stepAt(dims, inputs, head, t);
        s.set(nextState(dims, inputs, at, s));
        s.forEach(
          (value, i) => (o[at.value + Math.floor(i / dims.keySize)]! += value * q[at.key + (i % dims.keySize)]!),
        );
      }
    }
    return [
      { type: oType!, data: o },
      { type: stateType!, data: state },
    ];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs }, tangents) => emitTangent(generalizedDeltaRuleTangentOp, inputs, tangents),
  },
  lowering: { kind: "kernel", inPlace: 4, inPlaceResult: 1, lower: lowerGeneralizedDeltaRule },
  sample(draw) {
    const { dims, ranges } = sampleDelta(draw);
    return { inputs: deltaTypes(dims), attrs: {}, ranges };
  },
};

/** One step of one head in the reference loops: first elements of its rows, and its decays. */
export interface ReferenceStep {
  /** In q and k, in a and b, in the decays, and in v and o. */
  readonly key: number;
  readonly pair: number;
  readonly decay: number;
  readonly value: number;
  readonly w: (j: number) => number;
}

/** Step t of head `head` of [batch, heads]. */
export function stepAt(dims: DeltaDims, inputs: readonly HostTensor[], head: number, t: number): ReferenceStep {
  const { time, heads, groups, groupSize, keySize, valueSize, decays } = dims;
  const [sequence, h] = [Math.floor(head / heads), head % heads];
  const step = sequence * time + t;
  const row = step * heads + h;
  const decay = row * decays;
  const w = (j: number): number => Math.exp(inputs[3]!.data[decay + (j % decays)]!);
  const key = (step * groups + Math.floor(h / groupSize)) * keySize;
  return { key, pair: row * keySize, decay, value: row * valueSize, w };
}

/** The state [values, keys] after a step, from the one before. */
export function nextState(
  { keySize }: DeltaDims,
  inputs: readonly HostTensor[],
  { key, pair, value, w }: ReferenceStep,
  before: Float64Array,
): Float64Array {
  const [, k, v, , , a, b] = inputs.map(({ data }) => data) as Float64Array[];
  return before.map((element, at) => {
    const [i, j] = [Math.floor(at / keySize), at % keySize];
    const row = before.subarray(i * keySize, (i + 1) * keySize);
    const read = a === undefined || b === undefined ? 0 : row.reduce((sum, x, l) => sum + x * a[pair + l]!, 0);
    return element * w(j) + (read === 0 ? 0 : read * b![pair + j]!) + v![value + i]! * k![key + j]!;
  });
}

type Floats = Tensor<Shape, "f32">;

/** The inputs of `generalizedDeltaRule`. Groups divide heads: head h reads group floor(h / (heads / groups)). */
export interface GeneralizedDeltaRuleInputs {
  /** What is read from the state, [batch, time, groups, keys]. */
  readonly q: Floats;
  /** Where values are written, [batch, time, groups, keys]. */
  readonly k: Floats;
  /** [batch, time, heads, values]. */
  readonly v: Floats;
  /** Logarithm of what the state is multiplied by, not above 0 as a rule: [batch, time, heads, keys], or keys 1. */
  readonly logDecay: Floats;
  /** What is read from the state before the step, [batch, time, heads, keys]; with `b` or not at all. */
  readonly a?: Floats | undefined;
  /** Where that is added, [batch, time, heads, keys]. */
  readonly b?: Floats | undefined;
  /** S before the first step, [batch, heads, values, keys]; zeros where absent. */
  readonly state?: Floats | undefined;
}

/** The results of `generalizedDeltaRule`. */
export interface GeneralizedDeltaRuleResult {
  /** [batch, time, heads, values]. */
  readonly output: Floats;
  /** S after the last step, [batch, heads, values, keys]. */
  readonly state: Floats;
}

/**
 * The recurrence S_t = S_{t-1} (diag(exp(logDecay_t)) + a_t b_t^T) + v_t k_t^T with o_t = S_t q_t, of every head. Its
 * derivatives keep no states.
 * @throws ShapeMismatchError when shapes do not fit, or when one of a and b is given alone.
 */
export function generalizedDeltaRule(inputs: GeneralizedDeltaRuleInputs): GeneralizedDeltaRuleResult {
  const { q, k, v, logDecay, a, b } = inputs;
  if ((a === undefined) !== (b === undefined)) {
    throw new ShapeMismatchError("generalized_delta_rule", "takes a and b together", [q.type, k.type, v.type]);
  }
  const [batch = 1, , heads = 1, values = 1] = v.shape;
  const state = inputs.state ?? splat(0, [batch, heads, values, q.shape[3] ?? 1] as readonly number[]);
  const erase = a === undefined || b === undefined ? [] : [a, b];
  const [output, last] = emit(generalizedDeltaRuleOp, [q, k, v, logDecay, state, ...erase], {});
  return { output, state: last } as GeneralizedDeltaRuleResult;
}
