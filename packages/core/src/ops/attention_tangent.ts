// attention_tangent: the tangents of attention's results, linear in those of its queries, keys and values:
//   ds = slope (dq . k + q . dk),  dlse = sum p ds,  do = sum p ds v + sum p dv - dlse o,   p = exp(s - lse)
// where the slope is that of the score by q . k.
// Reverse mode never computes it: its transpose is attention_grad. Forward and nested modes rewrite it to products.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emit, emitOne } from "../graph.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { add } from "./add.ts";
import type { AttentionAttrs } from "./attention.ts";
import {
  accumulate,
  attentionDims,
  attentionOutput,
  dot,
  forEachQuery,
  requireHeads,
  sampleAttention,
  scoreOf,
} from "./attention.ts";
import { attentionGradOp } from "./attention_grad.ts";
import { attentionScores, attentionWeights, headsFirst, headsLast, repeatHeads } from "./attention_parts.ts";
import { matmulOp } from "./matmul.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { requirePosition } from "./rope.ts";
import { zerosLike } from "./splat.ts";
import { sub } from "./sub.ts";
import { transpose } from "./transpose.ts";

/** Inputs and results of an attention. */
export interface AttentionValues {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly o: Tensor;
  readonly lse: Tensor;
  readonly position: Tensor;
}

/** Inputs: q, k, v, o, lse, dq, dk, dv, position. */
export const attentionTangentOp: OpDef<AttentionAttrs> = {
  name: "attention_tangent",
  summary: "do = sum p (ds v + dv) - dlse o, dlse = sum p ds, ds = slope (dq k + q dk)",
  infer(inputs, attrs) {
    requireHeads("attention_tangent", inputs, attrs);
    requireHeads("attention_tangent", inputs.slice(5), attrs);
    requirePosition("attention_tangent", inputs[8]!, inputs);
    return [inputs[3]!, inputs[4]!];
  },
  evaluate([q, k, v, o, lse, dq, dk, dv, position], attrs, [oType, lseType]) {
    const dims = attentionDims(q!.type, v!.type);
    const { size, valueSize } = dims;
    const dO = new Float64Array(o!.data.length);
    const dLse = new Float64Array(lse!.data.length);
    forEachQuery(dims, attrs, position!, ({ query, output, keys, values, row }) => {
      keys.forEach((key, s) => {
        const { score, slope } = scoreOf(attrs, dot(q!.data, query, k!.data, key, size));
        const p = Math.exp(score - lse!.data[row]!);
        const ds = slope * (dot(dq!.data, query, k!.data, key, size) + dot(q!.data, query, dk!.data, key, size));
        accumulate(dO, output, v!.data, values[s]!, p * ds, valueSize);
        accumulate(dO, output, dv!.data, values[s]!, p, valueSize);
        dLse[row]! += p * ds;
      });
      accumulate(dO, output, o!.data, output, -dLse[row]!, valueSize);
    });
    return [
      { type: oType!, data: dO },
      { type: lseType!, data: dLse },
    ];
  },
  derivative: {
    kind: "rules",
    jvp: (node, tangents, attrs) =>
      tangents.slice(0, 5).every((tangent) => tangent === undefined)
        ? attentionTangent(valuesOf(node.inputs), tangents.slice(5, 8), attrs)
        : secondTangent(node.inputs, tangents, attrs),
    transpose({ inputs: [q, k, v, o, lse, , , , position] }, [ctO, ctLse], linear, attrs) {
      const dO = ctO ?? zerosLike(o!);
      const rows = reshape(reduceSum(mul(dO, o!), [3]), o!.shape.slice(0, 3));
      const delta = ctLse === undefined ? rows : sub(rows, transpose(ctLse, [0, 2, 1]));
      const grads = emit(attentionGradOp, [q!, k!, v!, lse!, dO, delta, position!], attrs);
      const given = linear.slice(5, 8).map((isLinear, i) => (isLinear ? grads[i]! : undefined));
      return [undefined, undefined, undefined, undefined, undefined, ...given, undefined];
    },
  },
  lowering: { kind: "expand", expand: expandTangent },
  sample(draw) {
    const { q, k, v, attrs, range } = sampleAttention(draw);
    const o = attentionOutput(q, v);
    const lse: TensorType = { dtype: "f32", shape: [q.shape[0]!, q.shape[2]!, q.shape[1]!] };
    return {
      inputs: [q, k, v, o, lse, q, k, v, { dtype: "i32", shape: [] }],
      attrs,
      ranges: [...Array<undefined>(4), [1, 4], ...Array<undefined>(3), range],
    };
  },
};

function valuesOf([q, k, v, o, lse, , , , position]: readonly Tensor[]): AttentionValues {
  return { q: q!, k: k!, v: v!, o: o!, lse: lse!, position: position! };
}

