// Lowerings to the loop IR against the references, through the loop IR's own evaluator: no target is involved. Whole
// graphs, fused and compiled, are checked where they are compiled.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Node } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import { decodeTensor, encodeTensor, hostValues } from "./host.ts";
import { interpret } from "./interpreter.ts";
import { buildKernel } from "./loop/builder.ts";
import type { KernelBuilder } from "./loop/builder.ts";
import { evaluateKernel } from "./loop/evaluate.ts";
import type { LoopValue } from "./loop/ir.ts";
import { I32 } from "./loop/ir.ts";
import type { BufferHandle, LowerContext, OpCase, OpDef } from "./op.ts";
import { completeTarget } from "./op.ts";
import { OPS } from "./ops/index.ts";
import { cellBytes, loadElement, storeElement } from "./ops/cells.ts";
import { elementCount, roundUp, storageBytes } from "./storage.ts";
import { drawCase, graphOf, randomInputs, relativeError, SAMPLED_OPS, seededRandom } from "./testing.ts";

const SEEDS = [1, 2, 3, 4, 5, 6];
const MEMORY_BYTES = 1 << 20;
const SCRATCH_BYTES = 1 << 17;

/** Tensors placed one after the other in one memory, after a scratch area. */
class Placement {
  readonly memory = new ArrayBuffer(MEMORY_BYTES);
  #next = SCRATCH_BYTES;

