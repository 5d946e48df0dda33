// How each op is batched: one line an op. The table is a total mapped type over the op table, so that an op without a
// line does not compile. Rules that take more than a line are in batch_indexing.ts and batch_bodies.ts.

import type { Node, Tensor } from "../graph.ts";
import { emit, emitOne } from "../graph.ts";
import type { OpName } from "../ops/index.ts";
import { add } from "../ops/add.ts";
import { matmulOp } from "../ops/matmul.ts";
import { mul } from "../ops/mul.ts";
import { reshape } from "../ops/reshape.ts";
import type { Batched, Batching } from "./batch.ts";
import { asBatched, everyExample, moveAxis, oneByOne } from "./batch.ts";
import { batchCheckpoint, batchCond, batchCustomJvp, batchCustomVjp, batchScan, batchWhile } from "./batch_bodies.ts";
import {
  batchDynamicSlice,
  batchDynamicUpdateSlice,
  batchExpertLinear,
  batchExpertOuter,
  batchGather,
  batchScatterAdd,
  batchScatterRows,
} from "./batch_indexing.ts";

const ROWS: Batching = { kind: "rows" };
const FOLD: Batching = { kind: "fold", shared: [] };
/** The second input holds for all of the batch. */
const FOLD_BUT_ONE: Batching = { kind: "fold", shared: [1] };
const EXPAND: Batching = { kind: "expand" };
const SOURCE: Batching = { kind: "source" };

function rules(batch: (inputs: readonly Batched[], size: number, node: Node) => readonly Batched[]): Batching {
  return { kind: "rules", batch };
}

/** An op whose attributes name axes or sizes of all its inputs: the same op with those moved by one. */
function shifted(attributes: (attrs: Node["attrs"], size: number) => Node["attrs"]): Batching {
  return rules((inputs, size, node) =>
    asBatched(emit(node.op, everyExample(inputs, size), { ...node.attrs, ...attributes(node.attrs, size) })),
  );
}

const numbers = (value: unknown): readonly number[] => value as readonly number[];
const SHIFTED_AXES = shifted(({ axes }) => ({ axes: numbers(axes).map((axis) => axis + 1) }));
const SHIFTED_SHAPE = shifted(({ shape }, size) => ({ shape: [size, ...numbers(shape)] }));

const TABLE: Readonly<Record<OpName, Batching>> = {
  abs: ROWS,
  add: ROWS,
  after: rules(batchAfter),
  attention: FOLD,
  attention_grad: FOLD,
  attention_tangent: FOLD,
  block_linear: rules(batchRowsOfWeights),
  broadcast: SHIFTED_SHAPE,
  call: EXPAND,
  cast: ROWS,
  causal_convolution: FOLD_BUT_ONE,
  causal_convolution_transpose: FOLD_BUT_ONE,
  causal_convolution_weights: rules((inputs, size, node) => oneByOne(node, inputs, size)),
  checkpoint: rules(batchCheckpoint),
  checkpoint_name: ROWS,
  checkpoint_tangent: EXPAND,
  cholesky: ROWS,
  chosen_linear: { kind: "refuse", reason: "it takes one row", hint: "use `matmul`" },
  composite_tangent: EXPAND,
  concat: shifted(({ axis }) => ({ axis: Number(axis) + 1 })),
  cond: rules(batchCond),
  constant: SOURCE,
  cos: ROWS,
  cross_entropy: ROWS,
  custom_jvp: rules(batchCustomJvp),
  custom_vjp: rules(batchCustomVjp),
  custom_vjp_tangent: EXPAND,
  dequantize: ROWS,
  diagonal: EXPAND,
  diagonal_matrix: EXPAND,
  div: ROWS,
  double_double: ROWS,
  double_double_matmul: FOLD,
  double_double_sum: ROWS,
  dynamic_slice: rules(batchDynamicSlice),
  dynamic_update_slice: rules(batchDynamicUpdateSlice),
  eigh: ROWS,
  eq: ROWS,
  erf: ROWS,
  exp: ROWS,
  expert_linear: rules(batchExpertLinear),
  expert_outer: rules(batchExpertOuter),
  floor: ROWS,
  gather: rules(batchGather),
  gelu: ROWS,
  gelu_exact: ROWS,
  generalized_delta_rule: FOLD,
  generalized_delta_rule_grad: FOLD,
  generalized_delta_rule_tangent: EXPAND,
  iota: SOURCE,
  layer_norm: rules(batchNorm),
  le: ROWS,
  linear_recurrence: FOLD,
  linear_recurrence_adjoint: FOLD,
  log: ROWS,
  log_softmax: ROWS,
  logical_and: ROWS,
  logical_not: ROWS,
  lt: ROWS,
  lu: ROWS,
  matmul: rules(batchMatmul),
  matmul_exact: FOLD,
  max: ROWS,
  min: ROWS,
  mul: ROWS,
  neg: ROWS,
  pad: shifted(({ low, high }) => ({ low: [0, ...numbers(low)], high: [0, ...numbers(high)] })),
  paged_attention: {
    kind: "refuse",
    reason: "its sequences share one memory of pages",
    hint: "give it more sequences, each with its row of the table",
  },
  parameter: SOURCE,
  pow: ROWS,
  qr: ROWS,
  quantize_activations: ROWS,
  reduce_max: SHIFTED_AXES,
  reduce_sum: SHIFTED_AXES,
  relu: ROWS,
  reshape: SHIFTED_SHAPE,
  rms_norm: rules(batchNorm),
  rope: FOLD,
  round: ROWS,
  rsqrt: ROWS,
  scan: rules(batchScan),
  scatter_add: rules(batchScatterAdd),
  scatter_rows: rules(batchScatterRows),
  select: ROWS,
  selective_scan: FOLD_BUT_ONE,
  selective_scan_grad: FOLD_BUT_ONE,
  selective_scan_tangent: EXPAND,
  sigmoid: ROWS,
  silu: ROWS,
  sin: ROWS,
  slice: shifted(({ starts, stops }, size) => ({ starts: [0, ...numbers(starts)], stops: [size, ...numbers(stops)] })),
  softmax: ROWS,
  softplus: ROWS,
  sort: ROWS,
  splat: SOURCE,
  sqrt: ROWS,
  stop_gradient: ROWS,
  sub: ROWS,
  sum_exact: ROWS,
  svd: ROWS,
  tanh: ROWS,
  ternarize: {
    kind: "refuse",
    reason: "a ternary tensor is one packed matrix with one scale",
    hint: "batch over activations, and let all examples share the weights",
  },
  ternary_linear: rules(batchRowsOfWeights),
  transpose: shifted(({ permutation }) => ({ permutation: [0, ...numbers(permutation).map((axis) => axis + 1)] })),
  triangular_solve: ROWS,
  while_loop: rules(batchWhile),
};

