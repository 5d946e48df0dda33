// gather: rows of a table by their numbers, as in an embedding; those of blocks become float32. The reference
// refuses a number without a row; compiled programs clamp it, so that no address leaves the table.

import type { Shape } from "@fidelity/units";
import type { BlockDtype, Dtype } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { HostTensor } from "../host.ts";
import { hostValues } from "../host.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, requireShape } from "../op.ts";
import { BLOCK_FORMATS, elementCount } from "../storage.ts";
import { BLOCK_DTYPES, isBlocked, isPacked, DTYPES } from "../dtype.ts";
import { requireWholeBlocks } from "./dequantize.ts";
import type { NoAttrs } from "./elementwise.ts";
import { gatherBlocks } from "./kernels/blocks.ts";
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
    const blocked = isBlocked(table.dtype);
    requireShape(blocked || !isPacked(table.dtype), "gather", `${table.dtype} is packed`, inputs, "dequantize it");
    requireWholeBlocks("gather", table, inputs);
    requireShape(ids.dtype === "i32", "gather", "the ids are not i32", inputs);
    return [{ dtype: blocked ? "f32" : table.dtype, shape: [...ids.shape, table.shape[1]!] }];
  },
  evaluate([table, ids], _attrs, [type]) {
    const [rows, columns] = table!.type.shape as readonly [number, number];
    const data = new Float64Array(elementCount(type!.shape));
    const values = hostValues(table!);
    hostRows("gather", ids!, rows).forEach((id, i) => {
      data.set(values.subarray(id * columns, (id + 1) * columns), i * columns);
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
      if (isBlocked(table.dtype)) return gatherBlocks(context, table.dtype, count);
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
    const dtype = draw.pick(["f32", "f32", "f32", ...BLOCK_DTYPES] as const);
    const columns = isBlocked(dtype) ? BLOCK_FORMATS[dtype].blockColumns * draw.int(1, 3) : draw.int(1, 11);
    const rows = draw.int(1, 19);
    const ids = draw.pick([[], [5], [2, 3]]);
    return {
      inputs: [
        { dtype, shape: [rows, columns] },
        { dtype: "i32", shape: ids },
      ],
      attrs: {},
      ranges: [undefined, [0, rows - 1]],
    };
  },
};

/** Row ids[...] of the `table` [rows, columns], for every id: [ids..., columns]. Rows of blocks come as float32. */
export function gather<T extends Shape, D extends Exclude<Dtype, BlockDtype>, I extends Shape>(
  table: Tensor<T, D>,
  ids: Tensor<I, "i32">,
): Tensor<readonly [...I, T[1]], D>;
export function gather<T extends Shape, I extends Shape>(
  table: Tensor<T, BlockDtype>,
  ids: Tensor<I, "i32">,
): Tensor<readonly [...I, T[1]], "f32">;
export function gather<T extends Shape, I extends Shape>(
  table: Tensor<T>,
  ids: Tensor<I, "i32">,
): Tensor<readonly [...I, T[1]]>;
export function gather(table: Tensor, ids: Tensor<Shape, "i32">): Tensor {
  return emitOne(gatherOp, [table, ids], {});
}
