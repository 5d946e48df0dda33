// Models with random weights, written by us as GGUF, run by llama.cpp (node-llama-cpp) and by us: every architecture
// that both know, and the settings that change what is computed. In a process of its own, since llama.cpp's libraries
// stay in it.
//
// llama.cpp takes the tanh form of GELU from a table in half precision, which moves Gemma's logits by thousandths.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { encodeValues, ggufArray } from "@fidelity/formats";
import type { GgufValue, TensorToWrite } from "@fidelity/formats";
import { writeGgufFile } from "@fidelity/formats/node";
import { createModel, logitsOf, namedParameters, namings, RandomStream } from "@fidelity/models";
import type { MetadataEntry, Model } from "@fidelity/models";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Llama } from "node-llama-cpp";
import { openModel } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-llama-cpp-"));
after(() => rmSync(folder, { recursive: true }));

/** Three special tokens, and one for each byte. */
const VOCABULARY = 259;
const sizes = { dim: 32, hiddenDim: 48, layerCount: 2, headCount: 4, vocabSize: VOCABULARY, contextLength: 64 };
const decoder = { ...sizes, keyValueHeadCount: 2, headDim: 8 };
const yarn = { ropeScaling: "yarn", ropeScalingFactor: 4, ropeOriginalContext: 16 };
const linear = { ropeScaling: "linear", ropeScalingFactor: 8 };
const gemma = { ...decoder, layerCount: 4, headDim: 16, window: 6 };
const gemma3 = { architecture: "gemma3", ...gemma };

const deepseek2 = {
  architecture: "deepseek2",
  ...sizes,
  layerCount: 3,
  queryRank: 24,
  latentRank: 32,
  keyDim: 12,
  ropeDim: 8,
  valueDim: 16,
  expertCount: 8,
  expertsPerToken: 3,
  expertHiddenDim: 20,
};
const sigmoids = { expertScore: "sigmoid", selectionBias: true, normalisedWeights: true, expertScale: 2.5 };
/** What YaRN grows scores or turned vectors by. */
const growth = 1 + 0.1 * Math.log(4);
const grown = { ...yarn, ropeMagnitude: 1, attentionScale: growth ** 2 / Math.sqrt(20) };

const recurrent = { dim: 32, layerCount: 4, vocabSize: VOCABULARY, stateSize: 16, contextLength: 64 };
const attention = { hiddenDim: 48, attentionHeadCount: 4, attentionKeyValueHeadCount: 2 };
const mamba = { architecture: "mamba", ...recurrent };
const jamba = { ...mamba, ...attention, pattern: "MAMM", selectionNorm: "gain", ropeSize: 0, tiedEmbeddings: true };
const mamba2 = { architecture: "mamba2", ...recurrent, headCount: 8, groupCount: 2 };
const granite = { ...mamba2, ...attention, pattern: "MMAM", groupCount: 1 };
const scales = { embeddingScale: 3, residualScale: 0.4, logitScale: 0.5, attentionScale: 0.2 };
const experts = { expertCount: 6, expertsPerToken: 3, normalisedExperts: true };
const { stateSize: _states, ...delta } = recurrent;
const qwen35 = {
  architecture: "gated-deltanet",
  ...delta,
  ...attention,
  pattern: "DDDA",
  headCount: 4,
  keyHeadCount: 2,
  keySharing: "tiled",
  keySize: 32,
  valueSize: 32,
  attentionHeadSize: 16,
  attentionGate: true,
  attentionNorm: true,
  ropeSize: 8,
  ropePairing: "halves",
};
const shared = { ...experts, channelPattern: "E", expertDim: 16, sharedExpertDim: 24, sharedExpertGate: true };
/** llama.cpp takes up to 64 channels of a head at a time, and smaller heads wrongly. */
const rwkv7 = { architecture: "rwkv7", dim: 64, hiddenDim: 96, layerCount: 3, vocabSize: VOCABULARY, headSize: 64 };
const ranks = { decayRank: 8, learningRateRank: 12, valueRank: 6, gateRank: 10 };

