import assert from "node:assert/strict";
import { test } from "node:test";
import { createInterpreter, encodeTensor } from "@fidelity/core";
import type { Device } from "@fidelity/core";
import { createModel } from "./architectures.ts";
import type { Constraint } from "./constraints/index.ts";
import type { DeviceParameters } from "./device_parameters.ts";
import { createParameters, freeParameters, packParameters, ParameterMismatchError } from "./device_parameters.ts";
import { generateTokens } from "./generate-tokens.ts";
import type { Model } from "./model.ts";
import { parameterTypes } from "./parameters.ts";
import { Sampler } from "./sampling.ts";
import type { Session } from "./session.ts";
import { sampleConfigs } from "./samples.ts";
import { SessionStateError } from "./sequences/state_format.ts";
import { ContextLimitError, openSession, TokenRangeError } from "./session.ts";
import { evaluateModel, largestError, packedParameters, randomParameters, randomTokens } from "./testing.ts";

const configs = [
  { architecture: "matmul-free", dim: 12, hiddenDim: 20, layerCount: 2, vocabSize: 11 },
  { architecture: "llama", dim: 12, hiddenDim: 16, layerCount: 2, headCount: 3, vocabSize: 11, contextLength: 24 },
];
const matmulFree = createModel(configs[0]);
const llama = createModel(configs[1]);

/** Parameters on a device with the values of `randomParameters(model, seed)`. */
function load(device: Device, model: Model, seed: number, packed = false): Map<string, ReturnType<Device["tensor"]>> {
  const plain = randomParameters(model, seed);
  const values = packed ? packedParameters(model, plain) : plain;
  return createParameters(device, parameterTypes(model.parameters, { packed }), (tensor, path) => {
    encodeTensor(values.get(path)!, tensor.bytes());
  });
}

/** What a session gives for a text that is read token by token. */
function readAll(session: Session, tokens: readonly number[]): number[] {
  return tokens.flatMap((token) => [...session.step(token)]);
}

for (const model of [matmulFree, llama]) {
  test(`${model.architecture}: a session gives the logits of the whole sequence, and again after a reset`, async () => {
    const device = createInterpreter();
    const session = await openSession(model, load(device, model, 3), device);
    const tokens = randomTokens(model, 1, 12, 5);
    const { logits } = evaluateModel(model, randomParameters(model, 3), tokens);
    const first = readAll(session, tokens[0]);
    // The session keeps its state in float32.
    assert.ok(largestError(logits, first) < 1e-5);
    assert.equal(session.position, 12);
    session.reset();
    assert.deepEqual(readAll(session, tokens[0]), first);
    session.close();
  });

  test(`${model.architecture}: a prompt read in chunks ends as one that is read token by token`, async () => {
    const device = createInterpreter();
    const parameters = load(device, model, 4);
    const chunked = await openSession(model, parameters, device, { chunkLength: 4 });
    const single = await openSession(model, parameters, device);
    for (const length of [1, 4, 5, 9, 13]) {
      const [tokens] = randomTokens(model, 1, length, length);
      chunked.reset();
      single.reset();
      const expected = readAll(single, tokens).slice(-model.vocabSize);
      assert.ok(largestError(expected, await chunked.prefill(tokens)) < 1e-5);
      assert.equal(chunked.position, length);
      // The state is right, too: the next token follows alike.
      assert.ok(largestError(single.step(3), chunked.step(3)) < 1e-5);
    }
  });
}

test("narrow caches take half of the memory, and move logits a little", async () => {
  const device = createInterpreter();
  const parameters = load(device, llama, 4);
  const wide = await openSession(llama, parameters, device);
  const [tokens] = randomTokens(llama, 1, 13, 6);
  const expected = (await wide.prefill(tokens)).slice();
  for (const [cacheDtype, bound] of [
    ["f16", 1e-3],
    ["bf16", 8e-3],
  ] as const) {
    const narrow = await openSession(llama, parameters, device, { cacheDtype, chunkLength: 4 });
    assert.equal(2 * narrow.stateBytes, wide.stateBytes);
    const chunked = (await narrow.prefill(tokens)).slice();
    const error = largestError(expected, chunked);
    assert.ok(error > 0 && error < bound, `${cacheDtype}: ${error}`);
    // Keys and values of many tokens are rounded as those of one.
    narrow.rewind(5);
    assert.ok(largestError(chunked, readAll(narrow, tokens.slice(5)).slice(-llama.vocabSize)) < 1e-5);
    narrow.close();
  }
  wide.close();
});

