// The matrix product as loops, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
// B is packed into panels of a few vectors of columns, so narrow that a block of the inner dimension stays in the first
// cache: once for all, by a call before, when several chunks share it, or else by each chunk in scratch. A chunk is a
// block of the result; it runs a register-blocked product over the panels, and reads A in place, one broadcast element
// at a time, or packs its rows too when there are columns enough to pay for it, or they are not float32: bf16 and f16
// become that as they are packed. What is packed or read next is asked for meanwhile (gemm_ahead.ts). Each element of
// the result is summed in one order by one chunk, so results do not depend on the number of threads.

import type { BufferHandle, LowerContext } from "../../op.ts";
import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { loopType } from "../../loop/ir.ts";
import type { Dtype, HalfDtype } from "../../dtype.ts";
import { isHalf } from "../../dtype.ts";
import { cellBytes, loadElement } from "../cells.ts";
import { elementLoopType } from "../loop-types.ts";
import type { MatmulAttrs, MatmulDims } from "../matmul.ts";
import { matmulDims } from "../matmul.ts";
import { lowerByteProduct } from "./byte_product.ts";
import type { Ask } from "./gemm_ahead.ts";
import { askColumns, askPacked, askRows, askRun } from "./gemm_ahead.ts";
import type { PanelCells, PanelStrides } from "./gemm_pack.ts";
import { PANEL_SLACK_BYTES, packPanel } from "./gemm_pack.ts";
import type { GemmSchedule } from "./gemm_schedule.ts";
import { gemmSchedules, innerSteps, roundTo } from "./gemm_schedule.ts";
import { laneWidths } from "./lanes.ts";
import { multiplyBlock } from "./register_block.ts";
import { isRowProduct, lowerRowProduct } from "./row_product.ts";

/** An operand of one example: elements of A's panels are rows, those of B's are columns. */
interface Operand extends PanelStrides {
  readonly sizeBytes: number;
}

/** Everything about one product that is known when its kernels are generated. */
interface Gemm {
  readonly dims: MatmulDims;
  readonly schedule: GemmSchedule;
  /** Steps of the inner dimension that are summed by themselves before they are added to the result. */
  readonly inner: number;
  readonly vector: LoopType;
  readonly bytes: number;
  readonly a: Operand;
  readonly b: Operand;
  /** Whether B, packed before all chunks, exceeds the second cache. */
  readonly isFar: boolean;
}

/** Steps that a transposed A is asked for ahead: no processor follows its strides by itself. */
const TRANSPOSED_AHEAD = 64;

/** Lowers `matmul`. A few rows go through dot products or scaled sums of rows instead. */
export function lowerMatmul(context: LowerContext, attrs: MatmulAttrs): void {
  const [a, b] = context.node.inputs;
  const dims = matmulDims(a!.type, b!.type, attrs);
  if (a!.dtype === "i8") {
    lowerByteProduct(context, dims, attrs);
    return;
  }
  if (isRowProduct(dims, attrs)) {
    lowerRowProduct(context, dims, attrs);
    return;
  }
  const bytes = a!.dtype === "f64" ? 8 : 4;
  const lanes = (context.lanes * 4) / bytes;
  const gemm: Gemm = {
    dims,
    schedule: context.choose(gemmSchedules(dims, lanes, context, attrs.transposeA, isHalf(a!.dtype))),
    inner: innerSteps(dims, context, attrs.transposeA),
    bytes,
    vector: elementLoopType(a!.dtype, lanes),
    a: operandOf(a!.dtype, dims.k, dims.m, !attrs.transposeA),
    b: operandOf(b!.dtype, dims.k, dims.n, attrs.transposeB),
    isFar: dims.k * dims.n * bytes > context.cacheBytes.l2,
  };
  lowerGemm(context, gemm);
}