const models: readonly { readonly title: string; readonly config: object; readonly tolerance?: number }[] = [
  { title: "Llama", config: { architecture: "llama", ...decoder, tiedEmbeddings: false } },
  {
    title: "Llama with biases, and heads of their own size",
    config: {
      architecture: "llama",
      ...decoder,
      headDim: 16,
      queryKeyValueBias: true,
      outputBias: true,
      feedForwardBias: true,
    },
  },
  { title: "Llama 3.1", config: { architecture: "llama", ...decoder, ropeFactors: [1, 1, 2.5, 8] } },
  { title: "Llama, YaRN", config: { architecture: "llama", ...decoder, ...yarn, ropeMagnitude: 1.25 } },
  { title: "Qwen 2", config: { architecture: "qwen2", ...decoder } },
  { title: "Qwen 2, YaRN", config: { architecture: "qwen2", ...decoder, ...yarn } },
  { title: "Qwen 3", config: { architecture: "qwen3", ...decoder, headDim: 12, tiedEmbeddings: true } },
  {
    title: "Gemma 2",
    config: { architecture: "gemma2", ...gemma, attentionSoftcap: 4, logitSoftcap: 6 },
    tolerance: 2e-2,
  },
  { title: "Gemma 3, scaled", config: { ...gemma3, layerCount: 7, ...linear }, tolerance: 2e-2 },
  { title: "Gemma 3 in threes", config: { ...gemma3, windowPeriod: 3, localRopeTheta: 500 }, tolerance: 2e-2 },
  { title: "DeepSeek-V2", config: deepseek2 },
  // llama.cpp knows the model whose queries have no latent by its number of layers.
  { title: "DeepSeek-V2 Lite", config: { ...deepseek2, layerCount: 27, queryRank: 0, sharedExpertCount: 2 } },
  { title: "DeepSeek-V2, YaRN", config: { ...deepseek2, ...grown, ropeMagnitude: 1 / growth } },
  { title: "DeepSeek-V2, YaRN of turned vectors", config: { ...deepseek2, ...grown } },
  { title: "DeepSeek-V3", config: { ...deepseek2, ...sigmoids, expertGroupCount: 4, groupsPerToken: 2 } },
  { title: "Mamba", config: mamba },
  { title: "Falcon Mamba", config: { ...mamba, selectionNorm: "plain" } },
  { title: "Jamba", config: jamba },
  { title: "Jamba with experts", config: { ...jamba, channelPattern: "FE", expertCount: 4 } },
  { title: "Mamba-2", config: mamba2 },
  { title: "Granite 4", config: { ...granite, ...scales } },
  {
    title: "Granite 4 with experts",
    config: { ...granite, ...experts, channelPattern: "E", sharedExpertDim: 40, ropeSize: 0 },
  },
  {
    title: "Falcon-H1",
    config: { ...mamba2, ...attention, pattern: "P", ropePairing: "halves", ropeTheta: 1e11, stateNorm: false },
  },
  { title: "Nemotron-H", config: { ...mamba2, ...attention, pattern: "MFAF", hiddenDim: 0, ropeSize: 0 } },
  { title: "Qwen 3.5", config: qwen35 },
  { title: "Qwen 3.5 with experts", config: { ...qwen35, ...shared } },
  { title: "RWKV-7", config: { ...rwkv7, ...ranks } },
  { title: "BitNet", config: { architecture: "bitnet", ...decoder, activation: "silu", weights: "dense" } },
];

const TOKENS = Array.from({ length: 20 }, (_, i) => (i * i * 7 + 3 * i + 1) % VOCABULARY);

