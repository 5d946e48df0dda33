// The product of matrices of signed bytes, exact in i32. The loops are those of a dense product (gemm.ts), over words
// in the place of numbers: a word is four bytes of the inner dimension where the target multiplies signed bytes with
// unsigned ones in one instruction, and else two of them widened to i16. The former needs bytes of A that are not
// negative: they are packed with 128 added, and sums of B's columns take that back, since (a + 128) b = a b + 128 b.
// Both operands are packed once, into panels [panel][step][element] of words; a few rows times a transposed B, as in
// decoding, are dot products in place. Left out: matrix registers, and blocks of the inner dimension.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { I32, loopType } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { MatmulAttrs, MatmulDims } from "../matmul.ts";
import { lowerByteRows } from "./byte_rows.ts";
import type { PanelCells } from "./gemm_pack.ts";
import { PANEL_SLACK_BYTES, packPanel } from "./gemm_pack.ts";
import { laneWidths } from "./lanes.ts";
import { multiplyBlock, registerBlocks } from "./register_block.ts";
import { isRowProduct } from "./row_product.ts";

/** Rows and columns of a chunk, about. */
const CHUNK_ROWS = 64;
const CHUNK_COLUMNS = 256;
/** Added to every byte of a word. */
const BIAS_WORD = 0x80808080 | 0;
const ONES_WORD = 0x01010101;

/** Everything about one product that is known when its kernels are generated. */
interface ByteProduct {
  readonly dims: MatmulDims;
  /** Vectors of sums, and of words. */
  readonly vector: LoopType;
  /** Rows and columns of a register block. */
  readonly rows: number;
  readonly vectors: number;
  readonly width: number;
  /** Bytes of a word: 4, or 2 that are widened; and words of the inner dimension. */
  readonly wordBytes: 2 | 4;
  readonly steps: number;
}

/** Lowers the product of two matrices of i8. */
export function lowerByteProduct(context: LowerContext, dims: MatmulDims, attrs: MatmulAttrs): void {
  if (attrs.transposeB && isRowProduct(dims, attrs)) {
    lowerByteRows(context, dims);
    return;
  }
  const { rows, vectors } = registerBlocks(context.lanes, context)[0]!;
  const wordBytes = context.dot4Unsigned ? 4 : 2;
  const product: ByteProduct = {
    dims,
    vector: loopType("i32", context.lanes),
    rows,
    vectors,
    width: vectors * context.lanes,
    wordBytes,
    steps: Math.ceil(dims.k / wordBytes),
  };
  const bias = wordBytes === 4 ? BIAS_WORD : 0;
  const a = packWords(context, product, { input: 0, count: dims.m, width: rows, runsDeep: !attrs.transposeA, bias });
  const b = packWords(context, product, {
    input: 1,
    count: dims.n,
    width: product.width,
    runsDeep: attrs.transposeB,
    bias: 0,
  });
  const sums = wordBytes === 4 ? columnSums(context, product, b) : undefined;
  multiplyPanels(context, product, { a, b, sums });
}

/** An operand of [batch, count, k], or [batch, k, count] where it does not run deep. */
interface WordOperand {
  readonly input: number;
  readonly count: number;
  /** Elements of a panel. */
  readonly width: number;
  readonly runsDeep: boolean;
  /** Flipped in every word: the sign bits of its bytes, which adds 128 to them, or nothing. */
  readonly bias: number;
}

function panelBytes({ steps }: ByteProduct, width: number): number {
  return Math.ceil((steps * width * 4 + PANEL_SLACK_BYTES) / 64) * 64;
}