test("long and short chunks, the last one filled up where caches have room for it, end as single tokens do", async () => {
  const device = createInterpreter();
  const model = createModel({ ...configs[1], contextLength: 64 });
  const parameters = load(device, model, 4);
  const compiled: string[] = [];
  const counting: Device = {
    ...device,
    tensor: (type) => device.tensor(type),
    compile: (graph, options) => {
      compiled.push(graph.name);
      return device.compile(graph, options);
    },
  };
  const [tokens] = randomTokens(model, 1, 54, 9);
  const single = await openSession(model, parameters, device);
  const expected = readAll(single, tokens).slice(-model.vocabSize);
  // Before the last one there are 40 + 2 x 5 + 3: with room for five the three are a chunk, without it steps.
  for (const capacity of [56, 54]) {
    const session = await openSession(model, parameters, counting, { capacity, chunkLength: 40 });
    assert.ok(largestError(expected, await session.prefill(tokens)) < 1e-5);
    assert.equal(session.position, 54);
    session.close();
  }
  assert.deepEqual(compiled, ["step", "prefill 40", "prefill 5", "step", "prefill 40", "prefill 5"]);
});

test("parameters packed on the device are those packed on the host, and decode alike", async () => {
  const device = createInterpreter();
  const parameters = load(device, matmulFree, 6);
  const packed = await packParameters(matmulFree, parameters, device);
  assert.deepEqual([...packed.keys()], [...parameters.keys()]);
  for (const [path, expected] of load(device, matmulFree, 6, true)) {
    assert.deepEqual(packed.get(path)!.type, expected.type);
    assert.deepEqual(packed.get(path)!.bytes(), expected.bytes(), path);
  }
  assert.equal(packed.get("embedding.weight"), parameters.get("embedding.weight"));
  const tokens = randomTokens(matmulFree, 1, 6, 7)[0];
  const decode = async (given: DeviceParameters): Promise<number[]> =>
    readAll(await openSession(matmulFree, given, device), tokens);
  const logits = await decode(packed);
  assert.ok(largestError(await decode(parameters), logits) < 1e-5);
  const smaller = await packParameters(matmulFree, parameters, device, "ternary5");
  assert.deepEqual(await decode(smaller), logits);
  freeParameters(packed);
});

test("the state of the recurrent model does not grow; that of the transformer has the capacity asked for", async () => {
  const device = createInterpreter();
  const recurrent = await openSession(matmulFree, load(device, matmulFree, 1), device);
  assert.equal(recurrent.limit, Infinity);
  assert.equal(recurrent.stateBytes, 2 * 12 * 4);
  readAll(recurrent, randomTokens(matmulFree, 1, 40, 1)[0]);
  assert.equal(recurrent.stateBytes, 2 * 12 * 4);
  const transformer = await openSession(llama, load(device, llama, 1), device, { capacity: 6 });
  assert.equal(transformer.stateBytes, 2 * 2 * 6 * 12 * 4);
});

test("a full context, a prompt that does not fit and tokens that do not exist are named, and read nothing", async () => {
  const device = createInterpreter();
  const parameters = load(device, llama, 2);
  const session = await openSession(llama, parameters, device, { capacity: 3 });
  await assert.rejects(session.prefill([1, 2, 3, 4]), ContextLimitError);
  await assert.rejects(session.prefill([]), TokenRangeError);
  await assert.rejects(session.prefill([1, 11]), TokenRangeError);
  for (const token of [-1, 11, 0.5, NaN]) assert.throws(() => session.step(token), TokenRangeError);
  assert.equal(session.position, 0);
  await session.prefill([1, 2, 3]);
  assert.throws(() => session.step(1), /context is full(.|\n)*at most 3 tokens(.|\n)*3 tokens and 1 more/);
  for (const capacity of [0, 25, 1.5]) {
    await assert.rejects(openSession(llama, parameters, device, { capacity }), ContextLimitError);
  }
});