describe("the same as llama.cpp", () => {
  let llama: Llama;
  before(async () => {
    llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, progressLogs: false });
  });
  after(() => llama.dispose());

  for (const { title, config, tolerance = 1e-3 } of models) {
    test(title, async () => {
      const path = join(folder, `${title}.gguf`);
      const model = createModel(config);
      writeRandom(path, model);
      const [ours, theirs] = [await ourLogarithms(path), await theirLogarithms(llama, path)];
      let error = 0;
      for (const [row, token, logarithm] of theirs) {
        error = Math.max(error, Math.abs(logarithm - ours[row][token]));
      }
      assert.ok(theirs.length > TOKENS.length, `${theirs.length} probabilities`);
      assert.ok(error <= tolerance, `${error} from llama.cpp's logarithms of probabilities`);
    });
  }
});

/** Weights that make every part matter. */
function writeRandom(path: string, model: Model): void {
  const naming = namings[model.architecture].gguf!;
  const stream = new RandomStream(7);
  const tensors = namedParameters(model.parameters).flatMap(({ path: name, leaf }): TensorToWrite[] => {
    const { shape, init } = leaf;
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    stream.fillNormal(values, init.kind === "ones" ? 1 : 0, shape.length === 1 ? 0.3 : 1.2 / Math.sqrt(shape[1]));
    const origin = naming.origin(name, model.config)!;
    const parts = origin.write?.(values) ?? [values];
    return origin.names.map((tensor, i) => tensorOf(tensor, origin.shapes?.[i] ?? shape, parts[i]));
  });
  const constants = [...(naming.constants?.(model.config) ?? [])].map(([name, values]) =>
    tensorOf(name, [values.length], values),
  );
  const architecture: GgufValue = { type: "string", value: naming.names[0] };
  const metadata = new Map([
    ["general.architecture", architecture],
    ...naming.metadata!(model.config).map(entryOf),
    ...vocabulary(),
  ]);
  writeGgufFile(path, { metadata, tensors: [...tensors, ...constants] });
}

function tensorOf(name: string, shape: readonly number[], values: Float32Array): TensorToWrite {
  return { name, dtype: "f32", shape, bytes: () => encodeValues("f32", shape, values) };
}

function entryOf({ key, type, value }: MetadataEntry): [string, GgufValue] {
  return [key, Array.isArray(value) ? ggufArray(type, value) : ({ type, value } as GgufValue)];
}

/** A SentencePiece vocabulary of bytes, as llama.cpp wants it; tokens are given by their numbers. */
function vocabulary(): [string, GgufValue][] {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const names = ["<unk>", "<s>", "</s>", ...bytes];
  const types = names.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : 6));
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", ggufArray("string", names)],
    ["tokenizer.ggml.scores", ggufArray("f32", new Array<number>(VOCABULARY).fill(0))],
    ["tokenizer.ggml.token_type", ggufArray("i32", types)],
  ];
}

/** Logarithms of probabilities [tokens][vocabulary]. */
async function ourLogarithms(path: string): Promise<number[][]> {
  using opened = await openModel(path, createInterpreter());
  const rows: number[][] = [];
  for await (const logits of logitsOf(opened.model, opened.parameters, createInterpreter(), [TOKENS])) {
    for (let at = 0; at < logits.length; at += VOCABULARY) {
      const row = [...logits.subarray(at, at + VOCABULARY)];
      const normaliser = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      rows.push(row.map((logit) => logit - normaliser));
    }
  }
  return rows;
}

/** Row, token and logarithm of the probabilities that are large enough to have one in float32. */
async function theirLogarithms(llama: Llama, path: string): Promise<[row: number, token: number, logarithm: number][]> {
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  try {
    const context = await model.createContext({
      contextSize: 64,
      threads: 1,
      flashAttention: false,
      experimentalKvCacheKeyType: "F32",
      experimentalKvCacheValueType: "F32",
    });
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0 };
    const asked = TOKENS.map((token) => [token, { generateNext: { probabilities: true, options } }] as const);
    const answers = await context.getSequence().controlledEvaluate(asked as never);
    return answers.flatMap((answer, row) =>
      [...(answer?.next.probabilities ?? [])]
        .filter(([, probability]) => probability > 1e-6)
        .map(([token, probability]): [number, number, number] => [row, Number(token), Math.log(probability)]),
    );
  } finally {
    await model.dispose();
  }
}