/** `count` rows or columns of an operand over `depth` steps, which are next to each other where it `runsDeep`. */
function operandOf(dtype: Dtype, depth: number, count: number, runsDeep: boolean): Operand {
  const bytes = cellBytes(dtype);
  const strides = runsDeep ? { element: depth * bytes, depth: bytes } : { element: bytes, depth: count * bytes };
  return { ...strides, ...(isHalf(dtype) && { cells: halfCells(dtype) }), sizeBytes: depth * count * bytes };
}

function halfCells(dtype: HalfDtype): PanelCells {
  return { bytes: 2, load: (k, type, address, offset) => loadElement(k, dtype, type.lanes, address, offset) };
}

function lowerGemm(context: LowerContext, gemm: Gemm): void {
  const { dims, schedule, bytes } = gemm;
  const rowChunks = Math.ceil(dims.m / schedule.chunkRows);
  const columnChunks = Math.ceil(dims.n / schedule.chunkColumns);
  const work = 2 * dims.batch * dims.m * dims.n * dims.k;
  const b = schedule.shareB ? packShared(context, gemm) : context.input(1);
  const buffers = [context.input(0), b, context.result(0)];
  context.call("matmul", dims.batch * rowChunks * columnChunks, work, buffers, (k, [aBase, bBase, cBase]) => {
    const columnChunk = k.rem(k.chunk, k.index(columnChunks));
    const rest = k.div(k.chunk, k.index(columnChunks));
    const rowChunk = k.rem(rest, k.index(rowChunks));
    const batch = k.div(rest, k.index(rowChunks));
    const row = k.mul(rowChunk, k.index(schedule.chunkRows));
    const column = k.mul(columnChunk, k.index(schedule.chunkColumns));
    const c = k.offset(k.offset(cBase!, batch, dims.m * dims.n * bytes), row, dims.n * bytes);
    gemmChunk(k, gemm, {
      a: k.offset(k.offset(aBase!, batch, gemm.a.sizeBytes), row, gemm.a.element),
      b: k.offset(bBase!, batch, gemm.b.sizeBytes),
      c: k.offset(c, column, bytes),
      column,
      rows: k.min(k.index(schedule.chunkRows), k.sub(k.index(dims.m), row)),
      columns: k.min(k.index(schedule.chunkColumns), k.sub(k.index(dims.n), column)),
    });
  });
}

/** Columns of a whole panel, and columns and room of the last one when it is narrower. */
function panelsOf({ dims, schedule, vector }: Gemm): {
  readonly width: number;
  readonly restColumns: number;
  readonly restVectors: number;
} {
  const width = schedule.vectors * vector.lanes;
  const restColumns = dims.n % width;
  return { width, restColumns, restVectors: Math.ceil(restColumns / vector.lanes) };
}

/** Packs all of B: blocks of the inner dimension, each panel after panel. */
function packShared(context: LowerContext, gemm: Gemm): BufferHandle {
  const { dims, schedule, vector, bytes } = gemm;
  const { width } = panelsOf(gemm);
  const paddedColumns = roundTo(dims.n, vector.lanes);
  const sizeBytes = paddedColumns * dims.k * bytes + PANEL_SLACK_BYTES;
  const blocks = Math.ceil(dims.k / gemm.inner);
  const chunkColumns = Math.min(schedule.chunkColumns, 4 * width);
  const columnChunks = Math.ceil(dims.n / chunkColumns);
  return context.prepare("matmul_pack", 1, sizeBytes, blocks * columnChunks, dims.k * dims.n, (k, [b, to]) => {
    const block = k.div(k.chunk, k.index(columnChunks));
    const start = k.mul(block, k.index(gemm.inner));
    const first = k.mul(k.rem(k.chunk, k.index(columnChunks)), k.index(chunkColumns));
    const columns = k.min(k.index(chunkColumns), k.sub(k.index(dims.n), first));
    const target = k.offset(to!, start, paddedColumns * bytes);
    const pack = (depth: number) => (): readonly LoopValue[] => {
      packColumns(k, gemm, { b: b!, start, first }, k.offset(target, first, depth * bytes), columns, depth);
      return [];
    };
    const rest = dims.k % gemm.inner;
    if (rest === 0) pack(gemm.inner)();
    else if (blocks === 1) pack(rest)();
    else k.if(k.compare("eq", block, k.index(blocks - 1)), pack(rest), pack(gemm.inner));
  });
}

