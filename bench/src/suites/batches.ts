// Batches of sequences: tokens a second of steps of 1, 2, 4 and 8 sequences of different lengths, whose caches lie in
// pages of their own, as float32 and as f16, of a BitNet that is bound by reading its weights when it is alone, against
// one sequence alone. What a step must read is a ceiling: the weights once, whatever the number of sequences, and the
// caches. The products in int8 are the other: with sequences enough they take longer than reading. Weights are random,
// which changes no speed.

import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import { elementCount, isBlocked, isTernary, packTernary, repackBlocks, storageBytes } from "@fidelity/core";
import type { CacheDtype, DeviceTensor, TensorType } from "@fidelity/core";
import { encodeValues } from "@fidelity/formats";
import { createModel, createParameters, namedParameters, openSequencePool, RandomStream } from "@fidelity/models";
import type { DeviceParameters, Model, Sequence, SequencePool } from "@fidelity/models";
import { ceilingName, ceilingSource } from "../ceilings.ts";
import type { Ceiling } from "../ceilings.ts";
import { bytesReadPerToken } from "../decoder.ts";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { RowPlan } from "../row.ts";

/** The shape of BitNet b1.58 2B4T, and one for a quick look. */
const BITNET = { dim: 2560, hiddenDim: 6912, layerCount: 30, headCount: 20, keyValueHeadCount: 5, vocabSize: 128_256 };
const QUICK = { dim: 1024, hiddenDim: 2816, layerCount: 6, headCount: 8, keyValueHeadCount: 2, vocabSize: 4096 };
const LANES = [1, 2, 4, 8] as const;
const LANES_MAX = 8;
const CACHES: readonly CacheDtype[] = ["f32", "f16"];
/** Tokens by which one sequence is longer than the other: whole pages, so that a fork of it copies none. */
const LENGTH_STEP = 64;
/** Numbers of a matrix that are drawn, and repeated. */
const DRAWN = 2 ** 20;

/** Measures steps of batches with each number of threads. */
export async function batches(bench: Bench): Promise<void> {
  const size = bench.quick ? QUICK : BITNET;
  const model = createModel({ architecture: "bitnet", ...size, contextLength: 2048 });
  for (const threads of bench.threads) {
    const device = createDevice({ threads, target: bench.target });
    try {
      await batchesOn(bench, device, model, `bitnet-${size.dim}x${size.layerCount}`);
    } finally {
      await device.close();
    }
  }
}

async function batchesOn(bench: Bench, device: CpuDevice, model: Model, name: string): Promise<void> {
  const parameters = randomParameters(device, model);
  const [weightBytes, operations] = [bytesReadPerToken(model, parameters), operationsPerToken(model)];
  const [read, dots]: readonly Ceiling[] = [{ kind: "read", sizeBytes: weightBytes }, { kind: "int8" }];
  const sources: Source[] = [];
  const plans: RowPlan[] = [];
  for (const cacheDtype of CACHES) {
    const pool = openSequencePool(model, parameters, device, {
      lanes: LANES_MAX,
      capacity: 2 * LANES_MAX * LENGTH_STEP * LANES_MAX,
      limit: 2 * LANES_MAX * LENGTH_STEP,
      pageSize: LENGTH_STEP,
      cacheDtype,
    });
    const sequences = await readSequences(pool);
    const { pageBytes, pages } = pool.memory;
    for (const lanes of LANES) {
      const some = sequences.slice(0, lanes);
      const positions = some.reduce((sum, { position }) => sum + position, 0);
      const source = stepSource(bench, pool, some, `${lanes} sequences, ${cacheDtype}`);
      const id = `batches/${name}/threads-${device.threads}/${bench.target}/caches-${cacheDtype}/sequences-${lanes}`;
      const alone = plans.find((plan) => plan.id === id.replace(/\d+$/, "1"));
      const row = {
        unit: "tokens/s",
        source: source.name,
        peer: alone && { source: alone.source, name: "one sequence" },
      };
      const bytes = weightBytes + (positions * pageBytes) / (1 + pages) / LENGTH_STEP;
      sources.push(source);
      plans.push(
        { ...row, id, ceiling: { source: ceilingName(read), name: ceilingName(read), work: bytes / lanes } },
        { ...row, id: `${id}/int8`, ceiling: { source: ceilingName(dots), name: ceilingName(dots), work: operations } },
      );
    }
  }
  for (const ceiling of [read, dots]) sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
  const rows = await measure(sources, plans, { ...bench.settings, rotate: true });
  bench.report(
    `Steps of several sequences, ${name}, ${(weightBytes / 1e6).toFixed(0)} MB of weights, ${device.threads} thread(s)`,
    rows,
  );
}

