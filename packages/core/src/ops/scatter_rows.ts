// scatter_rows: a table with some of its rows replaced, or added to, by their numbers. It is how the rows of an
// embedding that a batch touched are updated, in the memory of the table where nobody else needs that afterwards: the
// work is that of the rows, and not of the table.
// Rows are written in the order of the ids, and threads share the columns: of several rows with one number the last
// one stays, and sums do not depend on the number of threads.

import type { Shape } from "@fidelity/units";
import type { Dtype } from "../dtype.ts";
import { isHalf } from "../dtype.ts";
import { tangentType } from "../derive/linearize.ts";
import type { Tensor, TensorType } from "../graph.ts";
import { emitOne, sameShape } from "../graph.ts";
import type { LoopValue } from "../loop/ir.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import { broadcastTo } from "./broadcast.ts";
import { cellBytes, loadElement, storeElement } from "./cells.ts";
import { NUMERIC } from "./elementwise.ts";
import { eq } from "./eq.ts";
import { gather, hostRows } from "./gather.ts";
import { iota } from "./iota.ts";
import { reshape } from "./reshape.ts";
import { CHUNK_COLUMNS, vectorLoop } from "./scatter_add.ts";
import { select } from "./select.ts";
import { splat, zerosLike } from "./splat.ts";
import { clampedIndex, lowerCopy, rowMajorStrides } from "./strided.ts";

/** Whether rows replace those of the table, or are added to them. */
export type ScatterRowsAttrs = { readonly mode: "set" | "add" };

const NAME = "scatter_rows";

export const scatterRowsOp: OpDef<ScatterRowsAttrs> = {
  name: NAME,
  summary: "y = x, with y[ids[...], :] = rows[..., :], or += where mode is add",
  infer(inputs, { mode }) {
    const [x, ids, rows] = inputs as [TensorType, TensorType, TensorType];
    requireShape(x.shape.length === 2, NAME, "the table is not [rows, columns]", inputs);
    const works = NUMERIC.includes(x.dtype) || (mode === "set" && isHalf(x.dtype));
    requireShape(works, NAME, `with mode ${mode} does not work on ${x.dtype}`, inputs);
    requireShape(x.dtype === rows.dtype, NAME, "dtypes differ", inputs, "cast the rows");
    requireShape(ids.dtype === "i32", NAME, "the ids are not i32", inputs);
    requireShape(
      sameShape([...ids.shape, x.shape[1]!], rows.shape),
      NAME,
      "the rows are not [ids..., columns]",
      inputs,
    );
    return [x];
  },
  evaluate([x, ids, rows], { mode }, [type]) {
    const [count, columns] = type!.shape as readonly [number, number];
    const data = x!.data.slice();
    hostRows(NAME, ids!, count).forEach((id, i) => {
      for (let j = 0; j < columns; j++) {
        const before = mode === "add" ? data[id * columns + j]! : 0;
        data[id * columns + j] = before + rows!.data[i * columns + j]!;
      }
    });
    return [{ type: type!, data }];
  },
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [x, ids, rows] }, [dx, , dRows], attrs) => [
      emitOne(scatterRowsOp, [dx ?? zeroTangent(x!), ids!, dRows ?? zeroTangent(rows!)], attrs),
    ],
    transpose({ inputs: [x, ids, rows] }, [ct], [inX, , inRows], { mode }) {
      const numbers = ids as Tensor<Shape, "i32">;
      const picked = inRows ? gather(ct!, numbers) : undefined;
      if (mode === "add") return [inX ? ct : undefined, undefined, picked];
      return [
        inX ? emitOne(scatterRowsOp, [ct!, ids!, zeroTangent(rows!)], { mode }) : undefined,
        undefined,
        picked && keepLast(picked, numbers, x!.shape[0]!),
      ];
    },
  },
  lowering: { kind: "kernel", inPlace: 0, lower: lowerScatterRows },
  sample(draw) {
    const [rows, columns] = [draw.int(1, 5), draw.int(1, 40)];
    const ids = draw.pick([[], [6], [2, 4]]);
    const mode = draw.pick(["set", "add"] as const);
    const dtype = draw.pick(["f32", "f32", "i32", mode === "set" ? "f16" : "f32"] as const);
    return {
      inputs: [
        { dtype, shape: [rows, columns] },
        { dtype: "i32", shape: ids },
        { dtype, shape: [...ids, columns] },
      ],
      attrs: { mode },
      ranges: [undefined, [0, rows - 1], undefined],
    };
  },
};