/** How the op of this name is batched; the table is complete by its type. */
export function batchingOf(name: string): Batching {
  return TABLE[name as OpName];
}

/** Many left operands times one matrix are one product of more rows, one times many one of more columns. */
function batchMatmul(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const [a, b] = inputs as readonly [Batched, Batched];
  if (node.inputs[0]!.rank === 2 && !b.batched && node.attrs["transposeA"] === false) {
    const [, m, k] = a.value.shape as [number, number, number];
    const rows = emitOne(node.op, [reshape(a.value, [size * m, k]), b.value], node.attrs);
    return asBatched([reshape(rows, [size, m, rows.shape[1]!])]);
  }
  if (node.inputs[0]!.rank === 2 && !a.batched) {
    const isTransposed = node.attrs["transposeB"] === true;
    const [k, n] = isTransposed ? [b.value.shape[2]!, b.value.shape[1]!] : [b.value.shape[1]!, b.value.shape[2]!];
    const columns = isTransposed ? reshape(b.value, [size * n, k]) : reshape(moveAxis(b.value, 0, 1), [k, size * n]);
    const product = emitOne(node.op, [a.value, columns], node.attrs);
    return asBatched([moveAxis(reshape(product, [product.shape[0]!, size, n]), 1, 0)]);
  }
  return asBatched([emitOne(matmulOp, everyExample(inputs, size), node.attrs as never)]);
}

/** A weight and a bias for all rows stay in the op; those of an example are a product and a sum beside it. */
function batchNorm(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const [x, ...columns] = inputs as readonly [Batched, ...Batched[]];
  if (columns.every(({ batched }) => !batched)) {
    return asBatched(emit(node.op, [x.value, ...columns.map(({ value }) => value)], node.attrs));
  }
  const normalized = emitOne(node.op, everyExample([x], size), node.attrs);
  const [weight, bias] = columns.map(({ value, batched }) => {
    const ones = Array<number>(normalized.rank - 2).fill(1);
    return batched ? reshape(value, [size, ...ones, value.shape[1]!]) : value;
  });
  const scaled = mulRows(normalized, weight!);
  return asBatched([bias === undefined ? scaled : add(scaled, bias as never)]);
}

/** x, with or without examples, after whatever it waits for. */
function batchAfter(inputs: readonly Batched[], _size: number, node: Node): readonly Batched[] {
  const values = inputs.map(({ value }) => value);
  return [{ value: emitOne(node.op, values, node.attrs), batched: inputs[0]!.batched }];
}

function batchRowsOfWeights(inputs: readonly Batched[], _size: number, node: Node): readonly Batched[] {
  return asBatched(
    emit(
      node.op,
      inputs.map(({ value }) => value),
      node.attrs,
    ),
  );
}

function mulRows(x: Tensor, weight: Tensor): Tensor {
  return mul(x, weight as never) as Tensor;
}