/** The tangents of attention's output and log-sum-exp from those of q, k and v, of which absent ones are zero. */
export function attentionTangent(
  { q, k, v, o, lse, position }: AttentionValues,
  [dq, dk, dv]: readonly MaybeTensor[],
  attrs: AttentionAttrs,
): readonly Tensor[] {
  const tangents = [dq ?? zerosLike(q), dk ?? zerosLike(k), dv ?? zerosLike(v)];
  return emit(attentionTangentOp, [q, k, v, o, lse, ...tangents, position], attrs);
}

/** What both orders of tangents need, with heads before time and keys repeated for each head of their group. */
function tangentParts(inputs: readonly Tensor[], attrs: AttentionAttrs) {
  const [q, k, v, o, lse, dq, dk, dv, position] = inputs as readonly Tensor[];
  const heads = q!.shape[2]!;
  const keys = (x: Tensor): Tensor => repeatHeads(headsFirst(x), heads);
  const [q_, k_, v_, o_] = [headsFirst(q!), keys(k!), keys(v!), headsFirst(o!)];
  const [dq_, dk_, dv_] = [headsFirst(dq!), keys(dk!), keys(dv!)];
  const { scores, bySlope, bounded } = attentionScores(matmulOf(q_, k_, true), attrs);
  const p = attentionWeights(scores, lse!, position!, attrs);
  const changes = add(matmulOf(dq_, k_, true), matmulOf(q_, dk_, true));
  const ds = bySlope(changes);
  const pds = mul(p, ds);
  const values = { q: q_, k: k_, v: v_, o: o_, dq: dq_, dk: dk_, dv: dv_ };
  return { ...values, bySlope, bounded, changes, p, ds, pds, dLse: rowSums(pds), keys };
}

function expandTangent(inputs: readonly Tensor[], attrs: AttentionAttrs): readonly Tensor[] {
  const { v, o, dv, p, pds, dLse } = tangentParts(inputs, attrs);
  const dO = sub(add(matmulOf(pds, v), matmulOf(p, dv)), mul(dLse, o));
  return [headsLast(dO), reshape(dLse, inputs[4]!.shape)];
}

/** The tangents of `expandTangent`'s results, by the product rule; a' below is the tangent of a. */
function secondTangent(
  inputs: readonly Tensor[],
  tangents: readonly MaybeTensor[],
  attrs: AttentionAttrs,
): readonly Tensor[] {
  const { q, k, v, o, dq, dk, dv, p, ds, pds, dLse, keys, bySlope, bounded, changes } = tangentParts(inputs, attrs);
  const tangent = (i: number): Tensor => tangents[i] ?? zerosLike(inputs[i]!);
  const [q1, o1, dq1] = [headsFirst(tangent(0)), headsFirst(tangent(3)), headsFirst(tangent(5))];
  const [k1, v1, dk1, dv1] = [keys(tangent(1)), keys(tangent(2)), keys(tangent(6)), keys(tangent(7))];
  const lse1 = reshape(tangent(4), [...inputs[4]!.shape, 1]);
  const products = (a: Tensor, b: Tensor, c: Tensor, d: Tensor): Tensor<Shape, "f32"> =>
    add(matmulOf(a, b, true), matmulOf(c, d, true));
  const scores1 = bySlope(products(q1, k, q, k1));
  const p1 = mul(p, sub(scores1, lse1));
  const linear1 = bySlope(add(products(dq1, k, dq, k1), products(q1, dk, q, dk1)));
  // The slope scale (1 - b^2) has the tangent -2 b / cap (scale s'), as b has that of the score over the cap.
  const { scale, softcap = 1 } = attrs;
  const bend = bounded === undefined ? undefined : mul(mul(bounded, (-2 * scale) / softcap), scores1);
  const ds1 = bend === undefined ? linear1 : add(linear1, mul(bend, changes));
  const pds1 = add(mul(p1, ds), mul(p, ds1));
  const dLse1 = rowSums(pds1);
  const values = add(add(matmulOf(pds1, v), matmulOf(pds, v1)), add(matmulOf(p1, dv), matmulOf(p, dv1)));
  const dO1 = sub(values, add(mul(dLse1, o), mul(dLse, o1)));
  return [headsLast(dO1), reshape(dLse1, inputs[4]!.shape)];
}

function matmulOf(a: Tensor, b: Tensor, transposeB = false): Tensor<Shape, "f32"> {
  return emitOne(matmulOp, [a, b], { transposeA: false, transposeB }) as Tensor<Shape, "f32">;
}

/** Sums over keys, kept with size 1. */
function rowSums(x: Tensor): Tensor {
  return reduceSum(x as Tensor<readonly number[], "f32">, [3], true);
}
