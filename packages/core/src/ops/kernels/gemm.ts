// The matrix product as loops, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008),
// reduced to what SIMD registers of one size need: a chunk is a block of the result; for each block of the inner
// dimension it packs B into panels of a few vectors in scratch, and runs a register-blocked product over them. A is
// read in place, one broadcast element at a time, in either storage order. Each element of the result is summed in one
// order by one chunk, so results do not depend on the number of threads.

import type { LowerContext } from "../../op.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { elementLoopType } from "../loop-types.ts";
import type { MatmulAttrs, MatmulDims } from "../matmul.ts";
import { matmulDims } from "../matmul.ts";
import { transposeSquare } from "./lanes.ts";
import { lowerRowProduct } from "./row_product.ts";

/** The blocking of a product; one is chosen per shape. */
export interface GemmSchedule {
  /** Rows and vectors of the register block. */
  readonly rows: number;
  readonly vectors: number;
  /** Rows and columns of a chunk, and how much of the inner dimension is packed at once. */
  readonly chunkRows: number;
  readonly chunkColumns: number;
  readonly inner: number;
}

/** Storage strides in bytes of an operand seen as [rows, columns]. */
interface Strides {
  readonly row: number;
  readonly column: number;
}

/** Everything about one product that is known when its kernel is generated. */
interface Gemm {
  readonly dims: MatmulDims;
  readonly schedule: GemmSchedule;
  readonly scalar: LoopType;
  readonly vector: LoopType;
  readonly bytes: number;
  /** A as [m, k] and B as [k, n]. */
  readonly a: Strides;
  readonly b: Strides;
}

/**
 * Sixteen accumulators fit where the engine joins two vectors in one register; otherwise eight do, next to the vectors
 * of B and one of A.
 */
export function chooseGemmSchedule({ m, n, k, batch }: MatmulDims, lanes: number, joinsVectors: boolean): GemmSchedule {
  const vectors = joinsVectors ? 4 : 2;
  const rows = 4;
  const width = vectors * lanes;
  const chunkColumns = Math.min(Math.ceil(n / width) * width, 128);
  const columnChunks = Math.ceil(n / chunkColumns) * batch;
  // At least eight chunks where the size allows it, so that two to four threads share the work evenly; but a chunk of
  // few rows spends its time on packing B.
  const wanted = Math.max(1, Math.ceil(8 / columnChunks));
  const chunkRows = Math.max(rows * 8, Math.min(256, Math.ceil(m / wanted / rows) * rows));
  return { rows, vectors, chunkRows, chunkColumns, inner: Math.min(k, 256) };
}

/** Lowers `matmul`. A single row goes through dot products or scaled sums of rows instead. */
export function lowerMatmul(context: LowerContext, attrs: MatmulAttrs): void {
  const [a, b] = context.node.inputs;
  const dims = matmulDims(a!.type, b!.type, attrs);
  if (dims.m === 1) {
    lowerRowProduct(context, dims, attrs.transposeB);
    return;
  }
  const bytes = a!.dtype === "f64" ? 8 : 4;
  const lanes = (context.lanes * 4) / bytes;
  const schedule = chooseGemmSchedule(dims, lanes, context.joinsVectors);
  const gemm: Gemm = {
    dims,
    schedule,
    bytes,
    scalar: elementLoopType(a!.dtype, 1),
    vector: elementLoopType(a!.dtype, lanes),
    a: attrs.transposeA ? { row: bytes, column: dims.m * bytes } : { row: dims.k * bytes, column: bytes },
    b: attrs.transposeB ? { row: bytes, column: dims.k * bytes } : { row: dims.n * bytes, column: bytes },
  };
  const rowChunks = Math.ceil(dims.m / schedule.chunkRows);
  const columnChunks = Math.ceil(dims.n / schedule.chunkColumns);
  const work = 2 * dims.batch * dims.m * dims.n * dims.k;
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("matmul", dims.batch * rowChunks * columnChunks, work, buffers, (k, [aBase, bBase, cBase]) => {
    const columnChunk = k.rem(k.chunk, k.index(columnChunks));
    const rest = k.div(k.chunk, k.index(columnChunks));
    const rowChunk = k.rem(rest, k.index(rowChunks));
    const batch = k.div(rest, k.index(rowChunks));
    const firstRow = k.mul(rowChunk, k.index(schedule.chunkRows));
    const firstColumn = k.mul(columnChunk, k.index(schedule.chunkColumns));
    gemmChunk(k, gemm, {
      a: k.offset(k.offset(aBase!, batch, dims.m * dims.k * bytes), firstRow, gemm.a.row),
      b: k.offset(k.offset(bBase!, batch, dims.k * dims.n * bytes), firstColumn, gemm.b.column),
      c: k.offset(
        k.offset(k.offset(cBase!, batch, dims.m * dims.n * bytes), firstRow, dims.n * bytes),
        firstColumn,
        bytes,
      ),
      rows: k.min(k.index(schedule.chunkRows), k.sub(k.index(dims.m), firstRow)),
      columns: k.min(k.index(schedule.chunkColumns), k.sub(k.index(dims.n), firstColumn)),
    });
  });
}

