// Reductions over the middle axis of [outer, rows, columns]: each chunk owns a block of columns and walks down all
// rows, so that every sum has one order whatever the number of threads.

import type { LowerContext } from "@fidelity/core";
import { elementLoopType } from "@fidelity/core";

/** Vectors of columns that one chunk reduces. */
const VECTORS = 8;

export function lowerColumnReduce(context: LowerContext, combine: "sum" | "max"): void {
  const [x] = context.node.inputs;
  const [outer = 1, rows = 1, columns = 1] = x!.shape;
  const bytes = x!.dtype === "f64" ? 8 : 4;
  const lanes = (context.lanes * 4) / bytes;
  const block = VECTORS * lanes;
  const blocks = Math.ceil(columns / block);
  const identity = combine === "max" ? -Infinity : 0;
  context.call(
    "column_reduce",
    outer * blocks,
    outer * rows * columns,
    [context.input(0), context.result(0)],
    (k, [from, to]) => {
      const batch = k.div(k.chunk, k.index(blocks));
      const first = k.mul(k.rem(k.chunk, k.index(blocks)), k.index(block));
      const end = k.min(k.index(columns), k.add(first, k.index(block)));
      const source = k.offset(from!, batch, rows * columns * bytes);
      const target = k.offset(to!, batch, columns * bytes);
      const reduce = (column: Parameters<typeof k.offset>[1], vectors: number, width: number): void => {
        const type = elementLoopType(x!.dtype, width);
        const inits = Array.from({ length: vectors }, () => k.constant(type, identity));
        const start = k.offset(source, column, bytes);
        const [, ...totals] = k.for(0, rows, 1, [start, ...inits], (_row, [at, ...sums]) => [
          k.offset(at!, 1, columns * bytes),
          ...sums.map((sum, v) => {
            const value = k.load(type, at!, v * width * bytes);
            return combine === "max" ? k.max(sum, value) : k.add(sum, value);
          }),
        ]);
        const sums = k.offset(target, column, bytes);
        totals.forEach((total, v) => k.store(total, sums, v * width * bytes));
      };
      const full = k.compare("eq", k.sub(end, first), k.index(block));
      k.if(
        full,
        () => {
          reduce(first, VECTORS, lanes);
          return [];
        },
        () => {
          const whole = k.sub(end, k.rem(k.sub(end, first), k.index(lanes)));
          k.loop(first, whole, lanes, (column) => reduce(column, 1, lanes));
          k.loop(whole, end, 1, (column) => reduce(column, 1, 1));
          return [];
        },
      );
    },
  );
}
