// attention_grad: the reverse pass of attention, which recomputes the weights from the log of the normaliser (Dao 2023,
// FlashAttention-2, arXiv 2307.08691, algorithm 2):
//   p = exp(s - lse),  ds = slope p (dO . v - delta),  dq = sum ds k,  dk = sum ds q,  dv = sum p dO
// where the slope is that of the score by q . k: scale, times 1 - (s / cap)^2 where scores are capped.
// delta [B, T, H] is dO . o, less the cotangent of lse. Nested derivatives rewrite it to products.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
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
import { attentionScores, attentionWeights, headsFirst, headsLast, repeatHeads, sumHeads } from "./attention_parts.ts";
import { lowerAttentionGrad } from "./kernels/attention_grad.ts";
import { matmulOp } from "./matmul.ts";
import { mul } from "./mul.ts";
import { reshape } from "./reshape.ts";
import { requirePosition } from "./rope.ts";
import { sub } from "./sub.ts";
import { transpose } from "./transpose.ts";

/** Inputs: q, k, v, lse, dO, delta, position. Results: dq, dk, dv. */
export const attentionGradOp: OpDef<AttentionAttrs> = {
  name: "attention_grad",
  summary: "ds = slope p (dO v - delta), p = exp(s - lse), dq = ds k, dk = ds^T q, dv = p^T dO",
  infer(inputs, attrs) {
    const [q, k, v, lse, dO, delta, position] = inputs as readonly TensorType[];
    requireHeads("attention_grad", inputs, attrs);
    requirePosition("attention_grad", position!, inputs);
    const [batch, time, heads] = q!.shape;
    const fits = sameShape(lse!.shape, [batch!, heads!, time!]) && sameShape(delta!.shape, [batch!, time!, heads!]);
    requireShape(
      fits && sameShape(attentionOutput(q!, v!).shape, dO!.shape),
      "attention_grad",
      "lse, dO or delta do not fit the queries",
      inputs,
    );
    return [q!, k!, v!];
  },
  evaluate([q, k, v, lse, dO, delta, position], attrs, types) {
    const dims = attentionDims(q!.type, v!.type);
    const { size, valueSize } = dims;
    const [dq, dk, dv] = [q!, k!, v!].map((x) => new Float64Array(x.data.length)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    forEachQuery(dims, attrs, position!, ({ query, output, keys, values, row, timeRow }) => {
      keys.forEach((key, s) => {
        const value = values[s]!;
        const { score, slope } = scoreOf(attrs, dot(q!.data, query, k!.data, key, size));
        const p = Math.exp(score - lse!.data[row]!);
        const ds = slope * p * (dot(dO!.data, output, v!.data, value, valueSize) - delta!.data[timeRow]!);
        accumulate(dq, query, k!.data, key, ds, size);
        accumulate(dk, key, q!.data, query, ds, size);
        accumulate(dv, value, dO!.data, output, p, valueSize);
      });
    });
    return [dq, dk, dv].map((data, i) => ({ type: types[i]!, data }));
  },
  derivative: { kind: "expand", expand: expandGrad },
  lowering: { kind: "kernel", lower: lowerAttentionGrad },
  sample(draw) {
    const { q, k, v, attrs, range } = sampleAttention(draw);
    const [batch, time, heads] = q.shape as [number, number, number];
    const rows = (shape: readonly number[]): TensorType => ({ dtype: "f32", shape });
    const dO = attentionOutput(q, v);
    return {
      inputs: [q, k, v, rows([batch, heads, time]), dO, rows([batch, time, heads]), { dtype: "i32", shape: [] }],
      attrs,
      ranges: [undefined, undefined, undefined, [1, 4], undefined, undefined, range],
    };
  },
};

/** attention_grad as products of matrices. */
function expandGrad(inputs: readonly Tensor[], attrs: AttentionAttrs): readonly Tensor[] {
  const [q, k, v, lse, dO, delta, position] = inputs as readonly Tensor[];
  const [heads, keyHeads] = [q!.shape[2]!, k!.shape[2]!];
  const [queries, cotangents] = [headsFirst(q!), headsFirst(dO!)];
  const [keys, values] = [repeatHeads(headsFirst(k!), heads), repeatHeads(headsFirst(v!), heads)];
  const product = (a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor<Shape, "f32"> =>
    emitOne(matmulOp, [a, b], { transposeA, transposeB }) as Tensor<Shape, "f32">;
  const { scores, bySlope } = attentionScores(product(queries, keys, false, true), attrs);
  const p = attentionWeights(scores, lse!, position!, attrs);
  const rows = transpose(delta!, [0, 2, 1]);
  const change = sub(product(cotangents, values, false, true), reshape(rows, [...rows.shape, 1]));
  const ds = bySlope(mul(p, change));
  return [
    headsLast(product(ds, keys, false, false)),
    headsLast(sumHeads(product(ds, queries, true, false), keyHeads)),
    headsLast(sumHeads(product(p, cotangents, true, false), keyHeads)),
  ];
}
