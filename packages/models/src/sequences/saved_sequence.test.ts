// What a session has read goes on in a pool, wherever in a page it stands.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import type { PlainConfig } from "../config.ts";
import { createParameters } from "../device_parameters.ts";
import { parameterTypes } from "../parameters.ts";
import { openSession } from "../session.ts";
import { largestError, randomParameters, randomTokens } from "../testing.ts";
import { openSequencePool } from "./sequence_pool.ts";

const small = { dim: 8, hiddenDim: 8, layerCount: 1, vocabSize: 7 };
const attention = { headCount: 2, keyValueHeadCount: 1, contextLength: 100 };
const configs: readonly PlainConfig[] = [
  { architecture: "llama", ...small, ...attention },
  { architecture: "matmul-free", ...small },
  { architecture: "mamba", ...small, layerCount: 2, pattern: "MA", attentionHeadCount: 2, contextLength: 100 },
];

const cases = [...configs.map((config) => [config, undefined] as const), [configs[0], "f16"] as const];

for (const [config, cacheDtype] of cases) {
  test(`${String(config.architecture)}, ${cacheDtype ?? "f32"}: a pool goes on from where a session is`, async () => {
    const device = createInterpreter();
    const model = createModel(config);
    const values = randomParameters(model, 3);
    const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
      encodeTensor(values.get(path)!, tensor.bytes()),
    );
    const pool = openSequencePool(model, parameters, device, { lanes: 2, capacity: 256, pageSize: 32, cacheDtype });
    const session = await openSession(model, parameters, device, { chunkLength: 8, cacheDtype });
    const read: number[] = [];
    for (const length of [31, 1, 63]) {
      const text = randomTokens(model, 1, length + 1, length)[0];
      await session.prefill(text.slice(0, length)); // and goes on behind the text before
      const known = [...read, ...text.slice(0, length)];
      const sequence = pool.restore(session.saveSequence(known, pool.pageSize));
      assert.equal(sequence.position, session.position);
      pool.append(sequence, text[length]);
      const [logits] = await pool.step([sequence]);
      assert.ok(largestError(session.step(text[length]), logits) < 1e-12);
      pool.free(sequence);
      read.push(...text);
    }
    const empty = await openSession(model, parameters, device, { cacheDtype });
    const start = pool.restore(empty.saveSequence([1], pool.pageSize));
    assert.deepEqual([start.position, (await pool.read(start)).length], [0, model.vocabSize]);
    pool.close();
  });
}
