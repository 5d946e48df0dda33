// after: x, but not before other tensors are known. It makes a value that equals x and is not x: what is computed from
// it is neither taken for what was computed from x, nor computed before its time. Recomputation in a backward pass
// stands on it (checkpoint.ts), as on optimization_barrier in XLA.
//
// It costs a copy of x, unless nobody else reads x.

import { DTYPES, isPacked } from "../dtype.ts";
import type { Tensor } from "../graph.ts";
import { emitOne } from "../graph.ts";
import type { LowerContext, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { elementCount } from "../storage.ts";
import type { NoAttrs } from "./elementwise.ts";
import { sampleShape } from "./elementwise.ts";
import { copyCells } from "./strided.ts";

/** Inputs: x, and the tensors to wait for. */
export const afterOp: OpDef<NoAttrs> = {
  name: "after",
  summary: "y = x, computed after the other inputs",
  infer(inputs) {
    const x = inputs[0]!;
    requireShape(!isPacked(x.dtype), "after", `${x.dtype} is packed`, inputs);
    return [x];
  },
  evaluate: ([x]) => [x!],
  derivative: {
    kind: "rules",
    jvp: ({ inputs: [, ...others] }, [dx]) => [dx && emitOne(afterOp, [dx, ...others], {})],
    transpose: ({ inputs: [, ...others] }, [ct], [inX]) => [inX ? ct : undefined, ...others.map(() => undefined)],
  },
  lowering: { kind: "kernel", inPlace: 0, lower: lowerAfter },
  sample(draw) {
    const shape = sampleShape(draw);
    return {
      inputs: [
        { dtype: "f32", shape },
        { dtype: "f32", shape: [draw.int(1, 3)] },
      ],
      attrs: {},
    };
  },
};

/** The call names all inputs, so that it is scheduled after those that it does not read. */
function lowerAfter(context: LowerContext): void {
  const { inputs } = context.node;
  const [x] = inputs;
  const count = elementCount(x!.shape);
  if (context.inPlace || count === 0) return;
  const bytes = DTYPES[x!.dtype].elementBytes!;
  const size = context.chunkElements;
  const buffers = [...inputs.map((_input, i) => context.input(i)), context.result(0)];
  context.call("after", Math.ceil(count / size), count, buffers, (k, addresses) => {
    const first = k.mul(k.chunk, k.index(size));
    const length = k.min(k.index(size), k.sub(k.index(count), first));
    const [from, to] = [addresses[0]!, addresses[addresses.length - 1]!].map((base) => k.offset(base, first, bytes));
    copyCells(k, x!.dtype, context.lanes, from!, to!, length);
  });
}

/** A tensor equal to `x` that is computed after `others`. */
export function after(x: Tensor, others: readonly Tensor[]): Tensor {
  return emitOne(afterOp, [x, ...others], {});
}