  reserve(sizeBytes: number): number {
    const at = this.#next;
    this.#next = roundUp(at + sizeBytes, 64);
    assert.ok(this.#next <= MEMORY_BYTES, "the case is too large for the test's memory");
    return at;
  }

  write(tensor: HostTensor): number {
    const at = this.reserve(storageBytes(tensor.type));
    encodeTensor(tensor, new Uint8Array(this.memory, at, storageBytes(tensor.type)));
    return at;
  }
}

/** Runs an op's kernel lowering. Result memory starts as rubbish: kernels must write all of it. */
function runKernels(
  op: OpDef,
  node: Node,
  inputs: readonly HostTensor[],
  lanes = 4,
  choose: LowerContext["choose"] = ([first]) => first!,
): HostTensor[] {
  assert.ok(op.lowering.kind === "kernel");
  const placement = new Placement();
  const inputAt = inputs.map((input) => placement.write(input));
  const resultAt = node.results.map(({ type }) => {
    const at = placement.reserve(storageBytes(type));
    new Uint8Array(placement.memory, at, storageBytes(type)).fill(0xa5);
    return at;
  });
  const context: LowerContext = {
    node,
    ...completeTarget({ lanes, joinsVectors: false, ...(lanes === 16 && { registers: 32 }) }),
    inPlace: false,
    choose,
    input: (index) => inputAt[index] as BufferHandle,
    result: (index) => resultAt[index] as BufferHandle,
    temporary: (sizeBytes) => placement.reserve(sizeBytes) as BufferHandle,
    prepare(name, input, sizeBytes, chunks, work, generate) {
      const prepared = context.temporary(sizeBytes);
      context.call(name, chunks, work, [context.input(input), prepared], generate);
      return prepared;
    },
    call(name, chunks, _work, buffers, generate) {
      const kernel = buildKernel(name, buffers.length, generate);
      assert.ok(kernel.scratchBytes <= SCRATCH_BYTES, `${name}: ${kernel.scratchBytes} bytes of scratch`);
      // Chunks are independent: the last one may run first.
      for (let chunk = chunks - 1; chunk >= 0; chunk--) evaluateKernel(kernel, placement.memory, chunk, 0, buffers);
    },
  };
  op.lowering.lower(context, node.attrs);
  return node.results.map(({ type }, i) =>
    decodeTensor(type, new Uint8Array(placement.memory, resultAt[i], storageBytes(type))),
  );
}

/** Runs an elementwise lowering over the elements in rows of `lanes`, one vector at a time. */
function runElementwise(op: OpDef, node: Node, inputs: readonly HostTensor[], lanes: number): HostTensor[] {
  const { lowering } = op;
  assert.ok(lowering.kind === "elementwise");
  const placement = new Placement();
  const result = node.results[0]!;
  const columns = result.shape[result.rank - 1]!;
  const bases = inputs.map((input) => placement.write(input));
  const resultAt = placement.reserve(storageBytes(result.type));
  const generate = (k: KernelBuilder, buffers: readonly LoopValue[], width: number): void => {
    const operands = inputs.map(({ type: { dtype } }, i) =>
      loadElement(k, dtype, width, k.offset(buffers[i]!, k.chunk, cellBytes(dtype))),
    );
    const column = k.convert(I32, k.rem(k.chunk, k.index(columns)));
    const columnIndex = (): LoopValue => {
      let value = k.splat(column, width);
      for (let lane = 1; lane < width; lane++) value = k.insert(value, k.add(column, k.i32(lane)), lane);
      return value;
    };
    const value = lowering.value({ k, attrs: node.attrs, result: result.type, lanes: width, columnIndex }, operands);
    storeElement(k, value, result.dtype, k.offset(buffers[inputs.length]!, k.chunk, cellBytes(result.dtype)));
  };
  const kernels = [lanes, 1].map((width) =>
    buildKernel(op.name, inputs.length + 1, (k, buffers) => generate(k, buffers, width)),
  );
  const count = elementCount(result.shape);
  for (let at = 0; at < count;) {
    const whole = (at % columns) + lanes <= columns;
    evaluateKernel(kernels[whole ? 0 : 1]!, placement.memory, at, 0, [...bases, resultAt]);
    at += whole ? lanes : 1;
  }
  return [decodeTensor(result.type, new Uint8Array(placement.memory, resultAt, storageBytes(result.type)))];
}

function checkCase(
  op: OpDef,
  opCase: OpCase,
  seed: number,
  run: (node: Node, inputs: readonly HostTensor[]) => HostTensor[],
): void {
  const inputs = randomInputs(opCase, seededRandom(seed));
  const graph = graphOf(op, opCase.inputs, opCase.attrs);
  const { node } = graph.results[0]!;
  if (node.op !== op) return;
  const expected = interpret(graph, inputs);
  run(node, inputs).forEach((actual, i) => {
    const error = relativeError(hostValues(actual), hostValues(expected[i]!));
    const tolerance = op.tolerance ?? 1e-5;
    assert.ok(error <= tolerance, `${op.name}, seed ${seed}, result ${i}: relative error ${error}`);
  });
}

/** Runs an op's kernels by each of its schedules, and compares their bits with those of the first. */
function checkSchedules(op: OpDef, opCase: OpCase, seed: number): void {
  const inputs = randomInputs(opCase, seededRandom(seed));
  const { node } = graphOf(op, opCase.inputs, opCase.attrs).results[0]!;
  if (node.op !== op) return;
  let count = 1;
  const resultsBy = (schedule: number) =>
    runKernels(op, node, inputs, 8, (candidates) => {
      count = candidates.length;
      return candidates[schedule]!;
    }).map(hostValues);
  const first = resultsBy(0);
  for (let schedule = 1; schedule < count; schedule++) {
    assert.deepEqual(resultsBy(schedule), first, `${op.name}, seed ${seed}, schedule ${schedule}`);
  }
}

for (const op of SAMPLED_OPS) {
  if (op.lowering.kind === "kernel") {
    test(`${op.name}: all schedules give the same bits`, () => {
      for (const seed of SEEDS) checkSchedules(op, drawCase(op, seed), seed);
    });
    for (const lanes of [4, 8, 16]) {
      test(`${op.name}: kernels of ${lanes} lanes compute the reference`, () => {
        for (const seed of SEEDS) {
          checkCase(op, drawCase(op, seed), seed, (node, inputs) => runKernels(op, node, inputs, lanes));
        }
      });
    }
  }
  if (op.lowering.kind === "elementwise") {
    for (const lanes of [1, 4, 16]) {
      test(`${op.name}: ${lanes} lanes compute the reference`, () => {
        for (const seed of SEEDS) {
          checkCase(op, drawCase(op, seed), seed, (node, inputs) => runElementwise(op, node, inputs, lanes));
        }
      });
    }
  }
}

/** Cases that cross the borders of chunks, vectors and dtypes, which the small samples do not. */
const LARGE: readonly (readonly [op: OpDef, opCase: OpCase])[] = (
  ["f32", "f64", "bf16", "f16", "i32", "i8"] as const
).flatMap((dtype) => [
  [OPS.transpose, { inputs: [{ dtype, shape: [97, 103] }], attrs: { permutation: [1, 0] } }],
  [OPS.transpose, { inputs: [{ dtype, shape: [2, 19, 3, 13] }], attrs: { permutation: [0, 2, 3, 1] } }],
  [OPS.transpose, { inputs: [{ dtype, shape: [3, 70, 50] }], attrs: { permutation: [1, 0, 2] } }],
  [OPS.slice, { inputs: [{ dtype, shape: [3, 9000] }], attrs: { starts: [1, 3], stops: [3, 8998] } }],
  [OPS.slice, { inputs: [{ dtype, shape: [4000, 3] }], attrs: { starts: [1, 0], stops: [3999, 2] } }],
  [OPS.pad, { inputs: [{ dtype, shape: [1, 8999] }], attrs: { low: [1, 1], high: [0, 1], value: 2 } }],
  [
    OPS.concat,
    {
      inputs: [
        { dtype, shape: [2, 8191] },
        { dtype, shape: [2, 2] },
      ],
      attrs: { axis: 1 },
    },
  ],
  [
    OPS.gather,
    {
      inputs: [
        { dtype, shape: [9, 300] },
        { dtype: "i32", shape: [60] },
      ],
      attrs: {},
      ranges: [
        [-2, 2],
        [0, 8],
      ],
    },
  ],
]);

test("layout kernels are right across the borders of their chunks", () => {
  for (const [op, opCase] of LARGE) checkCase(op, opCase, 1, (node, inputs) => runKernels(op, node, inputs));
});

test("an index outside is kept inside by kernels", () => {
  const { node } = graphOf(
    OPS.gather,
    [
      { dtype: "f32", shape: [3, 2] },
      { dtype: "i32", shape: [3] },
    ],
    {},
  ).results[0]!;
  const table: HostTensor = { type: node.inputs[0]!.type, data: Float64Array.of(1, 2, 3, 4, 5, 6) };
  const ids: HostTensor = { type: node.inputs[1]!.type, data: Float64Array.of(-7, 3, 2 ** 31 - 1) };
  const [rows] = runKernels(OPS.gather, node, [table, ids]);
  assert.deepEqual(Array.from(rows!.data), [1, 2, 5, 6, 5, 6]);
});
