// A few rows times a matrix, y[m, n] = x[m, k] B: what decoding does with every dense weight. It is bound by reading B
// once, so it packs nothing. Rows of a transposed B are dotted with the rows of x, a few outputs at a time. Rows of a
// plain B are scaled and added: a chunk is a strip of columns, long enough for a row of it to be one run of memory, and
// takes a few rows of B at a time while the next ones are fetched; the sums stay in the first cache. Operands of bf16
// and f16 become float32 as they are read.

import type { LowerContext } from "../../op.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { F32, loopType } from "../../loop/ir.ts";
import type { Dtype } from "../../dtype.ts";
import { cellBytes, elementSize, loadElement } from "../cells.ts";
import { elementLoopType } from "../loop-types.ts";
import type { MatmulAttrs, MatmulDims } from "../matmul.ts";
import { CHUNKS_MAX, eachChosen, GROUP_OUTPUTS } from "./chosen.ts";
import { foldLanes, laneWidths, reduceEach } from "./lanes.ts";
import { askRow } from "./row_states.ts";

/**
 * Most outputs of a row that one step computes together: as many rows of B are read side by side. Of narrow rows there
 * is one, with more sums: of several short streams from memory processors keep up with less.
 */
const OUTPUTS = 4;
const NARROW_SUMS = 4;
/**
 * Bytes that narrow rows are asked for ahead, into the first cache or the second: one stream alone is followed too
 * late. Several need no help, but where the first cache waits for few lines at a time. What the second one cannot take
 * note of is forgotten, and so asked for again.
 */
const NARROW_AHEAD_BYTES: Readonly<Record<1 | 2, readonly number[]>> = { 1: [16384], 2: [32768, 16384] };
/** Rows of a plain B of 4-byte elements, times rows of x, that are scaled and added in one pass over the sums. */
const SCALED_ROWS = 8;
/** Elements of a transposed B in a chunk, about. */
const CHUNK_ELEMENTS = 16384;
/** Bytes of a row of a strip, at most. */
const STRIP_BYTES = 16384;
/** Vectors of sums of a step. */
const SUM_VECTORS = 4;

/** Whether a product has so few rows that packing B would take longer than reading it. */
export function isRowProduct({ m }: MatmulDims, { transposeA, transposeB }: MatmulAttrs): boolean {
  // Dot products read whole rows of x.
  if (transposeB) return m === 1 || (!transposeA && m <= 4);
  return m <= 4;
}

/** The same for all chunks of one batch: addresses of its first row of x, of B, and of y. */
interface RowProduct extends RowAddresses {
  readonly dims: MatmulDims;
  /** How x and B are stored, and bytes of an element: of the result, of x, of B. */
  readonly xType: Dtype;
  readonly bType: Dtype;
  readonly bytes: number;
  readonly xBytes: number;
  readonly bBytes: number;
  readonly vector: LoopType;
  /** The most accumulators to keep. */
  readonly accumulators: number;
  /** The cache that B is asked into, and whether that is done for rows of full width, several of which are read. */
  readonly cache: 1 | 2;
  readonly asksWide: boolean;
  /** Element strides of x are those of [m, k], or of its transpose. */
  readonly xRowBytes: number;
  readonly xStepBytes: number;
}

export function lowerRowProduct(context: LowerContext, dims: MatmulDims, attrs: MatmulAttrs): void {
  const { m, n, k: inner, batch } = dims;
  const [xType, bType] = context.node.inputs.map(({ dtype }) => dtype) as [Dtype, Dtype];
  const chunk = rowProductChunk(context, dims, attrs, xType, bType);
  const [xBytes, bBytes, yBytes] = [
    m * inner * cellBytes(xType),
    inner * n * cellBytes(bType),
    m * n * elementSize(xType),
  ];
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("row_product", batch * chunk.count, 2 * batch * m * n * inner, buffers, (k, [x, b, y]) => {
    const which = k.div(k.chunk, k.index(chunk.count));
    const at = { x: k.offset(x!, which, xBytes), b: k.offset(b!, which, bBytes), y: k.offset(y!, which, yBytes) };
    chunk.generate(k, at, k.rem(k.chunk, k.index(chunk.count)));
  });
}

