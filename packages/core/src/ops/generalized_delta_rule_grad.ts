// generalized_delta_rule_grad: the reverse pass of generalized_delta_rule. With G_t the cotangent of the state S_t, of
// which P_t goes on to S_{t-1}, w the decay, and u = S_{t-1} a, from the last step to the first:
//   G_t = do_t q_t^T + P_{t+1},   P_t = G_t diag(w_t) + (G_t b_t) a_t^T
//   dq = S_t^T do,  dk = G^T v,  dv = G k,  da = S_{t-1}^T (G b),  db = G^T u,  dlog w = w sum over rows of G S_{t-1}
// The states are not kept by the forward pass: kernels compute them again from those at the borders of chunks.

import type { Tensor, TensorType } from "../graph.ts";
import { emit, sameShape } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { composedTangent, cotangentsOf } from "./composed_derivatives.ts";
import type { NoAttrs } from "./elementwise.ts";
import { generalizedDeltaRuleOp, nextState, stepAt } from "./generalized_delta_rule.ts";
import { lowerGeneralizedDeltaRuleGrad } from "./kernels/generalized_delta_rule_grad.ts";
import { composeDelta, deltaDims, deltaTypes, requireDelta, sampleDelta } from "./generalized_delta_rule_parts.ts";

/** Inputs: those of the rule, then the cotangents of output and state. Results: cotangents of the rule's inputs. */
export const generalizedDeltaRuleGradOp: OpDef<NoAttrs> = {
  name: "generalized_delta_rule_grad",
  summary: "G_t = do_t q_t^T + G_{t+1} diag(w) + (G_{t+1} b) a^T, and the cotangents of q, k, v, log w, S_0, a, b",
  infer(inputs) {
    const dims = requireDelta("generalized_delta_rule_grad", inputs.slice(0, -2));
    const types = deltaTypes(dims);
    const fits = [types[2]!, types[4]!].every((type, i) => {
      const given = inputs[types.length + i]!;
      return given.dtype === "f32" && sameShape(type.shape, given.shape);
    });
    requireShape(fits, "generalized_delta_rule_grad", "cotangents are not like v and the state", inputs);
    return types;
  },
  evaluate: (inputs, _attrs, types) => evaluateGrad(inputs, types),
  derivative: { kind: "expand", expand: expandGrad },
  lowering: { kind: "kernel", lower: lowerGeneralizedDeltaRuleGrad },
  sample(draw) {
    const { dims, ranges } = sampleDelta(draw);
    const types = deltaTypes(dims);
    return { inputs: [...types, types[2]!, types[4]!], attrs: {}, ranges: [...ranges!, undefined, undefined] };
  },
};

export const generalizedDeltaRuleTangentOp: OpDef<NoAttrs> = composedTangent("generalized_delta_rule_tangent", {
  forward: () => generalizedDeltaRuleOp,
  compose: composeDelta,
  reverse: (inputs, cotangents) => emit(generalizedDeltaRuleGradOp, [...inputs, ...cotangents], {}),
});

function expandGrad(inputs: readonly Tensor[]): readonly Tensor[] {
  return cotangentsOf(composeDelta, inputs.slice(0, -2), inputs.slice(-2));
}

function evaluateGrad(inputs: readonly HostTensor[], types: readonly TensorType[]): HostTensor[] {
  const rule = inputs.slice(0, -2);
  const [q, k, v, , state, a, b] = rule.map(({ data }) => data) as Float64Array[];
  const [dO, dState] = inputs.slice(-2).map(({ data }) => data) as Float64Array[];
  const dims = deltaDims(types, types.length === 7);
  const results = types.map(({ shape }) => new Float64Array(elementCount(shape)));
  const [dq, dk, dv, dDecay, dFirst, da, db] = results;
  const { time, keySize, valueSize, decays } = dims;
  const size = valueSize * keySize;
  for (let head = 0; head < dims.batch * dims.heads; head++) {
    const states: Float64Array[] = [state!.slice(head * size, (head + 1) * size)];
    for (let t = 0; t < time; t++) states.push(nextState(dims, rule, stepAt(dims, rule, head, t), states[t]!));
    const g = dState!.slice(head * size, (head + 1) * size);
    for (let t = time - 1; t >= 0; t--) {
      const { key, pair, decay, value, w } = stepAt(dims, rule, head, t);
      const [before, after] = [states[t]!, states[t + 1]!];
      for (let i = 0; i < valueSize; i++) {
        const at = (j: number): number => i * keySize + j;
        let [read, erased] = [0, 0];
        for (let j = 0; j < keySize; j++) {
          g[at(j)]! += dO![value + i]! * q![key + j]!;
          if (a !== undefined) read += before[at(j)]! * a[pair + j]!;
          if (b !== undefined) erased += g[at(j)]! * b[pair + j]!;
        }
        for (let j = 0; j < keySize; j++) {
          dq![key + j]! += after[at(j)]! * dO![value + i]!;
          dk![key + j]! += g[at(j)]! * v![value + i]!;
          dv![value + i]! += g[at(j)]! * k![key + j]!;
          dDecay![decay + (j % decays)]! += w(j) * g[at(j)]! * before[at(j)]!;
          if (da !== undefined) da[pair + j]! += before[at(j)]! * erased;
          if (db !== undefined) db[pair + j]! += g[at(j)]! * read;
          g[at(j)] = g[at(j)]! * w(j) + (a === undefined ? 0 : erased * a[pair + j]!);
        }
      }
    }
    dFirst!.set(g, head * size);
  }
  return results.map((data, i) => ({ type: types[i]!, data }));
}
