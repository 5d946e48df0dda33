// attention: scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762) over a cache, with grouped heads
// (Ainslie et al. 2023, arXiv 2305.13245). Query t of head h sees keys 0..position + t of key head h / (H/G):
//   s = scale q . k,  lse = log sum exp s,  p = exp(s - lse),  o = sum p v
// or, of those, the last `window` ones (Beltagy et al. 2020, arXiv 2004.05150; Jiang et al. 2023, arXiv 2310.06825),
// or, where attention is not causal, what the last query sees. Scores may be capped: cap tanh(s / cap) (Gemma 2, arXiv
// 2408.00118). Values may have another size than keys (DeepSeek-V2, arXiv 2405.04434). The logarithm of the normaliser
// is a second result, so that the reverse pass recomputes p instead of storing it (Dao 2023, FlashAttention-2, arXiv
// 2307.08691). Keys and values may be narrow, and are float32 once read. Left out: other masks, and dropout.

import type { Checked, Dim, SameDim, Shape, ShapeError, ShowShape } from "@fidelity/units";
import type { Dtype, HalfDtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { CaseDraw, OpCase, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { attentionTangent } from "./attention_tangent.ts";
import { cast } from "./cast.ts";
import { lowerAttention } from "./kernels/attention.ts";
import { positionOf, requirePosition } from "./rope.ts";

/** What keys and values are stored as. */
export type CacheDtype = "f32" | HalfDtype;

export const CACHE_DTYPES: readonly CacheDtype[] = ["f32", "bf16", "f16"];

export type AttentionAttrs = {
  readonly scale: number;
  /** Keys that a query sees at most, itself included; all that are not later unless said. */
  readonly window?: number;
  /** Bound of the scores; none unless said. */
  readonly softcap?: number;
  /** Whether queries see no later keys; they do not unless said. */
  readonly causal?: boolean;
};

/** Sizes of an attention: `groupSize` query heads share a key head. */
export interface AttentionDims {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  /** Elements of a query and of a key, and of a value and of what comes out. */
  readonly size: number;
  readonly valueSize: number;
  readonly capacity: number;
  readonly keyHeads: number;
  readonly groupSize: number;
  /** How keys and values are stored. */
  readonly cache: Dtype;
  /** Where keys lie in pages (paged_attention.ts) instead of one run of memory a sequence. */
  readonly paged?: { readonly pages: number; readonly pageSize: number };
}

export function attentionDims(q: TensorType, v: TensorType): AttentionDims {
  const [batch, time, heads, size] = q.shape as [number, number, number, number];
  const [, capacity, keyHeads, valueSize] = v.shape as [number, number, number, number];
  return { batch, time, heads, size, valueSize, capacity, keyHeads, groupSize: heads / keyHeads, cache: v.dtype };
}

/** The type of what comes out: [batch, time, heads, value size]. */
export function attentionOutput(q: TensorType, v: TensorType): TensorType {
  return { dtype: "f32", shape: [...q.shape.slice(0, 3), v.shape[3]!] };
}

export const attentionOp: OpDef<AttentionAttrs> = {
  name: "attention",
  summary: "o = softmax(scale q k^T, keys 0..position + t) v, and the log of its normaliser",
  infer(inputs, attrs) {
    const [q, , v, position] = inputs as [TensorType, TensorType, TensorType, TensorType];
    requireHeads("attention", inputs, attrs, CACHE_DTYPES);
    requirePosition("attention", position, inputs);
    return [attentionOutput(q, v), { dtype: "f32", shape: [q.shape[0]!, q.shape[2]!, q.shape[1]!] }];
  },
  evaluate([q, k, v, position], attrs, [oType, lseType]) {
    const dims = attentionDims(q!.type, v!.type);
    return evaluateAttention(dims, attrs, [q!, k!, v!, position!], [oType!, lseType!]);
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [q, k, v, position], results: [o, lse] }, [dq, dk, dv], attrs) =>
      attentionTangent({ q: q!, k: wide(k!), v: wide(v!), o: o!, lse: lse!, position: position! }, [dq, dk, dv], attrs),
  },
  lowering: { kind: "kernel", lower: lowerAttention },
  sample(draw) {
    const { q, k, v, attrs, range } = sampleAttention(draw);
    const dtype = draw.pick(["f32", ...CACHE_DTYPES] as const);
    return {
      inputs: [q, { ...k, dtype }, { ...v, dtype }, { dtype: "i32", shape: [] }],
      attrs,
      ranges: [undefined, undefined, undefined, range],
    };
  },
};

function wide(cached: Tensor): Tensor {
  return cached.dtype === "f32" ? cached : cast(cached, "f32");
}

/** The number of the row in which key `key` of a sequence lies; one after the other unless pages say something else. */
export type KeyRow = (sequence: number, key: number) => number;

