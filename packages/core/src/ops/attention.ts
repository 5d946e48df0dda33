// attention: causal scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762) over a cache, with grouped
// heads (Ainslie et al. 2023, arXiv 2305.13245). Query t of head h sees keys 0..position + t of key head h / (H/G):
//   s = scale q . k,  lse = log sum exp s,  p = exp(s - lse),  o = sum p v
// The logarithm of the normaliser is a second result, so that the reverse pass recomputes p instead of storing it (Dao
// 2023, FlashAttention-2, arXiv 2307.08691). Left out: other masks, dropout, and bf16 caches.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import type { CaseDraw, OpCase, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { attentionTangent } from "./attention_tangent.ts";
import { lowerAttention } from "./kernels/attention.ts";
import { requirePosition } from "./rope.ts";

export type AttentionAttrs = { readonly scale: number };

/** Sizes of an attention: `groupSize` query heads share a key head. */
export interface AttentionDims {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly size: number;
  readonly capacity: number;
  readonly keyHeads: number;
  readonly groupSize: number;
}

export function attentionDims(q: TensorType, k: TensorType): AttentionDims {
  const [batch, time, heads, size] = q.shape as [number, number, number, number];
  const [, capacity, keyHeads] = k.shape as [number, number, number];
  return { batch, time, heads, size, capacity, keyHeads, groupSize: heads / keyHeads };
}

export const attentionOp: OpDef<AttentionAttrs> = {
  name: "attention",
  summary: "o = softmax(scale q k^T, keys 0..position + t) v, and the log of its normaliser",
  infer(inputs) {
    const [q, , , position] = inputs as [TensorType, TensorType, TensorType, TensorType];
    requireHeads("attention", inputs);
    requirePosition("attention", position, inputs);
    return [q, { dtype: "f32", shape: [q.shape[0]!, q.shape[2]!, q.shape[1]!] }];
  },
  evaluate([q, k, v, position], { scale }, [oType, lseType]) {
    const dims = attentionDims(q!.type, k!.type);
    const o = new Float64Array(q!.data.length);
    const lse = new Float64Array(elementCount(lseType!.shape));
    forEachQuery(dims, position!.data[0]!, ({ query, keys, row }) => {
      const scores = keys.map((key) => scale * dot(q!.data, query, k!.data, key, dims.size));
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      keys.forEach((key, s) => accumulate(o, query, v!.data, key, weights[s]! / total, dims.size));
      lse[row] = largest + Math.log(total);
    });
    return [
      { type: oType!, data: o },
      { type: lseType!, data: lse },
    ];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [q, k, v, position], results: [o, lse] }, [dq, dk, dv], attrs) =>
      attentionTangent({ q: q!, k: k!, v: v!, o: o!, lse: lse!, position: position! }, [dq, dk, dv], attrs),
  },
  lowering: { kind: "kernel", lower: lowerAttention },
  sample(draw) {
    const { q, kv, scale, range } = sampleAttention(draw);
    return {
      inputs: [q, kv, kv, { dtype: "i32", shape: [] }],
      attrs: { scale },
      ranges: [undefined, undefined, undefined, range],
    };
  },
};

/** Requires f32 queries [B, T, H, D], and keys and values [B, S, G, D] where G divides H; the first three inputs. */
export function requireHeads(op: string, inputs: readonly TensorType[]): void {
  const [q, k, v] = inputs as [TensorType, TensorType, TensorType];
  for (const input of [q, k, v]) {
    const heads = input.dtype === "f32" && input.shape.length === 4 && elementCount(input.shape) > 0;
    requireShape(heads, op, "takes f32 tensors [batch, time, heads, size]", inputs);
  }
  requireShape(
    k.shape.every((dim, axis) => dim === v.shape[axis]),
    op,
    "keys and values differ",
    inputs,
  );
  const { heads, keyHeads } = attentionDims(q, k);
  const fits = q.shape[0] === k.shape[0] && q.shape[3] === k.shape[3] && heads % keyHeads === 0;
  requireShape(fits, op, "batch or head sizes differ, or the key heads do not divide the heads", inputs);
}

/** One query of the reference loops: element offsets of its vector and of the keys it sees, and its row in lse. */
export interface ReferenceQuery {
  readonly query: number;
  readonly keys: readonly number[];
  /** In [B, H, T]. */
  readonly row: number;
  /** In [B, T, H]. */
  readonly timeRow: number;
}