/** Lowers chosen_linear: one row times the rows of a transposed B that are wanted. */
export function lowerChosenRow(context: LowerContext, dims: MatmulDims): void {
  const { n, k: inner } = dims;
  const [xType, bType] = context.node.inputs.map(({ dtype }) => dtype) as [Dtype, Dtype];
  const shape = rowShape(context, dims, { transposeA: false, transposeB: true }, xType, bType);
  const groups = Math.ceil(n / GROUP_OUTPUTS);
  const chunks = Math.min(CHUNKS_MAX, Math.ceil(groups / Math.ceil(CHUNK_ELEMENTS / (GROUP_OUTPUTS * inner))));
  const buffers = [context.input(0), context.input(1), context.input(2), context.result(0)];
  context.call("row_product", chunks, 2 * n * inner, buffers, (k, [x, b, list, y]) => {
    const product: RowProduct = { ...shape, x: x!, b: b!, y: y! };
    const columnOf = (group: LoopValue): LoopValue => k.min(k.mul(group, k.index(GROUP_OUTPUTS)), k.index(n));
    const multiply = ([group]: readonly LoopValue[]): void => {
      dotColumns(k, product, columnOf(group!), columnOf(k.add(group!, k.index(1))));
    };
    const leaveOut = (from: LoopValue, to: LoopValue): void => {
      k.loop(columnOf(from), columnOf(to), 1, (column) => {
        k.store(k.constant(F32, -Infinity), k.offset(y!, column, 4));
      });
    };
    eachChosen(k, { list: list!, groups, chunks, atOnce: 1 }, multiply, leaveOut);
  });
}

/** Addresses of the first row of x, of B and of y. */
export interface RowAddresses {
  readonly x: LoopValue;
  readonly b: LoopValue;
  readonly y: LoopValue;
}

/** How one product, of a batch, is cut into chunks of its columns, and the loops of one of them. */
export function rowProductChunk(
  context: LowerContext,
  dims: MatmulDims,
  { transposeA, transposeB }: MatmulAttrs,
  xType: Dtype,
  bType: Dtype,
): { readonly count: number; generate(k: KernelBuilder, at: RowAddresses, chunk: LoopValue): void } {
  const { n, k: inner } = dims;
  const shape = rowShape(context, dims, { transposeA, transposeB }, xType, bType);
  const columns = transposeB
    ? Math.max(OUTPUTS, Math.ceil(CHUNK_ELEMENTS / inner / OUTPUTS) * OUTPUTS)
    : stripColumns(n, shape.vector.lanes * SUM_VECTORS, STRIP_BYTES / shape.bBytes);
  return {
    count: Math.ceil(n / columns),
    generate(k, at, chunk) {
      const first = k.mul(chunk, k.index(columns));
      const end = k.min(k.index(n), k.add(first, k.index(columns)));
      const product: RowProduct = { ...shape, ...at };
      if (transposeB) dotColumns(k, product, first, end);
      else addRows(k, product, first, end);
    },
  };
}

/** What is the same for all chunks, but for addresses. */
function rowShape(
  context: LowerContext,
  dims: MatmulDims,
  { transposeA }: MatmulAttrs,
  xType: Dtype,
  bType: Dtype,
): Omit<RowProduct, keyof RowAddresses> {
  const bytes = elementSize(xType);
  const [xBytes, bBytes] = [cellBytes(xType), cellBytes(bType)];
  return {
    dims,
    xType,
    bType,
    bytes,
    xBytes,
    bBytes,
    vector: elementLoopType(xType, (context.lanes * 4) / bytes),
    accumulators: context.registers >= 32 || context.joinsVectors ? 16 : 8,
    cache: context.prefetchCache,
    // What lies near is read faster than it is asked for.
    asksWide: context.prefetchCache === 2 && dims.n * dims.k * bBytes > context.cacheBytes.l2,
    xRowBytes: transposeA ? xBytes : dims.k * xBytes,
    xStepBytes: transposeA ? dims.m * xBytes : xBytes,
  };
}

/** Four strips where their rows stay long enough; whole steps each. */
function stripColumns(columns: number, step: number, most: number): number {
  return Math.ceil(Math.min(most, Math.max(256, columns / 4)) / step) * step;
}