/** The output and the log of the normaliser of q, k and v at a position, or at one for each sequence. */
export function evaluateAttention(
  dims: AttentionDims,
  attrs: AttentionAttrs,
  [q, k, v, position]: readonly HostTensor[],
  [oType, lseType]: readonly TensorType[],
  keyRow?: KeyRow,
): readonly HostTensor[] {
  const o = new Float64Array(elementCount(oType!.shape));
  const lse = new Float64Array(elementCount(lseType!.shape));
  const visit = ({ query, output, keys, values, row }: ReferenceQuery): void => {
    const scores = keys.map((key) => scoreOf(attrs, dot(q!.data, query, k!.data, key, dims.size)).score);
    const largest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    values.forEach((value, s) => accumulate(o, output, v!.data, value, weights[s]! / total, dims.valueSize));
    lse[row] = largest + Math.log(total);
  };
  forEachQuery(dims, attrs, position!, visit, keyRow);
  return [
    { type: oType!, data: o },
    { type: lseType!, data: lse },
  ];
}

/**
 * Requires f32 queries [B, T, H, D], keys [B, S, G, D] and values [B, S, G, E], both of one dtype of `cached`, where G
 * divides H, the first three inputs, and attributes that mean something.
 */
export function requireHeads(
  op: string,
  inputs: readonly TensorType[],
  attrs: AttentionAttrs,
  cached: readonly Dtype[] = ["f32"],
): void {
  const [q, k, v] = inputs as [TensorType, TensorType, TensorType];
  for (const input of [q, k, v]) {
    const heads = input.shape.length === 4 && elementCount(input.shape) > 0;
    requireShape(heads, op, "takes tensors [batch, time, heads, size]", inputs);
  }
  requireShape(q.dtype === "f32", op, "takes f32 queries", inputs, "cast them");
  const stored = cached.includes(k.dtype) && k.dtype === v.dtype;
  requireShape(stored, op, `takes keys and values of one dtype: ${cached.join(", ")}`, inputs, "cast them");
  requireShape(
    k.shape.slice(0, 3).every((dim, axis) => dim === v.shape[axis]),
    op,
    "keys and values differ",
    inputs,
  );
  const { heads, keyHeads } = attentionDims(q, v);
  const fits = q.shape[0] === k.shape[0] && q.shape[3] === k.shape[3] && heads % keyHeads === 0;
  requireShape(fits, op, "batch or head sizes differ, or the key heads do not divide the heads", inputs);
  const { window, softcap, causal = true } = attrs;
  const windowFits = window === undefined || (Number.isSafeInteger(window) && window > 0 && window < 2 ** 31 && causal);
  requireShape(
    windowFits,
    op,
    `the window is ${window}`,
    inputs,
    "give a whole number of keys, and leave the attention causal",
  );
  requireShape(softcap === undefined || softcap > 0, op, `scores are capped at ${softcap}`, inputs);
}

/** The score of a product of a query and a key, and its derivative by the product. */
export function scoreOf({ scale, softcap }: AttentionAttrs, product: number): { score: number; slope: number } {
  if (softcap === undefined) return { score: scale * product, slope: scale };
  const bounded = Math.tanh((scale * product) / softcap);
  return { score: softcap * bounded, slope: scale * (1 - bounded * bounded) };
}

/** One query of the reference loops: where its vectors are, and the keys and values that it sees, in elements. */
export interface ReferenceQuery {
  readonly query: number;
  readonly output: number;
  readonly keys: readonly number[];
  readonly values: readonly number[];
  /** In [B, H, T]. */
  readonly row: number;
  /** In [B, T, H]. */
  readonly timeRow: number;
}

