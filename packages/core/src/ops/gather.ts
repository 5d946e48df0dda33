// gather: rows of a table by their numbers, as in an embedding. The reference refuses a number without a row; compiled
// programs clamp it, so that no address leaves the table.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { isPacked, DTYPES } from "../dtype.ts";
import type { NoAttrs } from "./elementwise.ts";
import { scatterAdd } from "./scatter_add.ts";
import { clampedIndex, copyCells } from "./strided.ts";

/** The row numbers on the host; throws when one of them has no row. */
export function hostRows(op: string, ids: HostTensor, rows: number): Float64Array {
  const outside = ids.data.find((id) => id < 0 || id >= rows);
  if (outside !== undefined) throw new IndexRangeError(op, `there is no row ${outside} in a table of ${rows} rows`);
  return ids.data;
}

export const gatherOp: OpDef<NoAttrs> = {
  name: "gather",
  summary: "y[..., :] = table[ids[...], :]",
  infer(inputs) {
    const [table, ids] = inputs as [TensorType, TensorType];
    requireShape(table.shape.length === 2, "gather", "the table is not [rows, columns]", inputs);
    requireShape(!isPacked(table.dtype), "gather", `${table.dtype} is packed`, inputs, "dequantize it");
    requireShape(ids.dtype === "i32", "gather", "the ids are not i32", inputs);
    return [{ dtype: table.dtype, shape: [...ids.shape, table.shape[1]!] }];
  },
  evaluate([table, ids], _attrs, [type]) {
    const [rows, columns] = table!.type.shape as readonly [number, number];
    const data = new Float64Array(elementCount(type!.shape));
    hostRows("gather", ids!, rows).forEach((id, i) => {
      data.set(table!.data.subarray(id * columns, (id + 1) * columns), i * columns);
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [, ids] }, [dTable]) => [dTable && emitOne(gatherOp, [dTable, ids!], {})],
    transpose: ({ inputs: [table, ids] }, [ct], [inTable]) => [
      inTable ? scatterAdd(ids as Tensor<Shape, "i32">, ct as Tensor<Shape, "f32">, table!.shape[0]!) : undefined,
      undefined,
    ],
  },
  lowering: {
    kind: "kernel",
    lower(context) {
      const [table, ids] = context.node.inputs as readonly [Tensor, Tensor];
      const [rows, columns] = table.shape as readonly [number, number];
      const count = elementCount(ids.shape);
      if (count * columns === 0) return;
      const rowBytes = columns * (DTYPES[table.dtype].elementBytes ?? 0);
      const perChunk = Math.max(1, Math.floor(32768 / rowBytes));
      const buffers = [context.input(0), context.input(1), context.result(0)];
      context.call("gather", Math.ceil(count / perChunk), count * columns, buffers, (k, [tableAt, idsAt, resultAt]) => {
        const first = k.mul(k.chunk, k.index(perChunk));
        k.loop(first, k.min(k.add(first, k.index(perChunk)), k.index(count)), 1, (i) => {
          const row = clampedIndex(k, k.offset(idsAt!, i, 4), rows - 1);
          const [from, to] = [k.offset(tableAt!, row, rowBytes), k.offset(resultAt!, i, rowBytes)];
          copyCells(k, table.dtype, context.lanes, from, to, k.index(columns));
        });
      });
    },
  },
  sample(draw) {
    const [rows, columns] = [draw.int(1, 9), draw.int(1, 11)];
    const ids = draw.pick([[], [5], [2, 3]]);
    return {
      inputs: [
        { dtype: "f32", shape: [rows, columns] },
        { dtype: "i32", shape: ids },
      ],
      attrs: {},
      ranges: [undefined, [0, rows - 1]],
    };
  },
};

/** Row ids[...] of the `table` [rows, columns], for every id: [ids..., columns]. */
export function gather<T extends Shape, D extends Dtype, I extends Shape>(
  table: Tensor<T, D>,
  ids: Tensor<I, "i32">,
): Tensor<readonly [...I, T[1]], D> {
  return emitOne(gatherOp, [table, ids], {}) as unknown as Tensor<readonly [...I, T[1]], D>;
}
