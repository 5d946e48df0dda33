// Tensors for measurements have pages of their own, where the system tells.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { tensorType } from "@fidelity/core";
import { createDevice } from "./device.node.ts";
import { writtenTensor } from "./written-tensor.ts";

const MIB = 2 ** 20;

/** Memory of files and of what is shared between threads, WebAssembly's among it, is counted too. */
function residentBytes(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
}

test("a tensor that was written is in memory, and zero", { skip: process.platform !== "linux" }, async () => {
  const device = createDevice({ target: "wasm", threads: 1 });
  try {
    const before = residentBytes();
    const tensor = writtenTensor(device, tensorType("f32", [24 * MIB]));
    assert.ok(residentBytes() - before > 48 * MIB, "most of 96 MiB came in");
    assert.ok(tensor.f32().every((value) => value === 0));
  } finally {
    await device.close();
  }
});
