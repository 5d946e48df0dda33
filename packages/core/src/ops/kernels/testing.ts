// Support for tests of kernel lowerings: runs the calls of one op, chunk by chunk and the last one first, in the loop
// IR's own evaluator. Result memory and scratch start as rubbish, so that what is read before it is written shows.

import { invariant } from "@fidelity/units";
import type { Attrs } from "../../graph.ts";
import type { HostTensor } from "../../host.ts";
import { decodeTensor, encodeTensor } from "../../host.ts";
import { buildKernel } from "../../loop/builder.ts";
import { evaluateKernel } from "../../loop/evaluate.ts";
import type { BufferHandle, LowerContext, OpDef, VectorTarget } from "../../op.ts";
import { completeTarget } from "../../op.ts";
import { roundUp, storageBytes } from "../../storage.ts";
import { graphOf } from "../../testing.ts";

const RUBBISH = 0xa5;

/** A result with the storage that the kernels wrote. */
export interface KernelResult extends HostTensor {
  readonly bytes: Uint8Array;
}

/**
 * The results of an op's kernels on these inputs, for vectors of `lanes` float32 and a target that is otherwise as
 * `target` says, by the schedule of this number or the last one.
 */
export function runKernels(
  op: OpDef,
  inputs: readonly HostTensor[],
  attrs: Attrs,
  lanes = 4,
  target: Partial<VectorTarget> = {},
  schedule = 0,
): KernelResult[] {
  const { lowering } = op;
  invariant(lowering.kind === "kernel", `${op.name} has no kernels of its own`);
  const { node } = graphOf(
    op,
    inputs.map(({ type }) => type),
    attrs,
  ).results[0]!;
  const memory = new ArrayBuffer(1 << 24);
  new Uint8Array(memory).fill(RUBBISH);
  let end = 1 << 20;
  const place = (sizeBytes: number): number => {
    const at = end;
    end = roundUp(end + sizeBytes, 64);
    return at;
  };
  const inputsAt = inputs.map((input) => {
    const at = place(storageBytes(input.type));
    encodeTensor(input, new Uint8Array(memory, at, storageBytes(input.type)));
    return at;
  });
  const resultsAt = node.results.map(({ type }) => place(storageBytes(type)));
  const context: LowerContext = {
    node,
    ...completeTarget({ lanes, joinsVectors: false, ...(lanes === 16 && { registers: 32 }), ...target }),
    inPlace: false,
    choose: (candidates) => candidates[Math.min(schedule, candidates.length - 1)]!,
    input: (index) => inputsAt[index] as BufferHandle,
    result: (index) => resultsAt[index] as BufferHandle,
    temporary: (sizeBytes) => place(sizeBytes) as BufferHandle,
    prepare(name, input, sizeBytes, chunks, work, generate) {
      const prepared = context.temporary(sizeBytes);
      context.call(name, chunks, work, [context.input(input), prepared], generate);
      return prepared;
    },
    call(name, chunks, _work, buffers, generate) {
      const kernel = buildKernel(name, buffers.length, generate);
      for (let chunk = chunks - 1; chunk >= 0; chunk--) evaluateKernel(kernel, memory, chunk, 0, buffers);
    },
  };
  lowering.lower(context, attrs);
  return node.results.map(({ type }, i) => {
    const bytes = new Uint8Array(memory, resultsAt[i]!, storageBytes(type));
    return { ...decodeTensor(type, bytes), bytes };
  });
}
