// Programs that are recalled by the recipe of a model: they are bound as those that were traced, and give the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import type { CompileOptions, Device, Graph, Recipe, RecalledProgram, TensorType } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import { createParameters } from "../device_parameters.ts";
import type { DeviceParameters } from "../device_parameters.ts";
import { createLlama } from "../llama.ts";
import type { Model } from "../model.ts";
import { parameterTypes } from "../parameters.ts";
import { sampleConfigs } from "../samples.ts";
import { openSession } from "../session.ts";
import type { SessionOptions } from "../session.ts";
import { packedParameters, randomParameters } from "../testing.ts";
import { openSequencePool } from "./sequence_pool.ts";

/** A device that keeps graphs by their recipes, as others keep programs. */
function keeping(device: Device) {
  const kept = new Map<string, { readonly graph: Graph; readonly options: CompileOptions }>();
  const keyOf = ({ source, key }: Recipe): string => [source, ...key].join("\n");
  let traced = 0;
  const keeper: Device = {
    target: device.target,
    threads: device.threads,
    tensor: (type) => device.tensor(type),
    compile(graph, options = {}) {
      traced++;
      if (options.recipe !== undefined) kept.set(keyOf(options.recipe), { graph, options });
      return device.compile(graph, options);
    },
    async recall(recipe: Recipe, types: readonly TensorType[]): Promise<RecalledProgram | undefined> {
      const found = kept.get(keyOf(recipe));
      if (found === undefined) return undefined;
      assert.deepEqual(
        types,
        found.graph.parameters.map(({ type }) => type),
      );
      const { options, graph } = found;
      return { executable: await device.compile(graph, options), donations: options.donations ?? [] };
    },
    close: () => device.close(),
  };
  return { keeper, traces: () => traced };
}

function parametersOf(device: Device, model: Model, packed: boolean): DeviceParameters {
  const plain = randomParameters(model, 1);
  const values = packed ? packedParameters(model, plain) : plain;
  return createParameters(device, parameterTypes(model.parameters, { packed }), (tensor, path) => {
    encodeTensor(values.get(path)!, tensor.bytes());
  });
}

const prompt = [1, 5, 3, 2, 8, 4, 7, 6, 1];

/** The logits of a session after a prompt that is read in chunks, and after one more token. */
async function readBySession(device: Device, model: Model, packed: boolean, options: SessionOptions) {
  const session = await openSession(model, parametersOf(device, model, packed), device, { chunkLength: 4, ...options });
  const logits = [...(await session.prefill(prompt)), ...session.step(2)];
  session.close();
  return logits;
}

async function readByPool(device: Device, model: Model) {
  const pool = openSequencePool(model, parametersOf(device, model, true), device, {
    lanes: 2,
    capacity: 128,
    pageSize: 32,
    chunkLength: 4,
  });
  const sequences = [pool.open(prompt), pool.open(prompt.slice(3))];
  const logits = [];
  for (const sequence of sequences) logits.push([...(await pool.read(sequence))]);
  pool.append(sequences[0], 2);
  pool.append(sequences[1], 3);
  for (const view of await pool.step(sequences)) logits.push([...view]);
  pool.close();
  return logits;
}

for (const [architecture, sizes] of Object.entries(sampleConfigs)) {
  const model = createModel({ architecture, vocabSize: 11, ...sizes });
  if (model.encoder !== undefined) continue;
  test(`${architecture}: programs that are recalled give what those did that were traced`, async () => {
    const { keeper, traces } = keeping(createInterpreter());
    const first = await readBySession(keeper, model, true, { capacity: 32 });
    const firstTraces = traces();
    assert.ok(firstTraces >= 2);
    const again = createModel(model.config);
    assert.deepEqual(await readBySession(keeper, again, true, { capacity: 32 }), first);
    assert.equal(traces(), firstTraces, "nothing is traced again");
    const pooled = await readByPool(keeper, model);
    const pooledTraces = traces();
    assert.ok(pooledTraces > firstTraces, "pages are others");
    assert.deepEqual(await readByPool(keeper, again), pooled);
    assert.equal(traces(), pooledTraces);
  });
}

test("what differs in anything is traced for itself, and what no configuration says, each time", async () => {
  const config = { vocabSize: 11, ...sampleConfigs.llama };
  const { keeper, traces } = keeping(createInterpreter());
  const ways: [Model, boolean, SessionOptions][] = [
    [createModel({ architecture: "llama", ...config }), false, { capacity: 16 }],
    [createModel({ architecture: "llama", ...config }), false, { capacity: 17 }],
    [createModel({ architecture: "llama", ...config }), false, { capacity: 16, cacheDtype: "f16" }],
    [createModel({ architecture: "llama", ...config, ropeTheta: 5000 }), false, { capacity: 16 }],
    [createModel({ architecture: "bitnet", ...config }), false, { capacity: 16 }],
    [createModel({ architecture: "bitnet", ...config }), true, { capacity: 16 }],
    [createLlama(config), false, { capacity: 16 }],
    [createLlama(config), false, { capacity: 16 }],
  ];
  for (const [i, [model, packed, options]] of ways.entries()) {
    const before = traces();
    await readBySession(keeper, model, packed, options);
    assert.equal(traces() - before, 2, `the step and the chunk of session ${i}`);
  }
});
