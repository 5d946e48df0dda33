// A model with a vocabulary that is large beside its width: gradients of embedding and head stay rows and factors in the
// step program, which takes the steps of dense gradients in a fraction of their memory.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createDevice, searchTools } from "@fidelity/alex/node";
import type { Device } from "@fidelity/core";
import { relativeError } from "@fidelity/core/testing";
import { createModel, fillParameter, namedParameters } from "@fidelity/models";
import { GRADIENT_FORMS, TrainSettingError, trainSettings, TrainStep } from "./index.ts";
import type { GradientForm } from "./index.ts";

const device = createDevice({ threads: 2 });
after(() => device.close());

/** Eight blocks of rows for each of embedding and head. */
const SIZES = { dim: 64, hiddenDim: 64, layerCount: 1, vocabSize: 8000 };
const settings = { steps: 3, batchSize: 2, contextLength: 8, seed: 7, learningRate: 0.02 };
const BATCHES = [0, 1, 2].map((at) => Int32Array.from({ length: 16 }, (_, i) => (i * i * 31 + at * 7) % 500));

interface Taken {
  readonly arenaBytes: number;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** Parameters and moments by path. */
  readonly learned: ReadonlyMap<string, Float32Array>;
}

async function takeSteps(on: Device, gradients: GradientForm, tiedEmbeddings: boolean): Promise<Taken> {
  const model = createModel({ architecture: "matmul-free", ...SIZES, tiedEmbeddings });
  const step = await TrainStep.compile(on, model, trainSettings({ ...settings, gradients }));
  for (const { path, leaf } of namedParameters(model.parameters)) {
    fillParameter(leaf, path, settings.seed, step.parameters.get(path)!.f32());
  }
  const [losses, norms]: [number[], number[]] = [[], []];
  for (const [i, tokens] of BATCHES.entries()) {
    step.tokens.i32().set(tokens);
    step.targets.i32().set(tokens.map((token) => (token * 3) % SIZES.vocabSize));
    await step.run(i + 1, settings.learningRate);
    losses.push(step.loss);
    norms.push(step.gradientNorm);
  }
  const groups = [["", step.parameters] as const, ...step.moments];
  const learned = new Map(
    groups.flatMap(([name, group]) => [...group].map(([path, tensor]) => [`${name} ${path}`, tensor.f32().slice()])),
  );
  const { arenaBytes } = step.executable;
  step.free();
  for (const tensor of step.parameters.values()) tensor.free();
  return { arenaBytes, losses, norms, learned };
}

const known = new Map<string, Promise<Taken>>();

/** The steps on wasm, taken once for all tests. */
function taken(gradients: GradientForm, tied: boolean): Promise<Taken> {
  const key = `${gradients} ${String(tied)}`;
  const found = known.get(key) ?? takeSteps(device, gradients, tied);
  known.set(key, found);
  return found;
}

function assertSame(actual: Taken, expected: Taken): void {
  assert.ok(relativeError(actual.losses, expected.losses) < 1e-5, `losses ${actual.losses.join()}`);
  assert.ok(relativeError(actual.norms, expected.norms) < 1e-4, `norms ${actual.norms.join()}`);
  // Where a gradient is nearly zero, rounding decides on the sign of Adam's first steps.
  for (const [path, values] of expected.learned) {
    const other = actual.learned.get(path)!;
    const off = values.filter((value, i) => Math.abs(value - other[i]) > 1e-4).length;
    assert.ok(off <= values.length / 1000, `${path}: ${off} of ${values.length} values differ`);
  }
}

for (const tied of [false, true]) {
  test(`${tied ? "tied" : "own"} head: kept in form, gradients take the dense steps in a third of the memory`, async () => {
    const dense = await taken("dense", tied);
    const exact = await taken("exact", tied);
    assertSame(exact, dense);
    assert.ok(exact.arenaBytes < dense.arenaBytes / 3, `${exact.arenaBytes} of ${dense.arenaBytes} bytes`);
  });
}

const skip = searchTools().missing.length > 0 && "needs LLVM 19 (tools/setup.sh)";

test("native code takes the same steps", { skip }, async () => {
  const native = createDevice({ threads: 2, target: "native" });
  assertSame(await takeSteps(native, "exact", true), await taken("exact", true));
  await native.close();
});

test("lazy rows: an embedding keeps the rows that no batch has, and their moments", async () => {
  const lazy = await taken("lazy", false);
  const exact = await taken("exact", false);
  const tokens = new Set(BATCHES.flatMap((batch) => [...batch]));
  const model = createModel({ architecture: "matmul-free", ...SIZES });
  const start = new Float32Array(SIZES.vocabSize * SIZES.dim);
  fillParameter(namedParameters(model.parameters)[0].leaf, "embedding.weight", settings.seed, start);
  const row = (values: Float32Array, at: number): Float32Array => values.subarray(at * SIZES.dim, (at + 1) * SIZES.dim);
  const [learned, moments] = [lazy.learned.get(" embedding.weight")!, lazy.learned.get("first embedding.weight")!];
  for (let at = 0; at < SIZES.vocabSize; at++) {
    const moved = !row(learned, at).every((value, i) => value === row(start, at)[i]);
    assert.equal(moved, tokens.has(at), `row ${at}`);
    assert.equal(
      row(moments, at).some((value) => value !== 0),
      tokens.has(at),
      `moments of row ${at}`,
    );
  }
  // Decay moves the others in the exact step.
  assert.notDeepEqual(row(exact.learned.get(" embedding.weight")!, 7999), row(start, 7999));
  assert.equal(lazy.losses[0], exact.losses[0]);
});

test("a form of gradients that does not exist is named", () => {
  const given = { ...settings, gradients: "sparse" as GradientForm };
  assert.throws(() => trainSettings(given), TrainSettingError);
  assert.throws(() => trainSettings(given), new RegExp(GRADIENT_FORMS.join(", ")));
});
