import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createMamba } from "./mamba.ts";
import type { Model } from "./model.ts";
import type { LoopMixer, Values, Vector } from "./testing-recurrent.ts";
import {
  assertConstantState,
  assertDecodes,
  assertEquations,
  convolve,
  loopAttention,
  product,
  rms,
  silu,
  softplus,
  stackLogits,
} from "./testing-recurrent.ts";

const config = { architecture: "mamba", dim: 6, layerCount: 2, vocabSize: 9, stateSize: 3, timeStepRank: 2 };
const hybrid = {
  ...config,
  layerCount: 3,
  pattern: "MAM",
  hiddenDim: 8,
  attentionHeadCount: 2,
  attentionKeyValueHeadCount: 1,
  attentionHeadSize: 4,
  selectionNorm: "gain",
  tiedEmbeddings: true,
};

/** Section 3.4 and algorithm 2 of arXiv 2312.00752, for one layer. */
function loopMamba(model: Model, values: Values): LoopMixer {
  const { innerDim, stateSize, timeStepRank, normEpsilon } = model.config as Record<string, number>;
  const { selectionNorm } = model.config;
  const inputs: Vector[] = [];
  const states = Array.from({ length: innerDim }, () => new Array<number>(stateSize).fill(0));
  const normed = (x: Vector, name: string): Vector => {
    if (selectionNorm === "none") return x;
    return rms(x, normEpsilon, selectionNorm === "gain" ? values(`${name}.weight`) : undefined);
  };
  return (u) => {
    const projected = product(values("input.weight"), u);
    inputs.push(projected.slice(0, innerDim));
    const x = convolve(inputs, values("convolution.weight"), values("convolution.bias")).map(silu);
    const selected = product(values("selection.weight"), x);
    const rank = normed(selected.slice(0, timeStepRank), "timeStepNorm");
    const b = normed(selected.slice(timeStepRank, timeStepRank + stateSize), "inputNorm");
    const c = normed(selected.slice(timeStepRank + stateSize), "outputNorm");
    const steps = product(values("timeStep.weight"), rank).map((v, i) => softplus(v + values("timeStep.bias")[i]));
    const y = x.map((input, channel) => {
      let read = 0;
      for (let n = 0; n < stateSize; n++) {
        const rate = -Math.exp(values("logRates")[channel * stateSize + n]);
        const before = states[channel][n];
        states[channel][n] = Math.exp(steps[channel] * rate) * before + steps[channel] * b[n] * input;
        read += c[n] * states[channel][n];
      }
      return (read + values("skip")[channel] * input) * silu(projected[innerDim + channel]);
    });
    return product(values("output.weight"), y);
  };
}

for (const [name, changes] of Object.entries({
  plain: config,
  "with norms without gains": { ...config, selectionNorm: "plain", convolutionSize: 2 },
  "in a hybrid": hybrid,
  "in a hybrid that knows positions": { ...hybrid, ropeSize: 0, residualScale: 0.5, embeddingScale: 3, logitScale: 2 },
})) {
  test(`logits are those of the equations written as loops, ${name}`, () => {
    const model = createMamba(changes);
    assertEquations(model, (parameters, tokens) =>
      stackLogits(model, parameters, tokens, (layer, values) =>
        "pattern" in changes && layer === 1 ? loopAttention(model, values) : loopMamba(model, values),
      ),
    );
  });
}

test("decoding in pieces of any length gives the logits and the state of the whole sequence", () => {
  assertDecodes(createMamba(config));
  assertDecodes(createMamba(hybrid));
});

test("the state has one size, that of a hybrid grows with its context", () => {
  assertConstantState(createMamba(config));
  const model = createMamba({ ...hybrid, contextLength: 77 });
  assert.equal(model.contextLimit, 77);
  const { blocks } = model.stateTypes({ batch: 1, capacity: 5 }) as { readonly blocks: readonly unknown[] };
  assert.deepEqual(blocks[1], {
    keys: { dtype: "f32", shape: [1, 5, 1, 4] },
    values: { dtype: "f32", shape: [1, 5, 1, 4] },
  });
});

test("impossible configurations are refused by name", () => {
  const refused = (changes: object, message: RegExp): void => {
    assert.throws(
      () => createMamba({ ...config, ...changes }),
      (error) => error instanceof ModelConfigError && message.test(error.message),
    );
  };
  refused({ pattern: "MX" }, /pattern(.|\n)*letters M, A/);
  refused({ pattern: "" }, /pattern is impossible/);
  refused({ convolutionSize: 1 }, /convolutionSize(.|\n)*from 2 to 64/);
  refused({ hiddenDim: -1 }, /hiddenDim(.|\n)*from 0 to/);
  refused({ pattern: "A", attentionHeadCount: 3, attentionKeyValueHeadCount: 2 }, /heads that divide(.|\n)*3 heads/);
  refused({ pattern: "A", attentionHeadCount: 1, ropeSize: 8 }, /ropeSize 8, head size 6/);
});