/** Packs an operand, a chunk for each panel. */
function packWords(context: LowerContext, product: ByteProduct, operand: WordOperand): BufferHandle {
  const { dims, wordBytes } = product;
  const { input, count, width, runsDeep } = operand;
  const panels = Math.ceil(count / width);
  const stride = panelBytes(product, width);
  const packed = context.temporary(dims.batch * panels * stride);
  const buffers = [context.input(input), packed];
  context.call("matmul_pack", dims.batch * panels, dims.batch * count * dims.k, buffers, (k, [from, to]) => {
    const panel = k.rem(k.chunk, k.index(panels));
    const example = k.offset(from!, k.div(k.chunk, k.index(panels)), count * dims.k);
    const source = k.offset(example, panel, runsDeep ? width * dims.k : width);
    const target = k.offset(to!, k.chunk, stride);
    const whole = Math.floor(dims.k / wordBytes);
    const pack = (elements: number) => (): readonly LoopValue[] => {
      if (runsDeep) packDeep(k, product, operand, { source, target, elements, whole });
      else packAcross(k, product, operand, { source, target, elements, whole });
      return [];
    };
    const rest = count % width;
    if (rest === 0) pack(width)();
    else if (panels === 1) pack(rest)();
    else k.if(k.compare("eq", panel, k.index(panels - 1)), pack(rest), pack(width));
  });
  return packed;
}

/** A panel under construction: where from and where to, its elements, and its words that are whole. */
interface WordPanel {
  readonly source: LoopValue;
  readonly target: LoopValue;
  readonly elements: number;
  readonly whole: number;
}

/** Bytes of a word are neighbours. */
function packDeep(k: KernelBuilder, product: ByteProduct, operand: WordOperand, panel: WordPanel): void {
  const { dims, vector, wordBytes } = product;
  const { source: from, target: to, elements: count, whole: depth } = panel;
  const strides = { element: dims.k, depth: wordBytes, cells: wordBytes === 4 ? biasedWords(operand.bias) : PAIRS };
  if (depth > 0) packPanel(k, { from, to, strides, count, width: operand.width, depth }, vector);
  const rest = dims.k % wordBytes;
  if (rest === 0) return;
  for (let i = 0; i < count; i++) {
    const bytes = Array.from({ length: rest }, (_, j) => {
      return k.load(I32, from, i * dims.k + depth * wordBytes + j, wordBytes === 4 ? "u8" : "i8");
    });
    k.store(joinBytes(k, bytes, product, operand.bias), to, (depth * operand.width + i) * 4);
  }
}

function biasedWords(bias: number): PanelCells {
  return {
    bytes: 4,
    load(k, type, address, offset) {
      const words = k.load(type, address, offset);
      return bias === 0 ? words : k.binary("xor", words, k.constant(type, bias));
    },
  };
}

/** Two signed bytes as two i16. */
const PAIRS: PanelCells = {
  bytes: 2,
  load(k, type, address, offset) {
    if (type.lanes > 1) {
      return k.bitcast(type, k.load(loopType("i16", 2 * type.lanes), address, offset, "i8"));
    }
    const [low, high] = [k.load(I32, address, offset, "i8"), k.load(I32, address, offset + 1, "i8")];
    return k.binary("or", k.binary("and", low, k.i32(0xffff)), k.shift("shl", high, 16));
  },
};

/** Words of bytes that are rows of the operand, as many at once as there are lanes. */
function packAcross(k: KernelBuilder, product: ByteProduct, operand: WordOperand, panel: WordPanel): void {
  const { dims, vector, wordBytes } = product;
  const { source, target, elements, whole } = panel;
  const step = (l: LoopValue, rows: number): void => {
    const [from, to] = [k.offset(source, l, wordBytes * operand.count), k.offset(target, l, operand.width * 4)];
    let done = 0;
    for (const lanes of laneWidths(vector.lanes)) {
      const type = loopType("i32", lanes);
      for (; elements - done >= lanes; done += lanes) {
        const bytes = Array.from({ length: rows }, (_, j) => {
          return k.load(type, from, j * operand.count + done, wordBytes === 4 ? "u8" : "i8");
        });
        k.store(joinBytes(k, bytes, product, operand.bias), to, done * 4);
      }
    }
  };
  k.loop(0, whole, 1, (l) => step(l, wordBytes));
  const rest = dims.k % wordBytes;
  if (rest > 0) step(k.index(whole), rest);
}