function dotColumns(k: KernelBuilder, product: RowProduct, first: LoopValue, end: LoopValue): void {
  const { dims, accumulators, bytes, bBytes } = product;
  const together = Math.max(1, Math.min(bBytes < bytes ? 1 : OUTPUTS, Math.floor(accumulators / dims.m)));
  const whole = k.sub(end, k.rem(k.sub(end, first), k.index(together)));
  k.loop(first, whole, together, (column) => dotRows(k, product, column, together));
  if (dims.n % together > 0) k.loop(whole, end, 1, (column) => dotRows(k, product, column, 1));
}

/** Dot products of all rows of x with `count` rows of B [n, k]. */
function dotRows(k: KernelBuilder, product: RowProduct, column: LoopValue, count: number): void {
  const { dims, bytes, xBytes, bBytes, vector, accumulators, cache, x, y } = product;
  const { m } = dims;
  const [xRowBytes, bRowBytes] = [dims.k * xBytes, dims.k * bBytes];
  const rows = k.offset(product.b, column, bRowBytes);
  const sumsEach = m * count === 1 && bBytes < bytes ? NARROW_SUMS : 2;
  const unroll = m * count * sumsEach <= accumulators ? sumsEach : 1;
  const step = unroll * vector.lanes;
  const whole = dims.k - (dims.k % step);
  const zeros = Array.from({ length: m * count * unroll }, () => k.constant(vector, 0));
  const sums = k.for(0, whole, step, zeros, (l, partial) => {
    const [xAt, bAt] = [k.offset(x, l, xBytes), k.offset(rows, l, bBytes)];
    if (bBytes < bytes) {
      for (const ahead of NARROW_AHEAD_BYTES[cache]) askRow(k, bAt, ahead / 4, (step * bBytes) / 4, cache);
    } else if (product.asksWide) {
      // The next rows, in the order in which they lie.
      const next = k.add(rows, k.index(count * bRowBytes));
      askRow(k, k.offset(next, l, count * bBytes), 0, (count * step * bBytes) / 4, cache);
    }
    const left = Array.from({ length: m * unroll }, (_, i) => {
      const offset = (i % m) * xRowBytes + Math.floor(i / m) * vector.lanes * xBytes;
      return loadElement(k, product.xType, vector.lanes, xAt, offset);
    });
    const right = Array.from({ length: count * unroll }, (_, i) => {
      const offset = (i % count) * bRowBytes + Math.floor(i / count) * vector.lanes * bBytes;
      return loadElement(k, product.bType, vector.lanes, bAt, offset);
    });
    return partial.map((sum, i) => {
      const [u, c, r] = [Math.floor(i / (m * count)), Math.floor(i / m) % count, i % m];
      return k.fma(left[u * m + r]!, right[u * count + c]!, sum);
    });
  });
  for (let r = 0; r < m; r++) {
    const vectors = Array.from({ length: count }, (_, c) => {
      const parts = Array.from({ length: unroll }, (_u, u) => sums[u * m * count + c * m + r]!);
      return parts.reduce((total, part) => k.add(total, part));
    });
    const totals = sumVectors(k, vectors);
    const at = k.offset(y, column, bytes);
    totals.forEach((total, c) => {
      const rest = restOfDot(k, product, k.add(x, k.index(r * xRowBytes)), k.add(rows, k.index(c * bRowBytes)), whole);
      k.store(rest === undefined ? total : k.add(total, rest), at, (r * dims.n + c) * bytes);
    });
  }
}

function sumVectors(k: KernelBuilder, vectors: readonly LoopValue[]): LoopValue[] {
  const add = (a: LoopValue, b: LoopValue): LoopValue => k.add(a, b);
  if (vectors.length > vectors[0]!.type.lanes) return vectors.map((vector) => foldLanes(k, vector, add));
  const sums = reduceEach(k, vectors, add);
  return vectors.map((_, i) => k.extract(sums, i));
}

/** The products of the elements from `start` on, fewer than a step. */
function restOfDot(
  k: KernelBuilder,
  { dims, vector, xType, bType, xBytes, bBytes }: RowProduct,
  x: LoopValue,
  row: LoopValue,
  start: number,
): LoopValue | undefined {
  let total: LoopValue | undefined;
  let done = start;
  for (const lanes of laneWidths(vector.lanes)) {
    for (; dims.k - done >= lanes; done += lanes) {
      const left = loadElement(k, xType, lanes, x, done * xBytes);
      const product = k.mul(left, loadElement(k, bType, lanes, row, done * bBytes));
      const sum = foldLanes(k, product, (a, b) => k.add(a, b));
      total = total === undefined ? sum : k.add(total, sum);
    }
  }
  return total;
}