/** Visits every query. A position beyond the capacity counts as that of the cache's last key. */
export function forEachQuery(
  dims: AttentionDims,
  { window = Infinity, causal = true }: AttentionAttrs,
  position: HostTensor,
  visit: (query: ReferenceQuery) => void,
  keyRow: KeyRow = (sequence, key) => sequence * dims.capacity + key,
): void {
  const { batch, time, heads, size, valueSize, capacity, keyHeads, groupSize } = dims;
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < time; t++) {
        const timeRow = (b * time + t) * heads + h;
        const visible = Math.min(positionOf(position, b) + (causal ? t : time - 1) + 1, capacity);
        const first = Math.max(0, visible - window);
        const keyRows = Array.from({ length: visible - first }, (_, s) => {
          return keyRow(b, first + s) * keyHeads + Math.floor(h / groupSize);
        });
        visit({
          query: timeRow * size,
          output: timeRow * valueSize,
          keys: keyRows.map((row) => row * size),
          values: keyRows.map((row) => row * valueSize),
          row: (b * heads + h) * time + t,
          timeRow,
        });
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

/** Random small types whose queries all see at least one key, attributes, and the range of positions. */
export function sampleAttention(draw: CaseDraw): {
  readonly q: TensorType;
  readonly k: TensorType;
  readonly v: TensorType;
  readonly attrs: AttentionAttrs;
  readonly range: NonNullable<OpCase["ranges"]>[number];
} {
  const [batch, time, keyHeads, size] = [draw.int(1, 2), draw.int(1, 11), draw.int(1, 2), draw.int(1, 21)];
  const before = draw.int(0, 6);
  const kv = (last: number): TensorType => ({ dtype: "f32", shape: [batch, time + before, keyHeads, last] });
  const q: TensorType = { dtype: "f32", shape: [batch, time, keyHeads * draw.int(1, 3), size] };
  const mask = draw.pick<Partial<AttentionAttrs>>([{}, { window: draw.int(1, 7) }, { causal: false }]);
  const cap = draw.pick<Partial<AttentionAttrs>>([{}, { softcap: 1.5 }]);
  return {
    q,
    k: kv(size),
    v: kv(draw.pick([size, draw.int(1, 21)])),
    attrs: { scale: 1 / Math.sqrt(size), ...mask, ...cap },
    range: [0, before],
  };
}

export interface AttentionOptions {
  /** Factor of the scores, 1 / sqrt(head size) by default. */
  readonly scale?: number;
  /** Keys that a query sees at most, the last of them its own; all up to its own by default. Only where causal. */
  readonly window?: number;
  /** Scores s, after the scale, become softcap tanh(s / softcap); unbounded by default. */
  readonly softcap?: number;
  /** Whether query t sees no key behind position + t, true by default; else all see what the last one sees. */
  readonly causal?: boolean;
}

/** The results of `attention`. */
export interface AttentionResult<O extends Shape> {
  /** [batch, time, heads, value size]. */
  readonly output: Tensor<O, "f32">;
  /** log sum exp of the scores, [batch, heads, time]. */
  readonly logSumExp: Tensor<Shape, "f32">;
}

/** Queries `Q` beside keys `K`: batch and head size must be the same; `Q` where they are. */
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

/** Values `V` beside keys `K`: the same but for the head size. */
export type AttentionValues<K extends Shape, V extends Shape> = number extends K["length"] | V["length"]
  ? Shape
  : K extends readonly [infer B extends Dim, infer S extends Dim, infer G extends Dim, Dim]
    ? V extends readonly [infer ValueB extends Dim, infer ValueS extends Dim, infer ValueG extends Dim, Dim]
      ? [SameDim<B, ValueB>, SameDim<S, ValueS>, SameDim<G, ValueG>] extends [infer Batch, infer Steps, infer Heads]
        ? [Batch] extends [never]
          ? ShapeError<`attention: batches differ: ${B} and ${ValueB}`>
          : [Steps] extends [never]
            ? ShapeError<`attention: capacities differ: ${S} and ${ValueS}`>
            : [Heads] extends [never]
              ? ShapeError<`attention: key heads differ: ${G} and ${ValueG}`>
              : V
        : never
      : ShapeError<`attention: values ${ShowShape<V>} are not [batch, capacity, heads, size]`>
    : Shape;

/** The result's shape: that of the queries `Q`, with the head size of the values `V`. */
export type AttentionOutput<Q extends Shape, V extends Shape> = number extends Q["length"] | V["length"]
  ? Shape
  : Q extends readonly [infer B extends Dim, infer T extends Dim, infer H extends Dim, infer D extends Dim]
    ? V extends readonly [Dim, Dim, Dim, infer E extends Dim]
      ? [D, E] extends [E, D]
        ? Q
        : readonly [B, T, H, E]
      : Shape
    : Shape;

/**
 * Attention of queries `q` [batch, time, heads, size] over a cache of keys [batch, capacity, key heads, size] and
 * values [batch, capacity, key heads, value size]; key heads divide heads. Query t sees the keys 0..position + t, or
 * those of them that the options leave; a position beyond the cache counts as its last one. Keys and values have one
 * dtype, which may be bf16 or f16.
 * @throws ShapeMismatchError when shapes do not fit, or an option is out of range.
 */
export function attention<Q extends Shape, K extends Shape, V extends Shape>(
  q: Tensor<Q, "f32">,
  k: Checked<AttentionShape<Q, K>, Tensor<K, CacheDtype>>,
  v: Checked<AttentionValues<K, V>, Tensor<V, CacheDtype>>,
  position: Tensor<readonly [], "i32">,
  { scale = 1 / Math.sqrt(q.shape[q.rank - 1] ?? 1), window, softcap, causal = true }: AttentionOptions = {},
): AttentionResult<AttentionOutput<Q, V>> {
  const attrs: AttentionAttrs = {
    scale,
    ...(window !== undefined && { window }),
    ...(softcap !== undefined && { softcap }),
    ...(!causal && { causal }),
  };
  const [output, logSumExp] = emit(attentionOp, [q, k as Tensor, v as Tensor, position], attrs);
  return { output, logSumExp } as unknown as AttentionResult<AttentionOutput<Q, V>>;
}
