// Explanations agree with the programs that they are of, and with what is known of the work by other ways.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  buildKernel,
  F32,
  linearRecurrence,
  loopType,
  matmul,
  mul,
  quantizeActivations,
  rmsNorm,
  scan,
  silu,
  softmax,
  storageBytes,
  tensorType,
  ternaryLinear,
  trace,
  traceOnce,
} from "@fidelity/core";
import type { Graph, Tensor } from "@fidelity/core";
import { compileStages } from "../compile.ts";
import type { Ceilings } from "./ceilings.ts";
import { explainProgram } from "./explain.ts";
import { bandwidthAt, ratesOf, reuseDistances } from "./predict.ts";
import { foldUnits } from "./sequences.ts";
import { tallyCall } from "./tally.ts";
import { formatExplanation } from "./text.ts";

const TARGET = { lanes: 4, joinsVectors: true } as const;

const RATES = {
  bandwidths: [
    { sizeBytes: 2 ** 18, bytesPerSecond: 100e9 },
    { sizeBytes: 2 ** 27, bytesPerSecond: 10e9 },
  ],
  f32PerSecond: 100e9,
  int8PerSecond: 400e9,
};
const CEILINGS: Ceilings = {
  target: "wasm",
  threads: 2,
  one: RATES,
  team: {
    bandwidths: RATES.bandwidths.map((one) => ({ ...one, bytesPerSecond: 2 * one.bytesPerSecond })),
    f32PerSecond: 200e9,
    int8PerSecond: 800e9,
  },
};

function classifier(): Graph {
  const types = [tensorType("f32", [32, 24]), tensorType("f32", [24, 16])] as const;
  return trace("classify", (x, weight) => softmax(matmul(x, weight)), types).graph;
}

/** A layer of the MatMul-free kind. */
function layer(): Graph {
  const types = [tensorType("f32", [8, 64]), tensorType("ternary", [64, 64]), tensorType("f32", [1, 64])] as const;
  return trace(
    "layer",
    (x, weight, hidden) => {
      const y = ternaryLinear(quantizeActivations(rmsNorm(x)), weight);
      const gate = silu(y);
      return linearRecurrence(mul(gate, 0.5) as never, y as never, hidden as never);
    },
    [tensorType("f32", [1, 8, 64]), types[1], types[2]],
  ).graph;
}

test("what a call computes has the name of the function", () => {
  const decay = traceOnce("decay", (x: Tensor) => [mul(mul(x, 0.5), x)] as const);
  const { graph } = trace("step", (x) => decay(silu(x as never))[0], [tensorType("f32", [8, 16])]);
  const { units } = explainProgram(compileStages(graph, { target: TARGET }), { ceilings: CEILINGS });
  assert.deepEqual(
    units.map(({ title }) => title),
    ["silu, decay"],
  );
});

test("sums over calls, units and kernels are the same", () => {
  for (const graph of [classifier(), layer()]) {
    const compiled = compileStages(graph, { target: TARGET });
    const explanation = explainProgram(compiled, { ceilings: CEILINGS });
    const { totals, calls, units, stages, kernels, buffers } = explanation;
    const bytes = calls.reduce((sum, call) => sum + call.bytes, 0);
    assert.equal(totals.bytes, bytes);
    assert.equal(
      units.reduce((sum, unit) => sum + unit.bytes, 0),
      bytes,
    );
    assert.deepEqual(
      units.flatMap((unit) => unit.calls).toSorted((a, b) => a - b),
      calls.map(({ id }) => id),
    );
    assert.deepEqual(
      stages.flatMap((stage) => stage.calls),
      calls.map(({ id }) => id),
    );
    assert.equal(kernels.length, compiled.program.kernels.length);
    assert.equal(buffers.length, compiled.program.buffers.length);
    for (const call of calls) {
      const own = call.arguments.reduce((sum, { readBytes, writtenBytes }) => sum + readBytes + writtenBytes, 0);
      assert.equal(call.bytes, own);
      for (const { buffer, readBytes, writtenBytes } of call.arguments) {
        assert.ok(Math.max(readBytes, writtenBytes) <= buffers[buffer]!.sizeBytes);
      }
      assert.ok(call.predictedSeconds! > 0);
    }
    assert.deepEqual(JSON.parse(JSON.stringify(explanation)), explanation);
  }
});

test("a product's work is what its dims say, and its inputs are read whole", () => {
  const { calls, buffers } = explainProgram(compileStages(classifier(), { target: TARGET }));
  const product = calls.filter(({ label }) => /matmul|row_product/.test(label));
  const f32 = product.reduce((sum, { operations }) => sum + operations.f32, 0);
  assert.ok(f32 >= 2 * 32 * 24 * 16 && f32 < 2.5 * 32 * 24 * 16, String(f32));
  const read = new Set(product.flatMap((call) => call.arguments.filter((a) => a.readBytes > 0).map((a) => a.buffer)));
  assert.ok([...read].filter((id) => buffers[id]!.kind === "parameter").length >= 2);
});

test("ternary products count as int8, and quantisation joins the loop before it", () => {
  const { calls, units, layouts } = explainProgram(compileStages(layer(), { target: TARGET }));
  const int8 = calls.reduce((sum, { operations }) => sum + operations.int8, 0);
  assert.equal(int8, 2 * 8 * 64 * 64);
  const normalised = units.find(({ title }) => title.includes("rms_norm"))!;
  assert.equal(normalised.kind, "fused");
  assert.equal(normalised.ops.at(-1)!.op, "quantize_activations");
  assert.ok(normalised.bytesApart > normalised.bytes);
  assert.equal(layouts.find(({ what }) => what.startsWith("ternary weights"))!.count, 1);
  assert.equal(layouts.find(({ what }) => what.includes("int8 codes, in the loop"))!.count, 1);
});

