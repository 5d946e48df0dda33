// What a model needs is said before anything of it is read.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { createModel, namedParameters } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { OutOfRoomError } from "./index.ts";
import { memoryFit, requireRoomFor } from "./index.node.ts";
import { requireExpandedRoom } from "./memory-fit.ts";

function llama(dim: number, layerCount: number, contextLength: number) {
  const sizes = { dim, hiddenDim: dim, layerCount, headCount: 8, keyValueHeadCount: 8, vocabSize: 256, contextLength };
  const model: Model = createModel({ architecture: "llama", ...sizes });
  const tensors = namedParameters(model.parameters).map(({ path, leaf }) => {
    return { name: path, component: "", dtype: "f32", shape: leaf.shape, sizeBytes: 0 };
  });
  return { path: "the model", model, tensors };
}

test("a context that has no room is refused, with the one that has", () => {
  const info = llama(1024, 8, 1 << 24);
  requireRoomFor(info, "wasm", 64);
  assert.throws(
    () => requireRoomFor(info, "wasm", 1 << 24),
    (error) => {
      assert.ok(error instanceof OutOfRoomError);
      assert.match(error.message, /^needs [\d.]+ TiB, have [\d.]+ [MG]iB\n/);
      const most = Number(/--context (\d+)/.exec(error.message)![1]);
      const { parameterBytes, bytesPerToken } = memoryFit(info, "wasm");
      assert.ok(parameterBytes + (most + 1) * bytesPerToken < 2 ** 32 + 2 * bytesPerToken);
      return true;
    },
  );
});

test("so do several generations at a time, whose room is a part of the plan", () => {
  const info = llama(256, 8, 1 << 24);
  const { parameterBytes, bytesPerToken, availableBytes } = memoryFit(info, "wasm");
  const context = Math.max(16, Math.floor((availableBytes - parameterBytes) / bytesPerToken / 8));
  requireRoomFor(info, "wasm", context);
  assert.throws(
    () => requireRoomFor(info, "wasm", context, { parallel: 64 }),
    (error) =>
      error instanceof OutOfRoomError && /^needs [^]*64 generations at a time[^]*parallel: 1/.test(error.message),
  );
});

test("what a target reaches is what its devices have", async () => {
  for (const [target, expected] of [
    ["wasm", 2 ** 32],
    ["native", 2 ** 34],
    ["interpreter", Infinity],
    ["cuda", Infinity],
  ] as const) {
    assert.equal(memoryFit(llama(64, 1, 64), target).reachBytes, expected);
  }
  const device = createDevice({ target: "wasm", threads: 1 });
  assert.equal(memoryFit(llama(64, 1, 64), device.target).reachBytes, device.arena.maximumBytes);
  await device.close();
});

test("weights that have no room are refused whatever the context", () => {
  assert.throws(() => requireRoomFor(llama(16384, 8, 64), "wasm", 16), /the model needs more memory than there is/);
});

test("weights in blocks that have no room in float32 are refused before they are expanded, with what has room", () => {
  const { tensors, ...info } = llama(4096, 12, 64);
  const stored = { ...info, tensors: tensors.map((tensor) => ({ ...tensor, dtype: "q4_0" })) };
  assert.ok(memoryFit(stored, "wasm").parameterBytes < 2 ** 30);
  assert.throws(
    () => requireExpandedRoom(stored, "wasm"),
    (error) => error instanceof OutOfRoomError && /in float32\n {2}try: .*--rounded-activations/.test(error.message),
  );
  requireExpandedRoom(llama(64, 1, 64), "wasm"); // which has none in blocks
});
