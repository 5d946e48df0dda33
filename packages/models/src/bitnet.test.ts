import assert from "node:assert/strict";
import { test } from "node:test";
import { createBitnet } from "./bitnet.ts";
import type { DecoderReference } from "./testing-transformer.node.ts";
import { silu, softmaxSimilarity, testDecoder, usualFrequency } from "./testing-transformer.node.ts";
import { evaluateModel, packedParameters, randomParameters, randomTokens } from "./testing.ts";

const sizes = { dim: 12, hiddenDim: 10, layerCount: 2, headCount: 2, keyValueHeadCount: 1, headDim: 6, vocabSize: 7 };
const config = { architecture: "bitnet", ...sizes, contextLength: 16 };
const reference: DecoderReference = {
  ...sizes,
  epsilon: 1e-5,
  activation: silu,
  frequency: usualFrequency(10000, 6),
  pairing: "halves",
  similarity: softmaxSimilarity(6 ** -0.5),
};

testDecoder("float weights, SiLU", createBitnet({ ...config, weights: "dense", activation: "silu" }), reference);
testDecoder("ternary weights, squared ReLU", createBitnet(config), {
  ...reference,
  activation: (x) => Math.max(x, 0) ** 2,
  project: ternaryProduct,
});

/** int8 activations by their largest magnitude times weights of -1, 0 and 1 by their mean magnitude. */
function ternaryProduct(x: readonly number[], weight: Float64Array): number[] {
  const step = Math.max(...x.map(Math.abs), 1e-5) / 127;
  const codes = x.map((value) => Math.min(127, Math.max(-128, roundHalfEven(value / step))));
  const scale = weight.reduce((sum, value) => sum + Math.abs(value), 0) / weight.length;
  return Array.from({ length: weight.length / x.length }, (_, o) => {
    const products = codes.map((code, i) => {
      return code * Math.min(1, Math.max(-1, roundHalfEven(weight[o * x.length + i] / scale)));
    });
    return products.reduce((sum, product) => sum + product, 0) * step * scale;
  });
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

test("packed weights give the logits of the training graph, bit for bit", () => {
  const model = createBitnet(config);
  const parameters = randomParameters(model, 6);
  const tokens = randomTokens(model, 2, 5, 4);
  const packed = packedParameters(model, parameters);
  assert.equal(packed.get("blocks.0.feedForward.down.weight")!.type.dtype, "ternary");
  assert.deepEqual(evaluateModel(model, packed, tokens).logits, evaluateModel(model, parameters, tokens).logits);
});