/** Visits every query. A position beyond the capacity sees the whole cache. */
export function forEachQuery(dims: AttentionDims, position: number, visit: (query: ReferenceQuery) => void): void {
  const { batch, time, heads, size, capacity, keyHeads, groupSize } = dims;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < time; t++) {
        const timeRow = (b * time + t) * heads + h;
        const visible = Math.min(position + t + 1, capacity);
        const firstKey = (b * capacity * keyHeads + Math.floor(h / groupSize)) * size;
        const keys = Array.from({ length: visible }, (_, s) => firstKey + s * keyHeads * size);
        visit({ query: timeRow * size, keys, row: (b * heads + h) * time + t, timeRow });
      }
    }
  }
}

/** The dot product of `size` elements of two arrays. */
export function dot(x: Float64Array, xAt: number, y: Float64Array, yAt: number, size: number): number {
  let sum = 0;
  for (let d = 0; d < size; d++) sum += x[xAt + d]! * y[yAt + d]!;
  return sum;
}

/** y += factor x over `size` elements. */
export function accumulate(
  y: Float64Array,
  yAt: number,
  x: Float64Array,
  xAt: number,
  factor: number,
  size: number,
): void {
  for (let d = 0; d < size; d++) y[yAt + d]! += factor * x[xAt + d]!;
}

/** Random small types whose queries all see at least one key, and the range of positions. */
export function sampleAttention(draw: CaseDraw): {
  readonly q: TensorType;
  readonly kv: TensorType;
  readonly scale: number;
  readonly range: NonNullable<OpCase["ranges"]>[number];
} {
  const [batch, time, keyHeads, size] = [draw.int(1, 2), draw.int(1, 11), draw.int(1, 2), draw.int(1, 21)];
  const before = draw.int(0, 6);
  const q: TensorType = { dtype: "f32", shape: [batch, time, keyHeads * draw.int(1, 3), size] };
  const kv: TensorType = { dtype: "f32", shape: [batch, time + before, keyHeads, size] };
  return { q, kv, scale: 1 / Math.sqrt(size), range: [0, before] };
}

export interface AttentionOptions {
  /** Factor of the scores, 1 / sqrt(head size) by default. */
  readonly scale?: number;
}

/** The results of `attention`. */
export interface AttentionResult<Q extends Shape> {
  /** [batch, time, heads, size]. */
  readonly output: Tensor<Q, "f32">;
  /** log sum exp of the scores, [batch, heads, time]. */
  readonly logSumExp: Tensor<Shape, "f32">;
}

/** The result's shape is that of the queries `Q`; batch and head size must be those of the keys `K`. */
export type AttentionShape<Q extends Shape, K extends Shape> = number extends Q["length"] | K["length"]
  ? Shape
  : Q extends readonly [infer B extends Dim, Dim, Dim, infer D extends Dim]
    ? K extends readonly [infer KeyB extends Dim, Dim, Dim, infer KeyD extends Dim]
      ? [SameDim<B, KeyB>, SameDim<D, KeyD>] extends [infer Batch, infer Size]
        ? [Batch] extends [never]
          ? ShapeError<`attention: batches differ: ${B} and ${KeyB}`>
          : [Size] extends [never]
            ? ShapeError<`attention: head sizes differ: ${D} and ${KeyD}`>
            : Q
        : never
      : ShapeError<`attention: keys ${ShowShape<K>} are not [batch, capacity, heads, size]`>
    : ShapeError<`attention: queries ${ShowShape<Q>} are not [batch, time, heads, size]`>;

/**
 * Causal attention of queries `q` [batch, time, heads, size] over a cache of keys and values
 * [batch, capacity, key heads, size]; key heads divide heads. Query t sees the keys 0..position + t, or the whole cache
 * if that is beyond it.
 * @throws ShapeMismatchError when shapes do not fit.
 */
export function attention<Q extends Shape, K extends Shape>(
  q: Tensor<Q, "f32">,
  k: Checked<AttentionShape<Q, K>, Tensor<K, "f32">>,
  v: Tensor<NoInfer<K>, "f32">,
  position: Tensor<readonly [], "i32">,
  { scale = 1 / Math.sqrt(q.shape[q.rank - 1] ?? 1) }: AttentionOptions = {},
): AttentionResult<Q> {
  const [output, logSumExp] = emit(attentionOp, [q, k as Tensor, v, position], { scale });
  return { output, logSumExp } as unknown as AttentionResult<Q>;
}
