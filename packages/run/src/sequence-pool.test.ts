// Pools of sequences in compiled programs: a batch of different lengths on two threads against sessions, one by one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import {
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  openSequencePool,
  openSession,
  packParameters,
  parameterTypes,
} from "@fidelity/models";
import type { CacheDtype } from "@fidelity/core";
import type { PlainConfig, Sequence, Session } from "@fidelity/models";

const TOLERANCE = 1e-4;
const sizes = { dim: 32, layerCount: 2, vocabSize: 50, contextLength: 128 };
const configs: readonly PlainConfig[] = [
  { architecture: "bitnet", ...sizes, hiddenDim: 48, headCount: 4, keyValueHeadCount: 2 },
  { architecture: "gemma2", ...sizes, hiddenDim: 48, headCount: 4, keyValueHeadCount: 2, window: 20 },
  { architecture: "mamba", ...sizes, pattern: "MA", attentionHeadCount: 2 },
];

const cases: readonly (readonly [config: PlainConfig, cacheDtype: CacheDtype, tolerance: number])[] = [
  ...configs.map((config) => [config, "f32", TOLERANCE] as const),
  // A sum in another order may round to the next f16.
  [configs[1], "f16", 50 * TOLERANCE],
];

for (const [config, cacheDtype, tolerance] of cases) {
  const name = `${String(config.architecture)}, ${cacheDtype}`;
  test(`${name}: a batch of sequences gives the logits of a session for each of them`, async () => {
    const device = createDevice({ threads: 2, target: "wasm" });
    const model = createModel(config);
    const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
    const values = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
      fillParameter(specs.get(path)!, path, 1, tensor.f32()),
    );
    const parameters = await packParameters(model, values, device);
    const pool = openSequencePool(model, parameters, device, { lanes: 4, capacity: 512, pageSize: 32, cacheDtype });
    const sequences: Sequence[] = [];
    const sessions: Session[] = [];
    const largest = (expected: Float32Array, got: Float32Array): number =>
      expected.reduce((most, value, i) => Math.max(most, Math.abs(value - got[i])), 0);
    for (const length of [70, 3, 40]) {
      const text = Array.from({ length }, (_, i) => (i * i + 3 * length) % 50);
      sequences.push(pool.open(text));
      sessions.push(await openSession(model, parameters, device, { cacheDtype }));
      const logits = (await pool.read(sequences.at(-1)!)).slice();
      assert.ok(largest(await sessions.at(-1)!.prefill(text), logits) < tolerance, `a prompt of ${length}`);
    }
    for (const active of [[0, 1, 2], [2, 0], [1, 2, 0], [1]]) {
      for (const i of active) pool.append(sequences[i], 7 * i + active.length);
      const batch = (await pool.step(active.map((i) => sequences[i]))).map((logits) => logits.slice());
      for (const [n, i] of active.entries()) {
        assert.ok(largest(sessions[i].step(7 * i + active.length), batch[n]) < tolerance, `sequence ${i}`);
      }
    }
    pool.close();
    await device.close();
  });
}
