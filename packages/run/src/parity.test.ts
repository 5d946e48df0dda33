// Models that others made, with the logits that llama.cpp and an independent float64 calculation give for them
// (shared/data/parity; its README says what is correct). Every one is read in a batch and token by token.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { createInterpreter } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import { logitsOf } from "@fidelity/models";
import { openModel } from "./index.node.ts";

const parity = join(import.meta.dirname, "../../../../shared/data/parity");
const options = { skip: existsSync(parity) ? false : "the reference models are not in this checkout" };

/** The sharpest reference of each model, and how far from it correct results may be. */
const models = [
  { name: "bert", reference: "bert.float.logits.f32", tolerance: 1e-4 },
  { name: "bitnet-f32", reference: "bitnet-f32.logits.f32", tolerance: 1e-3 },
  { name: "deepseek2", reference: "deepseek2.logits.f32", tolerance: 1e-3 },
  { name: "llama-f32", reference: "llama-f32.logits.f32", tolerance: 1e-3 },
  { name: "llama-q4_0", reference: "llama-q4_0.dequant.logits.f32", tolerance: 1e-3 },
  { name: "mamba", reference: "mamba.logits.f32", tolerance: 1e-3 },
] as const;

interface TokenFile {
  readonly tokens: readonly number[];
  readonly continuation?: readonly number[];
}

const wasm = createDevice({ threads: 2 });
after(() => wasm.close());

for (const device of [createInterpreter(), wasm]) {
  describe(`reference logits on ${device.target}`, options, () => {
    for (const { name, reference, tolerance } of models) {
      test(name, async () => {
        const { tokens, continuation = [] } = JSON.parse(
          readFileSync(join(parity, `${name}.json`), "utf8"),
        ) as TokenFile;
        const all = [...tokens, ...continuation];
        const expected = readFloats(join(parity, reference));
        await compare(device, name, [tokens, ...continuation.map((token) => [token])], expected, tolerance);
        const isEncoder = continuation.length === 0; // every token of which sees all others
        if (!isEncoder)
          await compare(
            device,
            name,
            all.map((token) => [token]),
            expected,
            tolerance,
          );
      });
    }
  });
}

async function compare(
  device: Device,
  name: string,
  batches: readonly (readonly number[])[],
  expected: Float32Array,
  tolerance: number,
): Promise<void> {
  using opened = await openModel(join(parity, `${name}.gguf`), device);
  let at = 0;
  let error = 0;
  for await (const rows of logitsOf(opened.model, opened.parameters, device, batches)) {
    for (const value of rows) error = Math.max(error, Math.abs(value - expected[at++]!));
  }
  assert.equal(at, expected.length);
  assert.ok(error <= tolerance, `${batches.length} batches: ${error} from the reference, ${tolerance} allowed`);
}

function readFloats(path: string): Float32Array {
  const bytes = new Uint8Array(readFileSync(path));
  return new Float32Array(bytes.buffer, 0, bytes.byteLength / 4);
}