/** B from its beginning, or the beginning of an example; the first step and the first column to take of it. */
interface ColumnsOfB {
  readonly b: LoopValue;
  readonly start: LoopValue;
  readonly first: LoopValue;
}

/**
 * Packs some columns of B into panels [columns / width][depth][width]; a narrower last one has room for whole vectors.
 */
function packColumns(
  k: KernelBuilder,
  gemm: Gemm,
  { b, start, first }: ColumnsOfB,
  to: LoopValue,
  columns: LoopValue,
  depth: number,
): void {
  const { vector, bytes } = gemm;
  const { width, restColumns, restVectors } = panelsOf(gemm);
  const from = k.offset(k.offset(b, start, gemm.b.depth), first, gemm.b.element);
  const pack = (column: LoopValue, count: number, room: number): void => {
    const at = { from: k.offset(from, column, gemm.b.element), to: k.offset(to, column, depth * bytes) };
    packPanel(k, { ...at, strides: gemm.b, count, width: room, depth }, vector);
  };
  const whole = k.sub(columns, k.rem(columns, k.index(width)));
  k.loop(0, whole, width, (column) => pack(column, width, width));
  if (restColumns > 0) k.loop(whole, columns, width, (column) => pack(column, restColumns, restVectors * vector.lanes));
}

/** Where a chunk's operands start, and its size. */
interface Chunk {
  /** The first row of A; B, packed or not, from its beginning; the first element of the result. */
  readonly a: LoopValue;
  readonly b: LoopValue;
  readonly c: LoopValue;
  readonly column: LoopValue;
  readonly rows: LoopValue;
  readonly columns: LoopValue;
}

/** Whether a block of the inner dimension is the first, which sets the result instead of adding to it. */
type First = boolean | LoopValue;

function gemmChunk(k: KernelBuilder, gemm: Gemm, chunk: Chunk): void {
  const { schedule, dims, bytes, vector, inner } = gemm;
  const own = schedule.shareB
    ? undefined
    : k.allocateScratch(inner * schedule.chunkColumns * bytes + PANEL_SLACK_BYTES);
  const rows = schedule.packA ? k.allocateScratch(inner * schedule.chunkRows * bytes + PANEL_SLACK_BYTES) : undefined;
  const block = (start: LoopValue, depth: number, first: First): void => {
    let panels: LoopValue;
    let next: LoopValue | undefined;
    if (own === undefined) {
      const paddedColumns = roundTo(dims.n, vector.lanes);
      panels = k.offset(k.offset(chunk.b, start, paddedColumns * bytes), chunk.column, depth * bytes);
    } else {
      packColumns(k, gemm, { b: chunk.b, start, first: chunk.column }, own, chunk.columns, depth);
      panels = own;
      next = nextColumns(k, gemm, chunk, start);
    }
    const a = k.offset(chunk.a, start, gemm.a.depth);
    if (rows !== undefined) packRows(k, gemm, a, rows, chunk.rows, depth);
    multiplyPanels(k, gemm, { a: rows ?? a, panels, next, chunk, depth, first });
  };
  const whole = Math.floor(dims.k / inner);
  if (whole === 1) block(k.index(0), inner, true);
  else k.loop(0, whole * inner, inner, (start) => block(start, inner, k.compare("eq", start, k.index(0))));
  const rest = dims.k - whole * inner;
  if (rest > 0) block(k.index(whole * inner), rest, false);
}

