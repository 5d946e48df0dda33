// Compensated optimisers against the same optimiser in float64, step after step through the interpreter's storage;
// and against what plain rounding does to steps that are smaller than half a unit in the last place.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, ShapeMismatchError, tensorType, trace, TreeMismatchError } from "@fidelity/core";
import type { DeviceTensor, Tensor } from "@fidelity/core";
import { bf16Bits, bf16Value } from "@fidelity/core";
import { adamW } from "../optimizers/adamw.ts";
import type { Optimizer } from "../optimizers/optimizer.ts";
import { sgd } from "../optimizers/sgd.ts";
import { compensated, rounded } from "./compensated.ts";

type Storage = "f32" | "f64" | "bf16";
const SIZE = 4;

function write(tensor: DeviceTensor, values: readonly number[]): void {
  const { buffer, byteOffset } = tensor.bytes();
  if (tensor.type.dtype === "bf16") new Uint16Array(buffer, byteOffset, values.length).set(values.map(bf16Bits));
  else if (tensor.type.dtype === "f64") new Float64Array(buffer, byteOffset, values.length).set(values);
  else tensor.f32().set(values);
}

function read(tensor: DeviceTensor): number[] {
  const { buffer, byteOffset } = tensor.bytes();
  if (tensor.type.dtype === "bf16") return Array.from(new Uint16Array(buffer, byteOffset, SIZE), bf16Value);
  return tensor.type.dtype === "f64" ? [...new Float64Array(buffer, byteOffset, SIZE)] : [...tensor.f32()];
}

/** Runs `steps` steps on parameters of ones, with gradients (i + 1) scale, and gives the parameters. */
async function train(optimizer: Optimizer, dtype: Storage, steps: number, scale: number, rate: number) {
  const gradient = dtype === "f64" ? "f64" : "f32";
  const types = { w: tensorType(dtype, [SIZE]) };
  const state = optimizer.init(types);
  const scalar = tensorType(gradient, []);
  const update = (p: never, s: never, g: Tensor, learningRate: Tensor, step: Tensor): unknown =>
    optimizer.update(p, { w: g } as never, s, { learningRate, step });
  const inputs = [types, state, tensorType(gradient, [SIZE]), scalar, scalar];
  const { graph, inputPaths } = trace("update", update as never, inputs as never);
  const count = inputPaths.length - 3;
  const donations = Array.from({ length: count }, (_, i) => ({ parameter: i, result: i }));
  const device = createInterpreter();
  const program = await device.compile(graph, { donations });
  const tensors = graph.parameters.map(({ type }) => device.tensor(type));
  program.bind(tensors, tensors.slice(0, count));
  write(tensors[0]!, new Array<number>(SIZE).fill(1));
  write(
    tensors[count]!,
    Array.from({ length: SIZE }, (_, i) => (i + 1) * scale),
  );
  write(tensors[count + 1]!, [rate]);
  for (let step = 1; step <= steps; step++) {
    write(tensors[count + 2]!, [step]);
    program.run();
  }
  return read(tensors[0]!);
}

const plain = { sgd: () => sgd(), adamW: () => adamW({ weightDecay: 0 }) } as const;

for (const [name, make] of Object.entries(plain)) {
  test(`${name} in bf16 loses small steps when rounded, and keeps them when compensated`, async () => {
    // A unit in the last place below 1 is 2^-8; steps are 2^-12 and smaller.
    const [scale, rate] = name === "sgd" ? [2 ** -14, 1] : [1, 2 ** -13];
    const want = await train(make(), "f64", 60, scale, rate);
    const lost = await train(rounded(make()), "bf16", 60, scale, rate);
    const kept = await train(compensated(make()), "bf16", 60, scale, rate);
    assert.deepEqual(lost, [1, 1, 1, 1]);
    kept.forEach((value, i) =>
      assert.ok(Math.abs(value - want[i]!) <= 2 ** -9 + 60 * 2 ** -19, `${value}, ${want[i]}`),
    );
  });

  test(`${name} in float32 is float64's result rounded once when compensated`, async () => {
    const [scale, rate] = name === "sgd" ? [2 ** -27, 1] : [1, 2 ** -27];
    const want = await train(make(), "f64", 40, scale, rate);
    const alone = await train(make(), "f32", 40, scale, rate);
    const kept = await train(compensated(make()), "f32", 40, scale, rate);
    assert.ok(Math.abs(alone[0]! - want[0]!) > 2 ** -24, "float32 alone is off by more than a unit");
    kept.forEach((value, i) => assert.ok(Math.abs(value - want[i]!) <= 2 ** -24, `${value}, ${want[i]}`));
  });
}

test("float64 parameters and a state of another structure are refused", () => {
  const wide = { w: tensorType("f64", [2]) };
  assert.throws(() => compensated(sgd()).init(wide), ShapeMismatchError);
  const narrow = { w: tensorType("f32", [2]) };
  const update = (p: never, g: never, learningRate: Tensor, step: Tensor): unknown =>
    compensated(sgd()).update(p, g, {}, { learningRate, step });
  const scalar = tensorType("f32", []);
  assert.throws(() => trace("bad", update as never, [narrow, narrow, scalar, scalar] as never), TreeMismatchError);
});