/** All rows of B [k, n], scaled by the elements of each row of x, over a strip of columns. */
function addRows(k: KernelBuilder, product: RowProduct, first: LoopValue, end: LoopValue): void {
  const { dims, bBytes } = product;
  const together = Math.max(1, Math.floor((SCALED_ROWS * 4) / bBytes / dims.m));
  const whole = dims.k - (dims.k % together);
  // The first rows set the sums.
  scaleRows(k, product, k.index(0), Math.min(together, dims.k), first, end, true);
  if (whole > together) {
    k.loop(together, whole, together, (l) => scaleRows(k, product, l, together, first, end, false));
  }
  if (dims.k > whole && whole > 0) {
    k.loop(whole, dims.k, 1, (l) => scaleRows(k, product, l, 1, first, end, false));
  }
}

/** Sets the sums of a strip to, or adds to them, rows l to l + count of B. */
function scaleRows(
  k: KernelBuilder,
  product: RowProduct,
  l: LoopValue,
  count: number,
  first: LoopValue,
  end: LoopValue,
  sets: boolean,
): void {
  const { dims, bytes, bBytes, vector, y, xRowBytes, xStepBytes } = product;
  const { m, n } = dims;
  const x = k.offset(product.x, l, xStepBytes);
  const elements = Array.from({ length: m * count }, (_, i) =>
    loadElement(k, product.xType, 1, x, (i % m) * xRowBytes + Math.floor(i / m) * xStepBytes),
  );
  const rows = k.offset(product.b, l, n * bBytes);
  const columns = (start: LoopValue, stop: LoopValue, lanes: number, vectors: number): void => {
    const type = loopType(vector.kind, lanes);
    const factors = elements.map((element) => k.splat(element, lanes));
    k.loop(start, stop, lanes * vectors, (column) => {
      const [bAt, yAt] = [k.offset(rows, column, bBytes), k.offset(y, column, bytes)];
      const place = (row: number, v: number): number => row * n + v * lanes;
      const right = Array.from({ length: count * vectors }, (_, i) => {
        return loadElement(k, product.bType, lanes, bAt, place(Math.floor(i / vectors), i % vectors) * bBytes);
      });
      if (m > 1 && lanes === vector.lanes) prefetchRows(k, bAt, count, n * bBytes, lanes * vectors * bBytes);
      const sums = Array.from({ length: m * vectors }, (_, i) => {
        const [r, v] = [Math.floor(i / vectors), i % vectors];
        let sum = sets ? k.constant(type, 0) : k.load(type, yAt, place(r, v) * bytes);
        for (let c = 0; c < count; c++) sum = k.fma(factors[c * m + r]!, right[c * vectors + v]!, sum);
        return sum;
      });
      sums.forEach((sum, i) => k.store(sum, yAt, place(Math.floor(i / vectors), i % vectors) * bytes));
    });
  };
  let at = first;
  let left = n;
  const steps = [[vector.lanes, SUM_VECTORS], ...laneWidths(vector.lanes).map((lanes) => [lanes, 1])];
  for (const [lanes, vectors] of steps as [number, number][]) {
    const width = lanes * vectors;
    if (left < width) continue;
    left %= width;
    // Strips are whole steps, so that only the last one leaves something to the next width.
    const stop = left === 0 ? end : k.sub(end, k.rem(k.sub(end, at), k.index(width)));
    columns(at, stop, lanes, vectors);
    at = stop;
  }
}

/**
 * Asks for the rows of B that come after the present ones, in the columns of a step. With one row of x there are more
 * rows of B, and processors follow them by themselves: asking was slower.
 */
function prefetchRows(k: KernelBuilder, rows: LoopValue, count: number, rowBytes: number, stepBytes: number): void {
  for (let row = 0; row < count; row++) {
    for (let offset = 0; offset < stepBytes; offset += 64) k.prefetch(rows, (count + row) * rowBytes + offset);
  }
}
