// Saved states of equal sizes that are not those of whoever should go on from them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import type { CacheDtype } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import { createParameters } from "../device_parameters.ts";
import type { DeviceParameters } from "../device_parameters.ts";
import type { Model } from "../model.ts";
import { parameterTypes } from "../parameters.ts";
import { openSession } from "../session.ts";
import type { Session } from "../session.ts";
import { randomParameters } from "../testing.ts";
import { openSequencePool } from "./sequence_pool.ts";
import type { SequencePool } from "./sequence_pool.ts";
import { SessionStateError } from "./state_format.ts";

const config = { dim: 8, hiddenDim: 8, layerCount: 1, vocabSize: 7, headCount: 2, contextLength: 64 };
const llama = createModel({ architecture: "llama", ...config });
const otherTurns = createModel({ architecture: "llama", ...config, ropeTheta: 500 });
const recurrent = createModel({ architecture: "mamba", dim: 8, layerCount: 1, vocabSize: 7 });
const device = createInterpreter();
const PAGE = 32;

function load(model: Model): DeviceParameters {
  const values = randomParameters(model, 3);
  return createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    encodeTensor(values.get(path)!, tensor.bytes()),
  );
}

async function sessionOf(model: Model, cacheDtype?: CacheDtype): Promise<Session> {
  return await openSession(model, load(model), device, { cacheDtype, chunkLength: 1 });
}

function poolOf(model: Model, cacheDtype?: CacheDtype): SequencePool {
  return openSequencePool(model, load(model), device, { lanes: 1, capacity: 64, pageSize: PAGE, cacheDtype });
}

test("caches of f16 and of bf16 have equal sizes, and neither is read as the other", async () => {
  const [from, same, other] = await Promise.all(
    (["f16", "f16", "bf16"] as const).map((dtype) => sessionOf(llama, dtype)),
  );
  from.step(1);
  const saved = from.save();
  same.restore(saved);
  assert.deepEqual(same.step(2), from.step(2));
  assert.equal(from.stateBytes, other.stateBytes);
  const refusal = /cacheDtype "bf16"(.|\n)*cacheDtype "f16"/;
  assert.throws(() => other.restore(saved), SessionStateError);
  assert.throws(() => other.restore(saved), refusal);
  assert.equal(other.position, 0);

  const sequence = from.saveSequence([1, 2], PAGE);
  const pool = poolOf(llama, "f16");
  const again = pool.save(pool.restore(sequence));
  for (const each of [sequence, again]) assert.throws(() => poolOf(llama, "bf16").restore(each), refusal);
  assert.throws(() => pool.restore({ ...again, format: undefined }), SessionStateError);
});

test("a state of equal size of a model with another configuration is refused, in JSON's copy as well", async () => {
  const [from, other] = [await sessionOf(llama), await sessionOf(otherTurns)];
  from.step(1);
  const saved = from.save();
  assert.throws(() => other.restore(saved), /ropeTheta 500(.|\n)*ropeTheta 10000/);
  assert.throws(() => poolOf(otherTurns).restore(from.saveSequence([1], PAGE)), SessionStateError);
  const copy = JSON.parse(JSON.stringify({ format: saved.format })) as Pick<typeof saved, "format">;
  from.restore({ ...saved, ...copy });
});

test("where nothing is cached the dtype of caches is of no account", async () => {
  const [from, to] = [await sessionOf(recurrent, "f16"), await sessionOf(recurrent, "bf16")];
  from.step(1);
  to.restore(from.save());
  assert.deepEqual(to.step(2), from.step(2));
});