/** What is packed after the block from `start` on: more steps of the same columns, or the columns of the next chunk. */
function nextColumns(k: KernelBuilder, { dims, b, inner, schedule }: Gemm, chunk: Chunk, start: LoopValue): LoopValue {
  const step = k.add(start, k.index(inner));
  const ends = k.compare("ge", step, k.index(dims.k));
  const further = k.add(chunk.column, k.index(schedule.chunkColumns));
  const same = k.offset(k.offset(chunk.b, step, b.depth), chunk.column, b.element);
  return k.select(ends, k.offset(chunk.b, further, b.element), same);
}

/** Packs the rows of a chunk into panels [rows / R][depth][R]; a lower last one has no more rows than there are. */
function packRows(k: KernelBuilder, gemm: Gemm, from: LoopValue, to: LoopValue, rows: LoopValue, depth: number): void {
  const { schedule, dims, bytes, vector } = gemm;
  const pack = (row: LoopValue, count: number): void => {
    const at = { from: k.offset(from, row, gemm.a.element), to: k.offset(to, row, depth * bytes) };
    packPanel(k, { ...at, strides: gemm.a, count, width: count, depth }, vector);
  };
  const whole = k.sub(rows, k.rem(rows, k.index(schedule.rows)));
  k.loop(0, whole, schedule.rows, (row) => pack(row, schedule.rows));
  const rest = dims.m % schedule.rows;
  if (rest > 0) k.loop(whole, rows, schedule.rows, (row) => pack(row, rest));
}

interface PanelsProduct {
  readonly a: LoopValue;
  readonly panels: LoopValue;
  /** The first of the columns of B that are packed next, where they are not yet. */
  readonly next: LoopValue | undefined;
  readonly chunk: Chunk;
  readonly depth: number;
  readonly first: First;
}

/** All rows of a chunk times all its panels, for one block of the inner dimension. */
function multiplyPanels(k: KernelBuilder, gemm: Gemm, product: PanelsProduct): void {
  const { chunk, panels, next, depth } = product;
  const { schedule, dims, bytes } = gemm;
  const { width, restColumns, restVectors } = panelsOf(gemm);
  const panelBytes = width * depth * bytes;
  const restRows = dims.m % schedule.rows;
  const wholeRows = k.sub(chunk.rows, k.rem(chunk.rows, k.index(schedule.rows)));
  const multiply = (column: LoopValue, vectors: number, columns: number): void => {
    const panel = k.offset(panels, column, depth * bytes);
    const at = (row: LoopValue, rows: number): void => {
      const a = k.offset(product.a, row, schedule.packA ? depth * bytes : gemm.a.element);
      const c = k.offset(k.offset(chunk.c, column, bytes), row, dims.n * bytes);
      const block = {
        number: k.div(row, k.index(schedule.rows)),
        count: Math.ceil(schedule.chunkRows / schedule.rows),
        depth,
      };
      const askRight =
        next !== undefined
          ? askColumns(k, k.offset(next, column, gemm.b.element), gemm.b, width, block)
          : gemm.isFar
            ? askPacked(k, k.add(panel, k.index(panelBytes)), panelBytes, block)
            : undefined;
      const askLeft = schedule.packA ? undefined : askRows(k, k.offset(a, k.index(rows), gemm.a.element), gemm.a, rows);
      const ask = (turn: LoopValue): void => {
        askRight?.(turn);
        askLeft?.(turn);
      };
      registerBlock(k, gemm, { a, panel, c, rows, vectors, columns, depth, first: product.first, ask });
    };
    k.loop(0, wholeRows, schedule.rows, (row) => at(row, schedule.rows));
    if (restRows > 0) k.loop(wholeRows, chunk.rows, schedule.rows, (row) => at(row, restRows));
  };
  const wholeColumns = k.sub(chunk.columns, k.rem(chunk.columns, k.index(width)));
  k.loop(0, wholeColumns, width, (column) => multiply(column, schedule.vectors, width));
  if (restColumns > 0)
    k.loop(wholeColumns, chunk.columns, width, (column) => multiply(column, restVectors, restColumns));
}