/** Where a chunk's operands start, and its size. */
interface Chunk {
  readonly a: LoopValue;
  readonly b: LoopValue;
  readonly c: LoopValue;
  readonly rows: LoopValue;
  readonly columns: LoopValue;
}

function gemmChunk(k: KernelBuilder, gemm: Gemm, chunk: Chunk): void {
  const { schedule, dims, bytes, vector } = gemm;
  const width = schedule.vectors * vector.lanes;
  const packed = k.allocateScratch(schedule.inner * schedule.chunkColumns * bytes);
  const block = (start: number | LoopValue, depth: number, first: boolean): void => {
    const b = k.offset(chunk.b, start, gemm.b.row);
    const a = k.offset(chunk.a, start, gemm.a.column);
    packPanels(k, gemm, b, packed, chunk.columns, depth);
    k.loop(0, chunk.columns, width, (column) => {
      const panel = k.offset(packed, column, depth * bytes);
      const c = k.offset(chunk.c, column, bytes);
      const left = k.sub(chunk.columns, column);
      multiplyPanel(k, gemm, { a, panel, c, rows: chunk.rows, left, depth, first });
    });
  };
  const whole = Math.floor(dims.k / schedule.inner);
  block(0, schedule.inner, true);
  if (whole > 1)
    k.loop(schedule.inner, whole * schedule.inner, schedule.inner, (start) => block(start, schedule.inner, false));
  const rest = dims.k - whole * schedule.inner;
  if (rest > 0) block(whole * schedule.inner, rest, false);
}

/** Copies B[depth, columns] into panels [columns / width][depth][width], the last one padded with zeros. */
function packPanels(
  k: KernelBuilder,
  gemm: Gemm,
  b: LoopValue,
  packed: LoopValue,
  columns: LoopValue,
  depth: number,
): void {
  const { vector, bytes, schedule } = gemm;
  const width = schedule.vectors * vector.lanes;
  k.loop(0, columns, width, (column) => {
    const panel = k.offset(packed, column, depth * bytes);
    const from = k.offset(b, column, gemm.b.column);
    const full = k.compare("le", k.add(column, k.index(width)), columns);
    k.if(
      full,
      () => {
        if (gemm.b.column === bytes) packRows(k, gemm, from, panel, depth);
        else packTransposed(k, gemm, from, panel, depth);
        return [];
      },
      () => {
        packPartial(k, gemm, from, panel, k.sub(columns, column), depth);
        return [];
      },
    );
  });
}

/** A full panel of a B whose rows are contiguous: vector copies. */
function packRows(k: KernelBuilder, gemm: Gemm, from: LoopValue, panel: LoopValue, depth: number): void {
  const { vector, bytes, schedule } = gemm;
  const vectorBytes = vector.lanes * bytes;
  const panelBytes = schedule.vectors * vectorBytes;
  k.loop(0, depth, 1, (l) => {
    const source = k.offset(from, l, gemm.b.row);
    const target = k.offset(panel, l, panelBytes);
    for (let v = 0; v < schedule.vectors; v++) {
      k.store(k.load(vector, source, v * vectorBytes), target, v * vectorBytes);
    }
  });
}

/** A full panel of a B whose columns are contiguous: squares of lanes x lanes are transposed in registers. */
function packTransposed(k: KernelBuilder, gemm: Gemm, from: LoopValue, panel: LoopValue, depth: number): void {
  const { vector, scalar, bytes, schedule } = gemm;
  const { lanes } = vector;
  const vectorBytes = lanes * bytes;
  const panelBytes = schedule.vectors * vectorBytes;
  const whole = Math.floor(depth / lanes) * lanes;
  k.loop(0, whole, lanes, (l) => {
    const source = k.offset(from, l, bytes);
    const target = k.offset(panel, l, panelBytes);
    for (let v = 0; v < schedule.vectors; v++) {
      const columns = Array.from({ length: lanes }, (_, i) => k.load(vector, source, (v * lanes + i) * gemm.b.column));
      const rows = transposeSquare(k, columns);
      rows.forEach((row, i) => k.store(row, target, i * panelBytes + v * vectorBytes));
    }
  });
  for (let l = whole; l < depth; l++) {
    for (let j = 0; j < schedule.vectors * lanes; j++) {
      k.store(k.load(scalar, from, j * gemm.b.column + l * bytes), panel, l * panelBytes + j * bytes);
    }
  }
}

/** A panel with fewer columns than its width: element by element, zeros behind. */
function packPartial(
  k: KernelBuilder,
  gemm: Gemm,
  from: LoopValue,
  panel: LoopValue,
  columns: LoopValue,
  depth: number,
): void {
  const { vector, scalar, bytes, schedule } = gemm;
  const panelBytes = schedule.vectors * vector.lanes * bytes;
  const zero = k.constant(vector, 0);
  k.loop(0, depth, 1, (l) => {
    const source = k.offset(from, l, gemm.b.row);
    const target = k.offset(panel, l, panelBytes);
    for (let v = 0; v < schedule.vectors; v++) k.store(zero, target, v * vector.lanes * bytes);
    k.loop(0, columns, 1, (j) => {
      k.store(k.load(scalar, k.offset(source, j, gemm.b.column)), k.offset(target, j, bytes));
    });
  });
}