test("parameters of another model are refused by name", async () => {
  const device = createInterpreter();
  const parameters = load(device, matmulFree, 2);
  const refused = (
    change: (changed: Map<string, ReturnType<Device["tensor"]>>) => void,
    message: RegExp,
  ): Promise<void> => {
    const changed = new Map(parameters);
    change(changed);
    return assert.rejects(openSession(matmulFree, changed, device), (error) => {
      assert.ok(error instanceof ParameterMismatchError);
      assert.match(error.message, message);
      return true;
    });
  };
  await refused((changed) => changed.delete("lowerBounds"), /"lowerBounds" is missing/);
  await refused((changed) => changed.set("bias", parameters.get("lowerBounds")!), /no parameter "bias"/);
  const wide = device.tensor({ dtype: "f32", shape: [12, 13] });
  await refused(
    (changed) => changed.set("blocks.1.mixer.gate.weight", wide),
    /f32\[12, 12\] or ternary\[12, 12\](.|\n)*f32\[12, 13\]/,
  );
  const packed = device.tensor({ dtype: "ternary", shape: [11, 12] });
  await refused((changed) => changed.set("embedding.weight", packed), /"embedding.weight" does not fit/);
});

test("generation is the sampler's choice among the logits, token by token", async () => {
  const device = createInterpreter();
  for (const model of [matmulFree, llama]) {
    const parameters = load(device, model, 8);
    const session = await openSession(model, parameters, device, { chunkLength: 2 });
    const greedy = (): Sampler => new Sampler(model.vocabSize, { temperature: 0 });
    const generated = await Array.fromAsync(session.generate([1, 2, 3], { sampler: greedy(), maxTokens: 6 }));
    // Nothing is computed for a token after the last one.
    assert.equal(session.position, 3 + 5);
    const text = [1, 2, 3];
    for (const token of generated) {
      const { logits } = evaluateModel(model, randomParameters(model, 8), [text]);
      const last = logits.subarray(-model.vocabSize);
      assert.equal(token, last.indexOf(Math.max(...last)));
      text.push(token);
    }
    session.reset();
    const stop = (token: number): boolean => token === generated[2];
    const stopped = await Array.fromAsync(session.generate([1, 2, 3], { sampler: greedy(), maxTokens: 6, stop }));
    assert.deepEqual(stopped, generated.slice(0, generated.indexOf(generated[2])));
    session.reset();
    assert.deepEqual(await Array.fromAsync(session.generate([1], { sampler: greedy(), maxTokens: 0 })), []);
  }
});

test("logits of allowed tokens are those of a whole step, in every architecture, and the next step has all again", async () => {
  const device = createInterpreter();
  const vocabSize = 75;
  for (const architecture of Object.keys(sampleConfigs)) {
    const model = createModel({ architecture, ...sampleConfigs[architecture], vocabSize });
    if (model.encoder !== undefined) continue;
    const parameters = load(device, model, 2);
    const whole = await openSession(model, parameters, device);
    const session = await openSession(model, parameters, device);
    const allowed = Uint32Array.of(0, 1 << 3, 0); // one group of five
    const [first, second] = [whole.step(4).slice(), whole.step(5).slice()];
    const limited = await session.prefill([4], allowed);
    assert.deepEqual(limited.subarray(32, 48), first.subarray(32, 48), architecture);
    assert.ok(
      limited.every((logit, token) => token >> 4 === 2 || (logit !== first[token] && !Number.isNaN(logit))),
      `${architecture} reads what was not asked for`,
    );
    assert.deepEqual(session.peaks, peaksOf(limited), architecture);
    assert.deepEqual(session.step(5), second, architecture);
    assert.deepEqual(session.peaks, peaksOf(second), architecture);
    whole.close();
    session.close();
  }
});