/** `rows` rows of A times a panel of `vectors` vectors, of which `columns` columns are stored. */
interface BlockProduct {
  readonly a: LoopValue;
  readonly panel: LoopValue;
  readonly c: LoopValue;
  readonly rows: number;
  readonly vectors: number;
  readonly columns: number;
  readonly depth: number;
  readonly first: First;
  readonly ask: Ask;
}

/** A block of the result, in registers while the inner dimension runs. */
function registerBlock(k: KernelBuilder, gemm: Gemm, product: BlockProduct): void {
  const { schedule, vector, bytes, dims } = gemm;
  const { rows, vectors, depth } = product;
  const a = schedule.packA ? { element: bytes, depth: rows * bytes } : gemm.a;
  const operands = {
    left: product.a,
    leftRowBytes: a.element,
    leftStepBytes: a.depth,
    ...(a.element === bytes && !schedule.packA && { leftAhead: TRANSPOSED_AHEAD }),
    right: product.panel,
    eachTurn: product.ask,
    rightStepBytes: vectors * vector.lanes * bytes,
  };
  for (let row = 0; row < rows; row++)
    askRun(k, k.add(product.c, k.index(row * dims.n * bytes)), product.columns * bytes);
  const zeros = Array.from({ length: rows * vectors }, () => k.constant(vector, 0));
  const columns = { type: vector, count: vectors };
  storeBlock(k, gemm, product, multiplyBlock(k, operands, rows, columns, depth, zeros));
}

function storeBlock(k: KernelBuilder, gemm: Gemm, product: BlockProduct, sums: readonly LoopValue[]): void {
  const { first } = product;
  const write = (sets: boolean) => (): readonly LoopValue[] => {
    if (product.columns === product.vectors * gemm.vector.lanes) writeWhole(k, gemm, product, sums, sets);
    else writePart(k, gemm, product, sums, sets);
    return [];
  };
  if (typeof first === "boolean") write(first)();
  else k.if(first, write(true), write(false));
}

/** Sets, or adds to, a block of the result that is as wide as the panel. */
function writeWhole(
  k: KernelBuilder,
  { vector, bytes, dims }: Gemm,
  { vectors, c }: BlockProduct,
  sums: readonly LoopValue[],
  sets: boolean,
): void {
  const offsetOf = (i: number): number =>
    Math.floor(i / vectors) * dims.n * bytes + (i % vectors) * vector.lanes * bytes;
  // All loads come before all stores, or engines cannot join neighbouring vectors into wider ones.
  const totals = sets ? sums : sums.map((sum, i) => k.add(k.load(vector, c, offsetOf(i)), sum));
  totals.forEach((total, i) => k.store(total, c, offsetOf(i)));
}

/** A block that is narrower than the panel goes through scratch, in narrower vectors. */
function writePart(
  k: KernelBuilder,
  { vector, bytes, dims }: Gemm,
  { vectors, rows, columns, c }: BlockProduct,
  sums: readonly LoopValue[],
  sets: boolean,
): void {
  const spill = k.allocateScratch(vectors * vector.lanes * bytes);
  for (let r = 0; r < rows; r++) {
    for (let v = 0; v < vectors; v++) k.store(sums[r * vectors + v]!, spill, v * vector.lanes * bytes);
    let done = 0;
    for (const lanes of laneWidths(vector.lanes)) {
      const type = loopType(vector.kind, lanes);
      for (; columns - done >= lanes; done += lanes) {
        const sum = k.load(type, spill, done * bytes);
        const offset = (r * dims.n + done) * bytes;
        k.store(sets ? sum : k.add(k.load(type, c, offset), sum), c, offset);
      }
    }
  }
}
