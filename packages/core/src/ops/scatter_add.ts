// scatter_add: adds rows into a table of zeros by their numbers: the transpose of gather. Rows are added in the order
// of the ids; threads share the columns, so that the sums do not depend on the number of threads.

import type { Shape } from "@fidelity/units";
import type { FloatDtype } from "../dtype.ts";
import { isFloat } from "../dtype.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { KernelBuilder } from "../loop/builder.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { gather, hostRows } from "./gather.ts";
import { elementLoopType } from "./loop-types.ts";
import { clampedIndex } from "./strided.ts";

export type ScatterAddAttrs = { readonly rows: number };

export const scatterAddOp: OpDef<ScatterAddAttrs> = {
  name: "scatter_add",
  summary: "y[v, :] = sum of updates[..., :] where ids[...] = v",
  infer(inputs, { rows }) {
    const [ids, updates] = inputs as [TensorType, TensorType];
    requireShape(ids.dtype === "i32", "scatter_add", "the ids are not i32", inputs);
    requireShape(isFloat(updates.dtype), "scatter_add", `does not add ${updates.dtype}`, inputs);
    requireShape(Number.isInteger(rows) && rows > 0, "scatter_add", `cannot make ${rows} rows`, inputs);
    const fits = updates.shape.length > 0 && sameShape(ids.shape, updates.shape.slice(0, -1));
    requireShape(fits, "scatter_add", "the updates are not [ids..., columns]", inputs);
    return [{ dtype: updates.dtype, shape: [rows, updates.shape[updates.shape.length - 1]!] }];
  },
  evaluate([ids, updates], { rows }, [type]) {
    const columns = type!.shape[1]!;
    const data = new Float64Array(rows * columns);
    hostRows("scatter_add", ids!, rows).forEach((id, i) => {
      for (let j = 0; j < columns; j++) data[id * columns + j]! += updates!.data[i * columns + j]!;
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [ids] }, [, dUpdates], attrs) => [dUpdates && emitOne(scatterAddOp, [ids!, dUpdates], attrs)],
    transpose: ({ inputs: [ids] }, [ct], [, inUpdates]) => [
      undefined,
      inUpdates ? gather(ct!, ids as Tensor<Shape, "i32">) : undefined,
    ],
  },
  lowering: { kind: "kernel", lower: lowerScatterAdd },
  sample(draw) {
    const ids = draw.pick([[], [6], [2, 4]]);
    const rows = draw.int(1, 5);
    return {
      inputs: [
        { dtype: "i32", shape: ids },
        { dtype: "f32", shape: [...ids, draw.int(1, 40)] },
      ],
      attrs: { rows },
      ranges: [[0, rows - 1], undefined],
    };
  },
};

/** Columns of a chunk: two cache lines of float32, so that threads rarely write to one line. */
export const CHUNK_COLUMNS = 32;

function lowerScatterAdd(context: LowerContext, { rows }: ScatterAddAttrs): void {
  const [ids, updates] = context.node.inputs as readonly [Tensor, Tensor];
  const columns = updates.shape[updates.shape.length - 1]!;
  if (columns === 0) return;
  const count = elementCount(ids.shape);
  const { dtype } = updates;
  const bytes = dtype === "f64" ? 8 : 4;
  const lanes = dtype === "f64" ? 1 : context.lanes;
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = (count + rows) * columns;
  context.call("scatter_add", Math.ceil(columns / CHUNK_COLUMNS), work, buffers, (k, [idsAt, updatesAt, resultAt]) => {
    const low = k.mul(k.chunk, k.index(CHUNK_COLUMNS));
    const high = k.min(k.add(low, k.index(CHUNK_COLUMNS)), k.index(columns));
    const overColumns = (body: (column: LoopValue, width: number) => void): void =>
      vectorLoop(k, low, high, lanes, body);
    k.loop(0, rows, 1, (row) => {
      const to = k.offset(resultAt!, row, columns * bytes);
      overColumns((column, width) =>
        k.store(k.constant(elementLoopType(dtype, width), 0), k.offset(to, column, bytes)),
      );
    });
    k.loop(0, count, 1, (i) => {
      const from = k.offset(updatesAt!, i, columns * bytes);
      const to = k.offset(resultAt!, clampedIndex(k, k.offset(idsAt!, i, 4), rows - 1), columns * bytes);
      overColumns((column, width) => {
        const type = elementLoopType(dtype, width);
        const at = k.offset(to, column, bytes);
        k.store(k.add(k.load(type, at), k.load(type, k.offset(from, column, bytes))), at);
      });
    });
  });
}

/** Runs `body` over low..high in steps of `lanes`, then one by one over what is left. */
export function vectorLoop(
  k: KernelBuilder,
  low: LoopValue,
  high: LoopValue,
  lanes: number,
  body: (at: LoopValue, width: number) => void,
): void {
  const even = k.sub(high, k.rem(k.sub(high, low), k.index(lanes)));
  k.loop(low, even, lanes, (at) => body(at, lanes));
  if (lanes > 1) k.loop(even, high, 1, (at) => body(at, 1));
}

/** A table of `rows` rows, each the sum of those rows of `updates` [ids..., columns] whose id it is. */
export function scatterAdd<S extends Shape, D extends FloatDtype, const V extends number>(
  ids: Tensor<Shape, "i32">,
  updates: Tensor<S, D>,
  rows: V,
): Tensor<readonly [V, number], D> {
  return emitOne(scatterAddOp, [ids, updates], { rows }) as unknown as Tensor<readonly [V, number], D>;
}
