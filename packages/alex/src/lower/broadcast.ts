// A broadcast that no reader could take as an access pattern: it is written out, row by row of the last axis.

import type { LowerContext } from "@fidelity/core";
import { broadcastStrides, cellBytes, loadElement, rowCount, storeElement } from "@fidelity/core";

export function lowerBroadcast(context: LowerContext): void {
  const [x] = context.node.inputs;
  const { shape, dtype } = context.node.results[0]!;
  const bytes = cellBytes(dtype);
  const rows = rowCount(shape);
  const columns = shape[shape.length - 1] ?? 1;
  const strides = broadcastStrides(x!.shape);
  const lanes = bytes === 8 ? context.lanes / 2 : context.lanes;
  const rowsPerChunk = Math.max(1, Math.ceil(8192 / columns));
  context.call(
    "broadcast",
    Math.ceil(rows / rowsPerChunk),
    rows * columns,
    [context.input(0), context.result(0)],
    (k, [from, to]) => {
      const first = k.mul(k.chunk, k.index(rowsPerChunk));
      const end = k.min(k.index(rows), k.add(first, k.index(rowsPerChunk)));
      k.loop(first, end, 1, (row) => {
        let rest = row;
        let source = from!;
        for (let axis = shape.length - 2; axis >= 0; axis--) {
          source = k.offset(source, k.rem(rest, k.index(shape[axis]!)), strides[axis]! * bytes);
          rest = k.div(rest, k.index(shape[axis]!));
        }
        const target = k.offset(to!, row, columns * bytes);
        const repeats = strides[shape.length - 1] === 0;
        const copy = (low: number, high: number, width: number): void => {
          const single = repeats ? k.splat(loadElement(k, dtype, 1, source, 0), width) : undefined;
          k.loop(low, high, width, (column) => {
            const value = single ?? loadElement(k, dtype, width, k.offset(source, column, bytes), 0);
            storeElement(k, value, dtype, k.offset(target, column, bytes), 0);
          });
        };
        const whole = Math.floor(columns / lanes) * lanes;
        if (whole > 0) copy(0, whole, lanes);
        if (whole < columns) copy(whole, columns, 1);
      });
    },
  );
}
