// The device that is a GPU: what it says where there is none; and where there is one, tensors in place, donations, loops,
// constants, and what is refused.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { tensorType, trace, add, matmul, mul, softmax } from "@fidelity/core";
import { compileGraph } from "../../compile.ts";
import { createDevice } from "../../runtime/device.node.ts";
import { BindError, DeviceClosedError } from "../../runtime/errors.ts";
import {
  CHAIN_SIGNATURE,
  chainProgram,
  decayProgram,
  f32Type,
  loopProgram,
  signatureOf,
} from "../../runtime/testing.ts";
import { TARGETS } from "../index.node.ts";
import type { CudaDevice } from "./device.node.ts";
import { compileProgramToPtx } from "./compile.node.ts";
import { CudaUnavailableError } from "./errors.ts";
import { CUDA_VECTORS } from "./machine.ts";
import { temporaryPtxDirectory, whyNoCuda, whyNoPtx } from "./testing.node.ts";

const skip = whyNoCuda();
let directory: ReturnType<typeof temporaryPtxDirectory>;
before(() => void (directory = temporaryPtxDirectory()));
after(() => directory.remove());

const LENGTHS = [256, 4096];
const LOOPS = { length: 32, outer: 3, inner: 2 };
const loops = loopProgram("loops", LOOPS.length, LOOPS.outer, LOOPS.inner, 2);
const decay = decayProgram("decay", 64);
const VECTOR = tensorType("f32", [8]);
const classifyTypes = [tensorType("f32", [4, 8]), tensorType("f32", [8, 3])] as const;
const classify = trace("classify", (x, weight) => softmax(matmul(x, weight)), classifyTypes).graph;
const two = trace("two", (x, y) => [add(x, y), mul(x, y)], [VECTOR, VECTOR] as const).graph;

test("the programs of these tests are PTX", { skip: whyNoPtx() }, async () => {
  const chains = LENGTHS.map((length) => chainProgram("chain", length, 3));
  const graphs = [classify, two].map((graph) => compileGraph(graph, { target: CUDA_VECTORS, verify: true }));
  for (const program of [...chains, loops, decay, ...graphs]) {
    assert.match(await compileProgramToPtx(program), /\.visible \.entry kernel_0\(/);
  }
});

async function withDevice(use: (device: CudaDevice) => Promise<void>): Promise<void> {
  const device = createDevice({ target: "cuda" });
  try {
    await use(device);
  } finally {
    await device.close();
  }
}

test("where there is no GPU, the error says what is missing", () => {
  assert.equal(TARGETS.cuda.whyNot() === undefined, skip === false);
  if (skip === false) return;
  assert.throws(
    () => createDevice({ target: "cuda" }),
    (error: unknown) => {
      assert.ok(error instanceof CudaUnavailableError);
      assert.ok(error.message.includes("libcuda") || error.message.includes("CUDA"), error.message);
      return true;
    },
  );
});

test("a GPU runs a graph over tensors in place", { skip }, () =>
  withDevice(async (device) => {
    const executable = await device.compile(classify);
    const [x, weight, y] = [...executable.parameterTypes, ...executable.resultTypes].map((type) => device.tensor(type));
    const views = { x: x.f32(), y: y.f32() };
    executable.bind([x, weight], [y]);
    views.x.fill(1);
    executable.run();
    views.y.forEach((value) => assert.ok(Math.abs(value - 1 / 3) < 1e-6));
    weight.f32().forEach((_, i, all) => (all[i] = i % 3 === 1 ? 9 : 0));
    await executable.runAsync();
    assert.ok(views.y[1] > 0.99 && views.y[2] < 0.01);
  }),
);

test("a GPU runs chains through the arena, with constants, whatever is loaded later", { skip }, () =>
  withDevice(async (device) => {
    const runs = [];
    for (const length of LENGTHS) {
      const executable = await device.load(chainProgram("chain", length, 3), CHAIN_SIGNATURE(length));
      const [input, output, total] = [length, length, 1].map((count) => device.tensor(f32Type(count)));
      executable.bind([input], [output, total]);
      input.f32().forEach((_, i, all) => (all[i] = i % 17));
      runs.push({ executable, input, output, total });
    }
    for (const { executable, input, output, total } of runs) {
      executable.run();
      const expected = input.f32().map((value) => (value * 3 + 1) * 2 + 0.5);
      assert.deepEqual(output.f32(), expected);
      assert.equal(
        total.f32()[0],
        expected.reduce((sum, value) => sum + value, 0),
      );
    }
  }),
);

test("a GPU runs loops in loops, and donated tensors are updated", { skip }, () =>
  withDevice(async (device) => {
    const { length } = LOOPS;
    const repeated = await device.load(loops, {
      parameterTypes: [f32Type(length * 6)],
      resultTypes: [f32Type(length * 6), f32Type(6)],
      donations: [],
    });
    const [input, output, totals] = [length * 6, length * 6, 6].map((count) => device.tensor(f32Type(count)));
    input.f32().forEach((_, i, all) => (all[i] = Math.floor(i / length)));
    repeated.bind([input], [output, totals]);
    repeated.run();
    assert.deepEqual(
      [...totals.f32()],
      [0, 1, 2, 3, 4, 5].map((slab) => (slab * 2 + 1) * length),
    );
    const halved = await device.load(decay, {
      ...signatureOf(1, 1, 64),
      donations: [{ parameter: 0, result: 0 }],
    });
    const state = device.tensor(f32Type(64));
    assert.throws(() => halved.bind([state], [device.tensor(f32Type(64))]), BindError);
    halved.bind([state], [state]);
    for (let i = 0; i < 3; i++) halved.run();
    assert.ok(state.f32().every((value) => value === 1.75));
  }),
);

test("a GPU refuses tensors that do not fit, are freed, or are written twice", { skip }, () =>
  withDevice(async (device) => {
    const executable = await device.compile(two);
    assert.throws(() => executable.run(), BindError);
    const [a, b, c, d] = Array.from({ length: 4 }, () => device.tensor(VECTOR));
    assert.throws(() => executable.bind([a], [c, d]), BindError);
    assert.throws(() => executable.bind([a, b], [c, c]), BindError);
    assert.throws(() => executable.bind([a, b], [a, d]), BindError);
    assert.throws(() => executable.bind([a, device.tensor(tensorType("f32", [9]))], [c, d]), BindError);
    executable.bind([a, a], [c, d]);
    executable.bind([a, b], [c, d]);
    const view = b.f32();
    b.free();
    assert.equal(view.length, 0, "views of freed memory are empty");
    assert.throws(() => b.bytes(), BindError);
    assert.throws(() => executable.run(), BindError);
    executable.free();
    assert.throws(() => executable.run(), DeviceClosedError);
    await device.close();
    assert.throws(() => device.tensor(VECTOR), DeviceClosedError);
  }),
);