/** The highest of each 16 neighbours, the last ones fewer. */
function peaksOf(logits: Float32Array): Float32Array {
  const groups = Array.from({ length: Math.ceil(logits.length / 16) }, (_, i) => logits.subarray(16 * i, 16 * (i + 1)));
  return Float32Array.from(groups, (group) => Math.max(...group));
}

test("a constraint's tokens are asked for before they are chosen, and all logits where the sampler looks at them", async () => {
  const asked: (readonly number[] | undefined)[] = [];
  const logits = new Float32Array(40).fill(1);
  const note = (allowed?: Uint32Array): Float32Array => {
    asked.push(allowed && Array.from(allowed));
    return logits;
  };
  const reader = {
    model: { ...llama, vocabSize: 40 },
    prefill: async (_tokens: ArrayLike<number>, allowed?: Uint32Array) => note(allowed),
    step: (_token: number, allowed?: Uint32Array) => note(allowed),
  };
  const text = [35, 2, 35];
  const constraint = (): Constraint => {
    let at = 0;
    return {
      isComplete: false,
      get isFinished() {
        return at === text.length;
      },
      allowed(mask) {
        mask.fill(0);
        mask[text[at] >>> 5] = 1 << (text[at] & 31);
      },
      accept: () => void at++,
      reset: () => void (at = 0),
      clone: constraint,
    };
  };
  for (const allLogits of [false, true]) {
    const options = { sampler: new Sampler(40), maxTokens: 9, constraint: constraint(), allLogits };
    assert.deepEqual(await Array.fromAsync(generateTokens(reader, [1], options)), text);
  }
  // Nothing is read once the text is finished.
  assert.deepEqual(asked, [[0, 8], [4, 0], [0, 8], undefined, undefined, undefined]);
});

test("a session forgets its last tokens where its state is a cache, and all of them at a reset", async () => {
  const device = createInterpreter();
  const cached: string[] = [];
  for (const architecture of Object.keys(sampleConfigs)) {
    const model = createModel({ architecture, ...sampleConfigs[architecture], vocabSize: 11 });
    if (model.encoder !== undefined) continue;
    const session = await openSession(model, load(device, model, 2), device);
    const [tokens] = randomTokens(model, 1, 4, 6);
    const expected = readAll(session, tokens).slice(-model.vocabSize);
    assert.throws(() => session.rewind(5), SessionStateError);
    if (session.canRewind) {
      cached.push(architecture);
      session.rewind(2);
      for (const token of [7, 8, 9]) session.step(token);
      session.rewind(2);
      assert.deepEqual(readAll(session, tokens.slice(2)).slice(-model.vocabSize), expected, architecture);
    } else assert.throws(() => session.rewind(2), SessionStateError);
    session.step(10);
    session.reset();
    assert.deepEqual(readAll(session, tokens).slice(-model.vocabSize), expected, architecture);
    session.close();
  }
  assert.deepEqual(cached, ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "bitnet", "deepseek2"]);
});

test("tensors are given back when filling them fails, and a session gives its own back", async () => {
  const inner = createInterpreter();
  let live = 0;
  const counting: Device = {
    target: inner.target,
    threads: 1,
    tensor(type) {
      const tensor = inner.tensor(type);
      const free = tensor.free.bind(tensor);
      let freed = false;
      live++;
      tensor.free = (): void => {
        if (!freed) live--;
        freed = true;
        free();
      };
      return tensor;
    },
    compile: (graph, options) => inner.compile(graph, options),
    close: () => inner.close(),
  };
  const types = parameterTypes(matmulFree.parameters, { packed: false });
  const fail = (_tensor: unknown, path: string): void => {
    if (path === "lowerBounds") throw new Error("no more");
  };
  assert.throws(() => createParameters(counting, types, fail), /no more/);
  assert.equal(live, 0);
  const parameters = load(counting, matmulFree, 1);
  const before = live;
  const session = await openSession(matmulFree, parameters, counting, { chunkLength: 2 });
  await session.prefill([1, 2, 3, 4, 5]);
  assert.ok(live > before);
  session.close();
  session.close();
  assert.equal(live, before);
});