interface PanelProduct {
  readonly a: LoopValue;
  readonly panel: LoopValue;
  readonly c: LoopValue;
  readonly rows: LoopValue;
  /** Columns of the result from here to the chunk's end. */
  readonly left: LoopValue;
  readonly depth: number;
  /** Whether this is the first block of the inner dimension, which sets the result instead of adding to it. */
  readonly first: boolean;
}

/** All rows of a chunk times one packed panel. */
function multiplyPanel(k: KernelBuilder, gemm: Gemm, product: PanelProduct): void {
  const { schedule, dims, bytes } = gemm;
  const rowsAt = (row: LoopValue | number, count: number): void => {
    const a = k.offset(product.a, row, gemm.a.row);
    const c = k.offset(product.c, row, dims.n * bytes);
    registerBlock(k, gemm, { ...product, a, c }, count);
  };
  const whole = k.sub(product.rows, k.rem(product.rows, k.index(schedule.rows)));
  k.loop(0, whole, schedule.rows, (row) => rowsAt(row, schedule.rows));
  // Every chunk but the last of a column has a multiple of the register block's rows.
  if (dims.m % schedule.rows !== 0) k.loop(whole, product.rows, 1, (row) => rowsAt(row, 1));
}

/** `count` rows of the result times the panel's vectors, all in registers while the inner dimension runs. */
function registerBlock(k: KernelBuilder, gemm: Gemm, product: PanelProduct, count: number): void {
  const { schedule, vector, bytes } = gemm;
  const vectorBytes = vector.lanes * bytes;
  const panelBytes = schedule.vectors * vectorBytes;
  const zeros = Array.from({ length: count * schedule.vectors }, () => k.constant(vector, 0));
  const step = (a: LoopValue, panel: LoopValue, sums: readonly LoopValue[], unroll: number): LoopValue[] => {
    const next = [...sums];
    for (let u = 0; u < unroll; u++) {
      const b = Array.from({ length: schedule.vectors }, (_, v) =>
        k.load(vector, panel, u * panelBytes + v * vectorBytes),
      );
      for (let r = 0; r < count; r++) {
        const left = k.loadSplat(vector, a, r * gemm.a.row + u * gemm.a.column);
        for (let v = 0; v < schedule.vectors; v++) {
          const at = r * schedule.vectors + v;
          next[at] = k.fma(left, b[v]!, next[at]!);
        }
      }
    }
    return next;
  };
  const unroll = 2;
  const whole = Math.floor(product.depth / unroll) * unroll;
  const inits = [product.a, product.panel, ...zeros];
  const [a, panel, ...sums] = k.for(0, whole, unroll, inits, (_l, [aAt, panelAt, ...partial]) => [
    k.offset(aAt!, unroll, gemm.a.column),
    k.offset(panelAt!, unroll, panelBytes),
    ...step(aAt!, panelAt!, partial, unroll),
  ]);
  const totals = whole < product.depth ? step(a!, panel!, sums, 1) : sums;
  storeBlock(k, gemm, product, totals, count);
}

/** Writes or adds a register block to the result; a block that sticks out goes through scratch. */
function storeBlock(
  k: KernelBuilder,
  gemm: Gemm,
  product: PanelProduct,
  sums: readonly LoopValue[],
  count: number,
): void {
  const { schedule, vector, scalar, bytes, dims } = gemm;
  const vectorBytes = vector.lanes * bytes;
  const rowBytes = dims.n * bytes;
  const writeFull = (): readonly LoopValue[] => {
    const offsets = sums.map(
      (_, i) => Math.floor(i / schedule.vectors) * rowBytes + (i % schedule.vectors) * vectorBytes,
    );
    // All loads come before all stores, or engines cannot join neighbouring vectors into wider ones.
    const totals = product.first ? sums : sums.map((sum, i) => k.add(k.load(vector, product.c, offsets[i]), sum));
    totals.forEach((total, i) => k.store(total, product.c, offsets[i]));
    return [];
  };
  const width = schedule.vectors * vector.lanes;
  if (dims.n % width === 0) {
    writeFull();
    return;
  }
  k.if(k.compare("ge", product.left, k.index(width)), writeFull, () => {
    const spill = k.allocateScratch(count * width * bytes);
    sums.forEach((sum, i) => k.store(sum, spill, i * vectorBytes));
    for (let r = 0; r < count; r++) {
      k.loop(0, product.left, 1, (j) => {
        const sum = k.load(scalar, k.offset(spill, j, bytes), r * width * bytes);
        const to = k.offset(product.c, j, bytes);
        k.store(product.first ? sum : k.add(k.load(scalar, to, r * rowBytes), sum), to, r * rowBytes);
      });
    }
    return [];
  });
}
