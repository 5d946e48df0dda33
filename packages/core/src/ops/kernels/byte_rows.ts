// A few rows of signed bytes times a transposed matrix of signed bytes, y[m, n] = x[m, k] B[n, k]^T, exact in i32: dot
// products in place, bound by reading B once. Where the target multiplies signed bytes with unsigned ones, B's get 128
// added on the way, and 128 times the sum of x is taken off at the end; elsewhere both are widened to i16.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { I32, loopType } from "../../loop/ir.ts";
import type { LowerContext } from "../../op.ts";
import type { MatmulDims } from "../matmul.ts";
import { foldLanes } from "./lanes.ts";

/**
 * Rows of B that are read side by side. From far away it is one where the first cache waits for few lines at a time:
 * such processors follow one stream better than several short ones.
 */
const OUTPUTS = 4;
/** Bytes of B in a chunk, about. */
const CHUNK_BYTES = 65536;
/** A matrix is far that is larger than so many second caches. */
const FAR_CACHES = 4;

interface ByteRows {
  readonly dims: MatmulDims;
  readonly vector: LoopType;
  /** Whether bytes are multiplied as they are. */
  readonly asBytes: boolean;
  readonly x: LoopValue;
  readonly b: LoopValue;
  readonly y: LoopValue;
}

/** Lowers a product of few rows, all operands with the inner dimension last. */
export function lowerByteRows(context: LowerContext, dims: MatmulDims): void {
  const { batch, m, n, k: inner } = dims;
  const isFar = m === 1 && context.prefetchCache === 2 && n * inner > FAR_CACHES * context.cacheBytes.l2;
  const outputs = isFar ? 1 : OUTPUTS;
  const columns = Math.max(1, Math.ceil(CHUNK_BYTES / inner / outputs)) * outputs;
  const perBatch = Math.ceil(n / columns);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("row_product", batch * perBatch, 2 * batch * m * n * inner, buffers, (k, [x, b, y]) => {
    const which = k.div(k.chunk, k.index(perBatch));
    const first = k.mul(k.rem(k.chunk, k.index(perBatch)), k.index(columns));
    const end = k.min(k.index(n), k.add(first, k.index(columns)));
    const product: ByteRows = {
      dims,
      vector: loopType("i32", context.lanes),
      asBytes: context.dot4Unsigned,
      x: k.offset(x!, which, m * inner),
      b: k.offset(b!, which, inner * n),
      y: k.offset(y!, which, m * n * 4),
    };
    const whole = k.sub(end, k.rem(k.sub(end, first), k.index(outputs)));
    k.loop(first, whole, outputs, (column) => dotRows(k, product, column, outputs));
    if (n % outputs !== 0) k.loop(whole, end, 1, (column) => dotRows(k, product, column, 1));
  });
}

/** Dot products of all rows of x with `count` rows of B. */
function dotRows(
  k: KernelBuilder,
  { dims, vector, asBytes, x, b, y }: ByteRows,
  column: LoopValue,
  count: number,
): void {
  const { m, n, k: inner } = dims;
  const rows = k.offset(b, column, inner);
  const step = vector.lanes * (asBytes ? 4 : 2);
  const whole = inner - (inner % step);
  const bytes = loopType("i8", 4 * vector.lanes);
  const shorts = loopType("i16", 2 * vector.lanes);
  const flipped = asBytes ? k.constant(bytes, -128) : undefined;
  const ones = asBytes ? k.constant(bytes, 1) : undefined;
  const load = (at: LoopValue, row: number): LoopValue =>
    asBytes ? k.load(bytes, at, row * inner) : k.load(shorts, at, row * inner, "i8");
  // Sums of products row by row of x, then what x itself adds up to, where that is needed.
  const zeros = Array.from({ length: m * count + (asBytes ? m : 0) }, () => k.constant(vector, 0));
  const sums = k.for(0, whole, step, zeros, (l, partial) => {
    const [xAt, bAt] = [k.add(x, l), k.add(rows, l)];
    const left = Array.from({ length: m }, (_, r) => load(xAt, r));
    const right = Array.from({ length: count }, (_, c) => {
      const row = load(bAt, c);
      return flipped === undefined ? row : k.binary("xor", row, flipped);
    });
    return partial.map((sum, i) => {
      if (i >= m * count) return k.dot4(left[i - m * count]!, ones!, sum);
      const [xRow, bRow] = [left[Math.floor(i / count)]!, right[i % count]!];
      return asBytes ? k.dot4(xRow, bRow, sum) : k.add(sum, k.dot2(xRow, bRow));
    });
  });
  for (let r = 0; r < m; r++) {
    for (let c = 0; c < count; c++) {
      let sum = sums[r * count + c]!;
      if (asBytes) sum = k.sub(sum, k.shift("shl", sums[m * count + r]!, 7));
      const total = foldLanes(k, sum, (p, q) => k.add(p, q));
      const [xRow, bRow] = [k.add(x, k.index(r * inner)), k.add(rows, k.index(c * inner))];
      const [all] = k.for(whole, inner, 1, [total], (l, [partial]) => {
        const [p, q] = [k.load(I32, k.add(xRow, l), 0, "i8"), k.load(I32, k.add(bRow, l), 0, "i8")];
        return [k.add(partial!, k.mul(p, q))];
      });
      k.store(all!, k.offset(y, column, 4), (r * n + c) * 4);
    }
  }
}