function zeroTangent(of: Tensor): Tensor {
  return zerosLike(of, tangentType(of.type)!.dtype);
}

/** `rows` with zeros in place of those that a later one with the same number has replaced. */
function keepLast(rows: Tensor, ids: Tensor<Shape, "i32">, count: number): Tensor {
  const numbers = reshape(iota([elementCount(ids.shape)]), ids.shape) as Tensor<Shape, "i32">;
  const isLast = reshape(eq(lastWithSameId(ids, count), numbers) as Tensor, [...ids.shape, 1]);
  return select(broadcastTo(isLast, rows.shape) as Tensor<Shape, "bool">, rows, zerosLike(rows) as never) as Tensor;
}

/**
 * For each of the ids, all of them below `count`, the place of the last one that is equal to it: one number for each
 * set of equal ids, of the same shape. Needs four bytes for each of `count`, and no sorting.
 */
export function lastWithSameId(ids: Tensor<Shape, "i32">, count: number): Tensor<Shape, "i32"> {
  const places = reshape(iota([elementCount(ids.shape)]), [...ids.shape, 1]);
  const last = scatterRows(splat(0, [count, 1], "i32"), ids, places as Tensor<Shape, "i32">);
  return reshape(gather(last, ids), ids.shape) as Tensor<Shape, "i32">;
}

function lowerScatterRows(context: LowerContext, { mode }: ScatterRowsAttrs): void {
  const [x, ids] = context.node.inputs as readonly [Tensor, Tensor];
  const [rows, columns] = x.shape as readonly [number, number];
  const count = elementCount(ids.shape);
  if (rows * columns === 0) return;
  if (!context.inPlace) {
    const strides = rowMajorStrides(x.shape);
    const side = { offset: 0, strides };
    lowerCopy(context, x.dtype, x.shape, { ...side, buffer: context.input(0) }, { ...side, buffer: context.result(0) });
  }
  const bytes = cellBytes(x.dtype);
  const lanes = x.dtype === "f64" ? 1 : context.lanes;
  const buffers = [context.input(1), context.input(2), context.result(0)];
  const chunks = Math.ceil(columns / CHUNK_COLUMNS);
  context.call(NAME, chunks, count * columns, buffers, (k, [idsAt, rowsAt, resultAt]) => {
    const low = k.mul(k.chunk, k.index(CHUNK_COLUMNS));
    const high = k.min(k.add(low, k.index(CHUNK_COLUMNS)), k.index(columns));
    k.loop(0, count, 1, (i) => {
      const from = k.offset(rowsAt!, i, columns * bytes);
      const to = k.offset(resultAt!, clampedIndex(k, k.offset(idsAt!, i, 4), rows - 1), columns * bytes);
      vectorLoop(k, low, high, lanes, (column, width) => {
        const load = (address: LoopValue): LoopValue => loadElement(k, x.dtype, width, address);
        const at = k.offset(to, column, bytes);
        const row = load(k.offset(from, column, bytes));
        storeElement(k, mode === "add" ? k.add(load(at), row) : row, x.dtype, at);
      });
    });
  });
}

/**
 * `x` [rows, columns] with row ids[...] replaced by `rows` [ids..., columns], the last one where ids repeat; with
 * `mode: "add"` each of them is added to it.
 */
export function scatterRows<S extends Shape, D extends Dtype>(
  x: Tensor<S, D>,
  ids: Tensor<Shape, "i32">,
  rows: Tensor<Shape, D>,
  mode: ScatterRowsAttrs["mode"] = "set",
): Tensor<S, D> {
  return emitOne(scatterRowsOp, [x, ids, rows], { mode }) as unknown as Tensor<S, D>;
}
