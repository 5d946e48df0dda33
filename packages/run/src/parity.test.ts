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

const folder = join(import.meta.dirname, "../../../../shared/data/parity");
const options = { skip: existsSync(folder) ? false : "the reference models are not in this checkout" };

interface Parity {
  readonly name: string;
  readonly reference: string;
  readonly tolerance: number;
  /** Of the root of the mean square; the tolerance unless said. */
  readonly rms?: number;
  readonly exactActivations?: boolean;
}

/**
 * The sharpest reference of each model, and how far from it correct results may be. Activations that are rounded to 8
 * bits are about as far from the exact results as llama.cpp's are: by the model's notes 0.196 at most, 0.0418 in the
 * mean.
 */
const models: readonly Parity[] = [
  { name: "bert", reference: "bert.float.logits.f32", tolerance: 1e-4 },
  { name: "bitnet-f32", reference: "bitnet-f32.logits.f32", tolerance: 1e-3 },
  { name: "deepseek2", reference: "deepseek2.logits.f32", tolerance: 1e-3 },
  { name: "llama-f32", reference: "llama-f32.logits.f32", tolerance: 1e-3 },
  { name: "llama-q4_0", reference: "llama-q4_0.dequant.logits.f32", tolerance: 0.25, rms: 0.0418 },
  { name: "llama-q4_0", reference: "llama-q4_0.dequant.logits.f32", tolerance: 1e-3, exactActivations: true },
  { name: "mamba", reference: "mamba.logits.f32", tolerance: 1e-3 },
];

interface TokenFile {
  readonly tokens: readonly number[];
  readonly continuation?: readonly number[];
}

const wasm = createDevice({ threads: 2 });
after(() => wasm.close());

for (const device of [createInterpreter(), wasm]) {
  describe(`reference logits on ${device.target}`, options, () => {
    for (const parity of models) {
      const { name, reference } = parity;
      test(`${name}${parity.exactActivations === true ? ", activations as they are" : ""}`, async () => {
        const { tokens, continuation = [] } = JSON.parse(
          readFileSync(join(folder, `${name}.json`), "utf8"),
        ) as TokenFile;
        const all = [...tokens, ...continuation];
        const expected = readFloats(join(folder, reference));
        await compare(device, parity, [tokens, ...continuation.map((token) => [token])], expected);
        const isEncoder = continuation.length === 0; // every token of which sees all others
        if (!isEncoder)
          await compare(
            device,
            parity,
            all.map((token) => [token]),
            expected,
          );
      });
    }
  });
}

async function compare(
  device: Device,
  { name, tolerance, rms = tolerance, exactActivations }: Parity,
  batches: readonly (readonly number[])[],
  expected: Float32Array,
): Promise<void> {
  using opened = await openModel(join(folder, `${name}.gguf`), device, { exactActivations });
  let [at, error, squares] = [0, 0, 0];
  for await (const rows of logitsOf(opened.model, opened.parameters, device, batches)) {
    for (const value of rows) {
      const difference = Math.abs(value - expected[at++]!);
      error = Math.max(error, difference);
      squares += difference ** 2;
    }
  }
  assert.equal(at, expected.length);
  const mean = Math.sqrt(squares / at);
  assert.ok(mean <= rms, `${batches.length} batches: ${mean} from the reference in the mean, ${rms} allowed`);
  assert.ok(error <= tolerance, `${batches.length} batches: ${error} from the reference, ${tolerance} allowed`);
}

function readFloats(path: string): Float32Array {
  const bytes = new Uint8Array(readFileSync(path));
  return new Float32Array(bytes.buffer, 0, bytes.byteLength / 4);
}
