// Training in native code: the same bits for every number of threads, and the losses of the other targets.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createDevice, searchTools } from "@fidelity/alex/node";
import type { Device } from "@fidelity/core";
import { train } from "./index.ts";
import type { TrainProgress } from "./index.ts";
import { tinyRun } from "./testing.ts";

const skip = searchTools().missing.length > 0 && "needs LLVM 19 (tools/setup.sh)";
const cache = mkdtempSync(join(tmpdir(), "fidelity-native-train-"));
after(() => rmSync(cache, { recursive: true }));

/** A device whose libraries lie away from the user's. */
function nativeDevice(threads: number): Device {
  const before = process.env.FIDELITY_CACHE_DIR;
  process.env.FIDELITY_CACHE_DIR = cache;
  try {
    return createDevice({ threads, target: "native" });
  } finally {
    if (before === undefined) delete process.env.FIDELITY_CACHE_DIR;
    else process.env.FIDELITY_CACHE_DIR = before;
  }
}

async function losses(
  architecture: "matmul-free" | "llama",
  device: Device,
  estimator = "straight-through",
): Promise<number[]> {
  const seen: number[] = [];
  const onProgress = ({ loss }: TrainProgress): void => void seen.push(loss);
  const run = tinyRun(architecture, 8);
  await train({ ...run, settings: { ...run.settings, estimator }, device, onProgress });
  await device.close();
  return seen;
}

for (const architecture of ["matmul-free", "llama"] as const) {
  test(`a ${architecture} model has the same losses with 1, 2 and 3 threads, and those of wasm`, { skip }, async () => {
    const [one, two, three] = [
      await losses(architecture, nativeDevice(1)),
      await losses(architecture, nativeDevice(2)),
      await losses(architecture, nativeDevice(3)),
    ];
    assert.equal(one.length, 8);
    assert.deepEqual(two, one);
    assert.deepEqual(three, one);
    const wasm = await losses(architecture, createDevice({ threads: 1 }));
    one.forEach((loss, i) => assert.ok(Math.abs(loss - wasm[i]) < 1e-3, `step ${i}: ${loss} and ${wasm[i]}`));
  });
}

test("an estimator with a learned scale has the losses of wasm", { skip }, async () => {
  const native = await losses("matmul-free", nativeDevice(1), "stretched-elastic");
  const wasm = await losses("matmul-free", createDevice({ threads: 1 }), "stretched-elastic");
  native.forEach((loss, i) => assert.ok(Math.abs(loss - wasm[i]) < 1e-3, `step ${i}: ${loss} and ${wasm[i]}`));
});
