// Recurrent models in other programs' files: what is written is read as the same model with the same values.

import assert from "node:assert/strict";
import { test } from "node:test";
import { elementCount } from "@fidelity/core";
import { createModel } from "../architectures.ts";
import { namedParameters } from "../parameters.ts";
import { RandomStream } from "../random.ts";
import { importModel, namings } from "./index.ts";
import type { ForeignFormat } from "./index.ts";
import type { ForeignModel } from "./naming.ts";
import { ForeignModelError } from "./naming.ts";

const sizes = { dim: 8, layerCount: 3, vocabSize: 7, normEpsilon: 1e-3 };
const attention = { attentionHeadCount: 2, attentionKeyValueHeadCount: 1, attentionHeadSize: 6, contextLength: 32 };
const mamba = { ...sizes, architecture: "mamba", innerDim: 16, stateSize: 3, timeStepRank: 2, convolutionSize: 3 };
const mamba2 = { ...sizes, architecture: "mamba2", headCount: 4, groupCount: 2, stateSize: 3 };
const scales = { attentionScale: 0.25, embeddingScale: 3, residualScale: 0.5, logitScale: 0.125 };
const rwkv7 = { ...sizes, architecture: "rwkv7", hiddenDim: 12, headSize: 4, decayRank: 2, gateRank: 5 };
const experts = { expertCount: 4, expertsPerToken: 2, normalisedExperts: true };
const qwen = {
  ...sizes,
  ...attention,
  architecture: "gated-deltanet",
  pattern: "DDA",
  hiddenDim: 12,
  headCount: 4,
  keyHeadCount: 2,
  keySharing: "tiled",
  keySize: 3,
  valueSize: 3,
  attentionGate: true,
  attentionNorm: true,
  ropeSize: 4,
  ropePairing: "halves",
};
const configs: readonly (readonly [format: ForeignFormat, config: Readonly<Record<string, unknown>>])[] = [
  ["gguf", mamba],
  ["gguf", { ...mamba, selectionNorm: "plain", tiedEmbeddings: true }],
  ["gguf", { ...mamba, ...attention, pattern: "MAM", hiddenDim: 12, selectionNorm: "gain", ropeSize: 0 }],
  ["gguf", mamba2],
  ["gguf", { ...mamba2, ...attention, ...scales, pattern: "MAM", hiddenDim: 12, ropeTheta: 77, ropeSize: 4 }],
  ["gguf", { ...mamba2, ...attention, pattern: "AMA", hiddenDim: 12, ropeSize: 0 }],
  ["gguf", { ...mamba2, ...attention, ...experts, pattern: "AMA", channelPattern: "EEE", hiddenDim: 12, ropeSize: 0 }],
  ["gguf", { ...mamba2, ...attention, pattern: "PPP", hiddenDim: 12, ropePairing: "halves", stateNorm: false }],
  ["gguf", { ...mamba2, ...attention, pattern: "MFA", networkDim: 12, ropeSize: 0 }],
  ["gguf", rwkv7],
  ["gguf", qwen],
  ["gguf", { ...qwen, ...experts, channelPattern: "EEE", expertDim: 5, sharedExpertDim: 6, sharedExpertGate: true }],
  ["huggingFace", { ...sizes, architecture: "matmul-free", hiddenDim: 12, form: "released", projectionEpsilon: 1e-6 }],
];

interface Written {
  readonly fields: Record<string, unknown>;
  readonly tensors: Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;
}

/** A model's file, and the values that it was written from. */
function write(format: ForeignFormat, config: unknown): Written & { readonly values: Map<string, Float32Array> } {
  const model = createModel(config);
  const naming = namings[model.architecture][format]!;
  const fields = Object.fromEntries(naming.metadata!(model.config).map(({ key, value }) => [key, value]));
  const tensors: Written["tensors"] = new Map();
  const values = new Map<string, Float32Array>();
  const stream = new RandomStream(1);
  for (const { path, leaf } of namedParameters(model.parameters)) {
    const data = new Float32Array(elementCount(leaf.shape));
    stream.fillNormal(data);
    values.set(path, data);
    const origin = naming.origin(path, model.config)!;
    const parts = origin.write?.(data) ?? [data];
    origin.names.forEach((name, i) => {
      const shape = origin.shapes?.[i] ?? leaf.shape;
      assert.equal(elementCount(shape), parts[i].length, name);
      tensors.set(name, { shape, values: parts[i] });
    });
  }
  const key = format === "gguf" ? "general.architecture" : "model_type";
  return { fields: { [key]: naming.names[0], ...fields }, tensors, values };
}

function fileOf({ fields, tensors }: Written): ForeignModel {
  return {
    where: "a file",
    get: (key) => fields[key],
    shape: (name) => tensors.get(name)?.shape,
    dtype: (name) => (tensors.has(name) ? "f32" : undefined),
    values: (name) => tensors.get(name)!.values,
  };
}

for (const [format, config] of configs) {
  test(`${format}: ${JSON.stringify(config).slice(1, 160)}`, () => {
    const file = write(format, config);
    const { model, origins } = importModel(format, fileOf(file));
    // A pattern that says less than every layer's kind is read as one that does.
    const patterns = { pattern: config.pattern, channelPattern: config.channelPattern };
    assert.deepEqual({ ...model.config, ...patterns }, { ...createModel(config).config, ...patterns });
    assert.deepEqual(model.parameters, createModel(config).parameters);
    for (const [path, { names, read }] of origins) {
      const parts = names.map((name) => file.tensors.get(name)!.values);
      const values = read?.(parts) ?? parts[0];
      const expected = file.values.get(path)!;
      values.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) < 1e-5, `${path} ${i}`));
    }
  });
}

test("files that lack a tensor, or are of a variant that is not known, are refused by name", () => {
  const refused = (change: (file: Written) => void, config: object, message: RegExp): void => {
    const file = write("gguf", config);
    change(file);
    assert.throws(
      () => importModel("gguf", fileOf(file)),
      (error) => error instanceof ForeignModelError && message.test(error.message),
    );
  };
  const hybrid = configs[2][1];
  refused(({ tensors }) => tensors.delete("blk.1.attn_output.weight"), hybrid, /"blk\.1\.attn_output\.weight"/);
  refused(({ tensors }) => tensors.delete("blk.2.ssm_c_norm.weight"), hybrid, /"blk\.2\.ssm_c_norm\.weight"/);
  const router = { shape: [2, 8], values: new Float32Array(16) };
  refused(({ tensors }) => tensors.set("blk.1.ffn_gate_inp.weight", router), hybrid, /expert_count" is missing/);
  refused(({ fields }) => (fields["jamba.attention.head_count_kv"] = [0, 1]), hybrid, /3 whole numbers/);
  refused(({ fields }) => (fields["jamba.attention.head_count_kv"] = [0, 1, 2]), hybrid, /different numbers of heads/);
  refused(({ fields }) => delete fields["mamba2.ssm.group_count"], mamba2, /"mamba2\.ssm\.group_count" is missing/);
  refused(({ fields }) => (fields["rwkv7.token_shift_count"] = 1), rwkv7, /variant of RWKV-7/);
  refused(({ fields }) => (fields["qwen35.rope.dimension_sections"] = [1, 0, 0, 1]), qwen, /turn every pair/);
});