test("loops multiply what is in them", () => {
  const { graph } = trace(
    "steps",
    (x, xs) => scan((h: typeof x, row) => ({ carry: mul(h, row as typeof x), y: h }), x, xs).carry,
    [tensorType("f32", [64]), tensorType("f32", [10, 64])],
  );
  const { calls, stages } = explainProgram(compileStages(graph, { target: TARGET }));
  const inner = calls.filter(({ repeat }) => repeat === 10);
  assert.ok(inner.length > 0);
  assert.ok(stages.some(({ loops }) => loops.length === 1 && loops[0] === 10));
  const multiplied = inner.filter(({ operations }) => operations.f32 > 0);
  assert.equal(
    multiplied.reduce((sum, { operations }) => sum + operations.f32, 0),
    640,
  );
});

test("the memory plan's figures follow from the lives of buffers", () => {
  const { memory, buffers } = explainProgram(compileStages(layer(), { target: TARGET }));
  const placed = buffers.filter(({ kind }) => kind === "intermediate");
  assert.equal(
    memory.totalBytes,
    placed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  );
  assert.ok(memory.liveBytesMax <= memory.arenaBytes);
  for (const a of placed) {
    assert.ok(a.offsetBytes! + a.sizeBytes <= memory.arenaBytes);
    for (const b of placed) {
      if (a.id >= b.id || a.last! < b.first! || b.last! < a.first!) continue;
      const apart = a.offsetBytes! + a.sizeBytes <= b.offsetBytes! || b.offsetBytes! + b.sizeBytes <= a.offsetBytes!;
      assert.ok(apart, `${a.name} and ${b.name} overlap`);
    }
  }
});

test("donated inputs are found by their names", () => {
  const { graph } = trace("update", (state) => mul(state, 2), [tensorType("f32", [16])]);
  const compiled = compileStages(graph, { target: TARGET, donations: [{ parameter: 0, result: 0 }] });
  assert.deepEqual(explainProgram(compiled).donations, [{ parameter: "0", sizeBytes: 64, isInPlace: true }]);
  assert.equal(storageBytes(graph.parameters[0]!.type), 64);
});

test("a kernel is counted as it runs: bounds by chunk, tails, branches, and data by assumption", () => {
  const kernel = buildKernel("sum", 2, (k, [from, to]) => {
    const first = k.mul(k.chunk, k.index(10));
    const end = k.min(k.index(25), k.add(first, k.index(10)));
    const [total] = k.for(first, end, 1, [k.constant(F32, 0)], (i, [sum]) => [
      k.add(sum!, k.load(F32, k.offset(from!, i, 4))),
    ]);
    k.if(
      k.compare("eq", k.chunk, k.index(2)),
      () => [],
      () => {
        k.store(total!, to!);
        return [];
      },
    );
  });
  const { f32, loadedBytes, storedBytes, isExact } = tallyCall(kernel, 3);
  assert.deepEqual(
    { f32, loadedBytes, storedBytes, isExact },
    { f32: 25, loadedBytes: [100, 0], storedBytes: [0, 8], isExact: true },
  );

  const byData = buildKernel("rows", 2, (k, [count, values]) => {
    const rows = k.convert(loopType("index"), k.load(loopType("i32"), count!));
    k.loop(0, rows, 1, (row) => void k.load(loopType("f32", 4), k.offset(values!, row, 16)));
  });
  assert.equal(tallyCall(byData, 1).isExact, false);
  assert.deepEqual(tallyCall(byData, 1, { assumedIndex: 7 }).loadedBytes, [4, 112]);
});

test("what was touched lately comes from a cache", () => {
  const [first, second] = reuseDistances([
    [
      { buffer: 0, bytes: 100 },
      { buffer: 1, bytes: 10 },
    ],
    [
      { buffer: 1, bytes: 10 },
      { buffer: 2, bytes: 50 },
    ],
  ]);
  assert.deepEqual(first, [60, 0]);
  assert.equal(second![0], 0);
  assert.equal(second![1], 110);
  assert.equal(bandwidthAt(RATES, 1000), 100e9);
  assert.equal(bandwidthAt(RATES, 2 ** 30), 10e9);
  const between = bandwidthAt(RATES, 2 ** 23);
  assert.ok(between > 10e9 && between < 100e9);
  assert.equal(ratesOf(CEILINGS, 1).f32PerSecond, 100e9);
  assert.equal(ratesOf(CEILINGS, 8).f32PerSecond, 200e9);
});

test("equal layers are folded, and the text names what was decided", () => {
  const square = { weight: tensorType("f32", [32, 32]) };
  const inputs: readonly [unknown, unknown] = [{ blocks: [square, square, square] }, tensorType("f32", [4, 32])];
  const { graph } = trace(
    "deep",
    (tree, x) => {
      const { blocks } = tree as { blocks: readonly { weight: Tensor<readonly [32, 32], "f32"> }[] };
      return blocks.reduce((y, { weight }) => silu(rmsNorm(matmul(y, weight))), x as Tensor<readonly [4, 32], "f32">);
    },
    inputs,
  );
  const explanation = explainProgram(compileStages(graph, { target: TARGET }), { ceilings: CEILINGS });
  const folded = foldUnits(explanation).find(({ times }) => times > 1)!;
  assert.ok(folded.times >= 2 && folded.group.startsWith("blocks."));
  const text = formatExplanation(explanation);
  for (const part of ["Fusion", "blocks.0", "Memory plan", "items 0 to", "Ceilings", "at least", "op/byte"]) {
    assert.ok(text.includes(part), part);
  }
});