/** Words of bytes, the first one lowest; those that there are not are 0, before the bias. */
function joinBytes(k: KernelBuilder, bytes: readonly LoopValue[], { wordBytes }: ByteProduct, bias: number): LoopValue {
  const bits = 32 / wordBytes;
  const type = bytes[0]!.type;
  const parts = bytes.map((byte, j) => {
    const low = wordBytes === 2 && j === 0 ? k.binary("and", byte, k.constant(type, 0xffff)) : byte;
    return k.shift("shl", low, bits * j);
  });
  const word = parts.reduce((joined, part) => k.binary("or", joined, part));
  return bias === 0 ? word : k.binary("xor", word, k.constant(type, bias));
}

/** -128 times the sum of each column of B, from its panels: what the bias of A has to give back. */
function columnSums(context: LowerContext, product: ByteProduct, b: BufferHandle): BufferHandle {
  const { dims, vector, vectors, width, steps } = product;
  const panels = dims.batch * Math.ceil(dims.n / width);
  const sums = context.temporary(panels * width * 4);
  context.call("matmul_sums", panels, panels * width * steps, [b, sums], (k, [from, to]) => {
    const panel = k.offset(from!, k.chunk, panelBytes(product, width));
    const ones = k.bitcast(loopType("i8", 4 * vector.lanes), k.constant(vector, ONES_WORD));
    const zeros = Array.from({ length: vectors }, () => k.constant(vector, 0));
    const totals = k.for(0, steps, 1, zeros, (l, partial) =>
      partial.map((sum, v) => {
        const words = k.load(vector, k.offset(panel, l, width * 4), v * vector.lanes * 4);
        return k.dot4(k.bitcast(ones.type, words), ones, sum);
      }),
    );
    totals.forEach((total, v) => {
      k.store(k.unary("neg", k.shift("shl", total, 7)), k.offset(to!, k.chunk, width * 4), v * vector.lanes * 4);
    });
  });
  return sums;
}

/** Panels of A and of B, and what sums begin with; 0 where there is nothing. */
interface PackedOperands {
  readonly a: BufferHandle;
  readonly b: BufferHandle;
  readonly sums: BufferHandle | undefined;
}

function multiplyPanels(context: LowerContext, product: ByteProduct, { a, b, sums }: PackedOperands): void {
  const { dims, rows, width } = product;
  const { m, n } = dims;
  const [rowPanels, columnPanels] = [Math.ceil(m / rows), Math.ceil(n / width)];
  const [rowsEach, columnsEach] = [Math.ceil(CHUNK_ROWS / rows), Math.ceil(CHUNK_COLUMNS / width)];
  const [rowChunks, columnChunks] = [Math.ceil(rowPanels / rowsEach), Math.ceil(columnPanels / columnsEach)];
  const buffers = [a, b, context.result(0), ...(sums === undefined ? [] : [sums])];
  const work = 2 * dims.batch * m * n * dims.k;
  context.call("matmul", dims.batch * rowChunks * columnChunks, work, buffers, (k, [aAt, bAt, cAt, sumsAt]) => {
    const firstColumn = k.mul(k.rem(k.chunk, k.index(columnChunks)), k.index(columnsEach));
    const rest = k.div(k.chunk, k.index(columnChunks));
    const firstRow = k.mul(k.rem(rest, k.index(rowChunks)), k.index(rowsEach));
    const batch = k.div(rest, k.index(rowChunks));
    const lastRow = k.min(k.index(rowPanels), k.add(firstRow, k.index(rowsEach)));
    const lastColumn = k.min(k.index(columnPanels), k.add(firstColumn, k.index(columnsEach)));
    const scratch = k.allocateScratch(rows * width * 4);
    k.loop(firstColumn, lastColumn, 1, (column) => {
      const columnPanel = k.add(k.mul(batch, k.index(columnPanels)), column);
      const right = k.offset(bAt!, columnPanel, panelBytes(product, width));
      const start = sumsAt && k.offset(sumsAt, columnPanel, width * 4);
      k.loop(firstRow, lastRow, 1, (row) => {
        const rowPanel = k.add(k.mul(batch, k.index(rowPanels)), row);
        const left = k.offset(aAt!, rowPanel, panelBytes(product, rows));
        const totals = multiplyWords(k, product, left, right, start);
        const c = k.offset(cAt!, batch, m * n * 4);
        storeBlock(k, product, totals, {
          c,
          scratch,
          row: k.mul(row, k.index(rows)),
          column: k.mul(column, k.index(width)),
        });
      });
    });
  });
}