/** Operations of a token's products with matrices: not with an embedding that is only looked up. */
function operationsPerToken({ parameters, config }: Model): number {
  return namedParameters(parameters).reduce((sum, { leaf: { role, shape } }) => {
    const isMultiplied = role === "ternary" || role === "dense" || config.tiedEmbeddings === true;
    return sum + (shape.length === 2 && isMultiplied ? 2 * elementCount(shape) : 0);
  }, 0);
}

/** Sequences of different lengths, each with pages of its own and with one token left to read. */
async function readSequences(pool: SequencePool): Promise<Sequence[]> {
  const text = Array.from({ length: LANES_MAX * LENGTH_STEP + 1 }, (_, i) => (i * 7) % pool.model.vocabSize);
  const sequences: Sequence[] = [];
  for (let i = LANES_MAX; i >= 1; i--) {
    // All begin alike, so that this is read once; then it is copied, as texts mostly have little in common.
    const sequence = pool.open(text.slice(0, i * LENGTH_STEP + 1));
    while (await pool.prefill(sequence));
    while (sequence.tokens.length - sequence.position > 1) await pool.step([sequence]);
    sequences.push(pool.restore(pool.save(sequence)));
    pool.free(sequence);
  }
  return sequences;
}

/** Tokens a second of steps, each sample from the same positions on. */
function stepSource({ sampleMs }: Bench, pool: SequencePool, sequences: readonly Sequence[], name: string): Source {
  let steps = 1;
  const sample = async (): Promise<number> => {
    const forks = sequences.map((sequence) => pool.fork(sequence));
    const started = performance.now();
    for (let step = 0; step < steps; step++) {
      await pool.step(forks);
      for (const fork of forks) pool.append(fork, step % pool.model.vocabSize);
    }
    const seconds = (performance.now() - started) / 1000;
    for (const fork of forks) pool.free(fork);
    const rate = (steps * forks.length) / seconds;
    // As many steps as a sample is meant to last, within the room that the forks have.
    steps = Math.min(LENGTH_STEP, Math.max(1, Math.ceil((rate * sampleMs) / 1000 / forks.length)));
    return rate;
  };
  return { name, sample };
}

/** Ternary matrices packed to 2 bits, others as q8_0; each shape is drawn once. */
function randomParameters(device: CpuDevice, model: Model): DeviceParameters {
  const drawn = new Map<string, Uint8Array>();
  const typeOf = ({ role, shape }: { readonly role: string; readonly shape: readonly number[] }): TensorType => {
    if (role === "norm" || shape.length < 2) return { dtype: "f32", shape };
    return { dtype: role === "ternary" ? "ternary" : "q8_0", shape };
  };
  const leaves = namedParameters(model.parameters);
  const types = Object.fromEntries(leaves.map(({ path, leaf }) => [path, typeOf(leaf)]));
  return createParameters(device, types, (tensor: DeviceTensor) => {
    const key = `${tensor.type.dtype} ${tensor.type.shape.join(" ")}`;
    const bytes = drawn.get(key) ?? randomBytes(tensor.type);
    drawn.set(key, bytes);
    tensor.bytes().set(bytes);
  });
}

function randomBytes(type: TensorType): Uint8Array {
  const bytes = new Uint8Array(storageBytes(type));
  if (isTernary(type.dtype)) packTernary(randomValues(type, true), type, 0.02, bytes);
  else if (isBlocked(type.dtype)) {
    repackBlocks(type, type.dtype, encodeValues(type.dtype, type.shape, randomValues(type, false)), bytes);
  } else new Float32Array(bytes.buffer).fill(1);
  return bytes;
}

function randomValues({ shape }: TensorType, isTernaryMatrix: boolean): Float32Array {
  const values = new Float32Array(elementCount(shape));
  const part = values.subarray(0, Math.min(values.length, DRAWN));
  const stream = new RandomStream(1, part.length);
  if (isTernaryMatrix) {
    stream.fillUniform(part, -1.5, 1.5);
    for (let i = 0; i < part.length; i++) part[i] = Math.round(part[i]) * 0.02;
  } else {
    stream.fillNormal(part, 0, 0.02);
  }
  for (let at = part.length; at < values.length; at += part.length) {
    values.set(part.subarray(0, values.length - at), at);
  }
  return values;
}
