// Attention against its ceilings: the training suite's and a long sequence, forward and backward, which compute; and
// tokens of decoding over caches, which read. Operations are counted as in kernels.ts.
//
// A token's caches are read in two ways. One, again and again, may stay in the last-level cache in part, and so may
// what its ceiling reads. A model reads those of its layers in turn, with its weights in between: what decoding meets
// is as many as no last-level cache holds.

import { attention, emit, OPS, tensorType, trace } from "@fidelity/core";
import type { Graph, Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { KernelCase } from "./kernels.ts";

type F32 = Tensor<Shape, "f32">;

interface AttentionShape {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly size: number;
  readonly capacity: number;
  readonly keyHeads: number;
}

const MIB = 2 ** 20;
/** What caches hold together that are read in turn. */
const CACHES_BYTES = 320 * MIB;

/** The cases of a quick run, or of a whole one. */
export function attentionCases(quick: boolean): KernelCase[] {
  const training = { batch: 16, time: 128, heads: 4, size: 32, capacity: 128, keyHeads: 4 };
  const long = { batch: 1, time: quick ? 256 : 1024, heads: 8, size: 64, capacity: quick ? 256 : 1024, keyHeads: 4 };
  const token = { batch: 1, time: 1, heads: 20, size: 128, capacity: quick ? 512 : 8192, keyHeads: 5 };
  return [
    ...[training, long].flatMap((shape) => [attentionCase(shape), attentionGradCase(shape)]),
    tokenCase(token, 1),
    ...(quick ? [] : [tokenCase(token, CACHES_BYTES / cacheBytes(token)), tokenCase({ ...token, capacity: 32768 }, 1)]),
  ];
}

const namesOf = ({ batch, time, heads, size, capacity }: AttentionShape): string =>
  `${batch}x${time}x${heads}x${size} over ${capacity}`;

/** Pairs of queries and keys that they see, the last query being at the cache's end. */
function pairsOf({ batch, time, heads, capacity }: AttentionShape): number {
  return batch * heads * (time * (capacity - time) + (time * (time + 1)) / 2);
}

/** Operations of a pair besides those of the products: kernels.ts says which. */
const [PAIR_OPERATIONS, PAIR_GRAD_OPERATIONS] = [32, 32];

function attentionTypes({ batch, time, heads, size, capacity, keyHeads }: AttentionShape) {
  return {
    q: tensorType("f32", [batch, time, heads, size]),
    kv: tensorType("f32", [batch, capacity, keyHeads, size]),
    lse: tensorType("f32", [batch, heads, time]),
    delta: tensorType("f32", [batch, time, heads]),
    position: tensorType("i32", []),
  };
}

function attentionGraph(shape: AttentionShape): Graph {
  const { q, kv, position } = attentionTypes(shape);
  const run = (query: F32, keys: F32, values: F32, at: Tensor<readonly [], "i32">): Tensor[] => {
    const { output, logSumExp } = attention(query, keys, values, at);
    return [output, logSumExp];
  };
  return trace("attention", run, [q, kv, kv, position]).graph;
}

function attentionCase(shape: AttentionShape): KernelCase {
  const work = pairsOf(shape) * (4 * shape.size + PAIR_OPERATIONS);
  return {
    name: `attention ${namesOf(shape)}`,
    graph: attentionGraph(shape),
    work,
    ceiling: { kind: "f32" },
    position: shape.capacity - shape.time,
  };
}

/** Bytes of the keys and values of one layer. */
function cacheBytes({ capacity, keyHeads, size }: AttentionShape): number {
  return 2 * capacity * keyHeads * size * 4;
}

/** One query reads all keys and values of each of `caches` once. */
function tokenCase(shape: AttentionShape, caches: number): KernelCase {
  const { q, kv, position } = attentionTypes(shape);
  const run = (query: F32, keys: readonly F32[], values: readonly F32[], at: Tensor<readonly [], "i32">): Tensor[] =>
    keys.map((key, i) => attention(query, key, values[i]!, at).output);
  const all = Array.from({ length: caches }, () => kv);
  const bytes = caches * cacheBytes(shape);
  return {
    name: `attention ${namesOf(shape)}${caches === 1 ? "" : ` x ${caches} caches`}`,
    graph: trace("attention", run, [q, all, all, position]).graph,
    work: bytes,
    ceiling: { kind: "read", sizeBytes: bytes },
    position: shape.capacity - 1,
  };
}

function attentionGradCase(shape: AttentionShape): KernelCase {
  const { q, kv, lse, delta, position } = attentionTypes(shape);
  const attrs = { scale: 1 / Math.sqrt(shape.size) };
  const { graph } = trace(
    "attention_grad",
    (inputs: readonly Tensor[]) => [...emit(OPS.attention_grad, inputs, attrs)],
    [[q, kv, kv, lse, q, delta, position]],
  );
  return {
    name: `attention_grad ${namesOf(shape)}`,
    graph,
    work: pairsOf(shape) * (10 * shape.size + PAIR_GRAD_OPERATIONS),
    ceiling: { kind: "f32" },
    position: shape.capacity - shape.time,
  };
}