/** The sums of a register block. */
function multiplyWords(
  k: KernelBuilder,
  { vector, rows, vectors, width, wordBytes, steps }: ByteProduct,
  left: LoopValue,
  right: LoopValue,
  start: LoopValue | undefined,
): readonly LoopValue[] {
  const [bytes, shorts] = [loopType("i8", 4 * vector.lanes), loopType("i16", 2 * vector.lanes)];
  const multiply = (element: LoopValue, words: LoopValue, sum: LoopValue): LoopValue =>
    wordBytes === 4
      ? k.dot4(k.bitcast(bytes, words), k.bitcast(bytes, element), sum)
      : k.add(sum, k.dot2(k.bitcast(shorts, words), k.bitcast(shorts, element)));
  const first = Array.from({ length: vectors }, (_, v) =>
    start === undefined ? k.constant(vector, 0) : k.load(vector, start, v * vector.lanes * 4),
  );
  const sums = Array.from({ length: rows * vectors }, (_, i) => first[i % vectors]!);
  const operands = { left, leftRowBytes: 4, leftStepBytes: rows * 4, right, rightStepBytes: width * 4 };
  return multiplyBlock(k, operands, rows, { type: vector, count: vectors, multiply }, steps, sums);
}

/** Where a block of the result goes, and room for it where it sticks out. */
interface BlockPlace {
  readonly c: LoopValue;
  readonly scratch: LoopValue;
  readonly row: LoopValue;
  readonly column: LoopValue;
}

function storeBlock(k: KernelBuilder, product: ByteProduct, sums: readonly LoopValue[], place: BlockPlace): void {
  const { dims, vector, rows, vectors, width } = product;
  const { c, scratch, row, column } = place;
  const to = k.offset(k.offset(c, row, dims.n * 4), column, 4);
  const write = (base: LoopValue, rowElements: number) => (): readonly LoopValue[] => {
    sums.forEach((sum, i) => {
      k.store(sum, base, (Math.floor(i / vectors) * rowElements + (i % vectors) * vector.lanes) * 4);
    });
    return [];
  };
  const whole = write(to, dims.n);
  if (dims.m % rows === 0 && dims.n % width === 0) {
    whole();
    return;
  }
  const [rowsLeft, columnsLeft] = [k.sub(k.index(dims.m), row), k.sub(k.index(dims.n), column)];
  const fits = k.binary("and", k.compare("ge", rowsLeft, k.index(rows)), k.compare("ge", columnsLeft, k.index(width)));
  k.if(fits, whole, () => {
    write(scratch, width)();
    k.loop(0, k.min(rowsLeft, k.index(rows)), 1, (i) => {
      const [fromRow, toRow] = [k.offset(scratch, i, width * 4), k.offset(to, i, dims.n * 4)];
      k.loop(0, k.min(columnsLeft, k.index(width)), 1, (j) => {
        k.store(k.load(I32, k.offset(fromRow, j, 4)), k.offset(toRow, j, 4));
      });
    });
    return [];
  });
}
