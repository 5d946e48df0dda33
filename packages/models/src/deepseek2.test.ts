import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelConfigError } from "./config.ts";
import { createDeepseek2 } from "./deepseek2.ts";
import type { HostParameters } from "./testing.ts";
import { evaluateModel, largestError, randomParameters, randomTokens, startOf } from "./testing.ts";

const config = {
  architecture: "deepseek2",
  dim: 10,
  hiddenDim: 14,
  layerCount: 3,
  denseLayerCount: 1,
  headCount: 3,
  queryRank: 6,
  latentRank: 8,
  keyDim: 3,
  ropeDim: 4,
  valueDim: 2,
  expertCount: 6,
  expertsPerToken: 2,
  expertHiddenDim: 5,
  sharedExpertCount: 2,
  vocabSize: 11,
  contextLength: 32,
} as const;

type Config = Readonly<Record<string, unknown>>;

/** Both ways to score experts, groups of them, weights as they are and normalised, YaRN, queries without a latent. */
const VARIANTS: readonly Config[] = [
  {},
  { queryRank: 0, sharedExpertCount: 0, tiedEmbeddings: true },
  { expertScore: "sigmoid", selectionBias: true, normalisedWeights: true, expertScale: 2.5 },
  { expertGroupCount: 3, groupsPerToken: 2, groupScore: "top2", expertScore: "sigmoid" },
  { expertGroupCount: 3, groupsPerToken: 1, groupScore: "max", ropeTheta: 100 },
  {
    ropeScaling: "yarn",
    ropeScalingFactor: 4,
    ropeOriginalContext: 16,
    ropeFastTurns: 2,
    ropeSlowTurns: 0.5,
    ropeMagnitude: 0.7,
    attentionScale: 0.5,
  },
];

test("logits are those of the papers' equations written as loops, with few queries and with many", () => {
  for (const variant of VARIANTS) {
    const full = { ...config, ...variant };
    const model = createDeepseek2(full);
    const parameters = randomParameters(model, 3);
    // From six queries on, keys and values of all heads are made.
    for (const time of [5, 13]) {
      const tokens = randomTokens(model, 2, time, 1);
      const { logits } = evaluateModel(model, parameters, tokens);
      const expected = tokens.flatMap((row) => reference(model.config, parameters, row));
      assert.ok(largestError(expected, logits) < 1e-9, `${JSON.stringify(variant)}, ${time} tokens`);
    }
  }
});

test("decoding token by token over the compressed cache gives the logits of the whole sequence", () => {
  for (const variant of VARIANTS) {
    const model = createDeepseek2({ ...config, ...variant });
    const parameters = randomParameters(model, 4);
    const tokens = randomTokens(model, 1, 14, 2);
    const whole = evaluateModel(model, parameters, tokens);
    let past = startOf(model, 1, 17);
    const decoded: number[] = [];
    // A prompt first, by keys and values of its own.
    for (const piece of [tokens[0]!.slice(0, 10), ...tokens[0]!.slice(10).map((token) => [token])]) {
      const step = evaluateModel(model, parameters, [piece], past);
      decoded.push(...step.logits);
      past = step.past;
    }
    assert.ok(largestError(whole.logits, decoded) < 1e-9);
  }
});

test("the cache is one vector a layer and token, however many heads there are", () => {
  const cache = { latents: { dtype: "f32", shape: [2, 7, 1, 12] } };
  const model = createDeepseek2(config);
  assert.deepEqual(model.stateTypes({ batch: 2, capacity: 7 }), { blocks: [cache, cache, cache] });
  assert.equal(model.contextLimit, 32);
});

test("sizes that do not fit are refused by name", () => {
  const refuse = (changes: Config, message: RegExp): void => {
    assert.throws(
      () => createDeepseek2({ ...config, ...changes }),
      (error) => error instanceof ModelConfigError && message.test(error.message),
    );
  };
  refuse({ ropeDim: 3 }, /an even ropeDim(.|\n)*got: +3/);
  refuse({ expertGroupCount: 4 }, /groups that divide the experts(.|\n)*6 experts in 4 groups/);
  refuse({ expertGroupCount: 3, groupsPerToken: 4 }, /4 a token/);
  refuse({ expertGroupCount: 3, groupsPerToken: 1, expertsPerToken: 3 }, /at most 2 experts a token/);
  refuse({ expertsPerToken: 7 }, /at most 6 experts a token/);
  refuse({ ropeFactors: [1] }, /2 rotary factors(.|\n)*1 of them/);
  refuse({ latentRank: 0 }, /latentRank is impossible/);
  refuse({ expertScore: "relu" }, /"softmax" or "sigmoid"/);
});

type Row = number[];

/** One row of tokens, token by token: keys and values of every head come from its latents. [time x vocabulary]. */
function reference(full: Config, parameters: HostParameters, tokens: readonly number[]): Row {
  const number = (field: string): number => Number(full[field]);
  const [dim, heads, rank] = [number("dim"), number("headCount"), number("latentRank")];
  const [keyDim, ropeDim, valueDim] = [number("keyDim"), number("ropeDim"), number("valueDim")];
  const value = (name: string): Float64Array => parameters.get(name)!.data;
  const caches = Array.from({ length: number("layerCount") }, () => ({ latents: [] as Row[], turned: [] as Row[] }));
  const logits: Row = [];
  for (const [position, token] of tokens.entries()) {
    let x = Array.from(value("embedding.weight").subarray(token * dim, (token + 1) * dim));
    for (const [layer, { latents, turned }] of caches.entries()) {
      const at = (name: string): string => `blocks.${layer}.${name}`;
      const weight = (name: string): Float64Array => value(at(`${name}.weight`));
      const normed = rms(x, weight("attentionNorm"));
      const down =
        number("queryRank") === 0
          ? normed
          : rms(product(normed, weight("attention.queryDown")), weight("attention.queryNorm"));
      const query = product(down, weight("attention.query"));
      const joined = product(normed, weight("attention.latent"));
      latents.push(rms(joined.slice(0, rank), weight("attention.latentNorm")));
      turned.push(turn(full, joined.slice(rank), position));
      const mixed = Array.from({ length: heads }, (_, h) => {
        const own = query.slice(h * (keyDim + ropeDim), (h + 1) * (keyDim + ropeDim));
        const ownTurned = turn(full, own.slice(keyDim), position);
        const keyUp = weight("attention.keyUp").subarray(h * rank * keyDim, (h + 1) * rank * keyDim);
        const valueUp = weight("attention.valueUp").subarray(h * rank * valueDim, (h + 1) * rank * valueDim);
        const scores = latents.map((latent, s) => {
          const key = Array.from({ length: keyDim }, (_zero, i) =>
            latent.reduce((sum, c, r) => sum + c * keyUp[r * keyDim + i]!, 0),
          );
          return Math.exp(number("attentionScale") * (dot(key, own) + dot(turned[s]!, ownTurned)));
        });
        const total = scores.reduce((sum, score) => sum + score, 0);
        const values = latents.map((latent) => product(latent, valueUp));
        return Array.from({ length: valueDim }, (_zero, i) =>
          values.reduce((sum, row, s) => sum + (scores[s]! / total) * row[i]!, 0),
        );
      }).flat();
      x = sum(x, product(mixed, weight("attention.output")));
      const input = rms(x, weight("feedForwardNorm"));
      const gated = (gate: Float64Array, up: Float64Array, back: Float64Array): Row => {
        const open = product(input, up);
        return product(
          product(input, gate).map((g, i) => (g / (1 + Math.exp(-g))) * open[i]!),
          back,
        );
      };
      const layerOf = (name: string): Row =>
        gated(weight(`${name}.gate`), weight(`${name}.up`), weight(`${name}.down`));
      x = sum(x, layer < number("denseLayerCount") ? layerOf("feedForward") : mixture());

      function mixture(): Row {
        const raw = product(input, weight("experts.router"));
        const sizes = number("expertCount");
        const all = raw.reduce((total, score) => total + Math.exp(score), 0);
        const scores = raw.map((s) => (full["expertScore"] === "softmax" ? Math.exp(s) / all : 1 / (1 + Math.exp(-s))));
        const bias = parameters.get(at("experts.selectionBias"))?.data;
        const judged = scores.map((score, e) => score + (bias?.[e] ?? 0));
        const groupSize = sizes / number("expertGroupCount");
        const groups = Array.from({ length: number("expertGroupCount") }, (_, g) => {
          const best = judged.slice(g * groupSize, (g + 1) * groupSize).sort((a, b) => b - a);
          return { g, score: full["groupScore"] === "max" ? best[0]! : best[0]! + best[1]! };
        });
        const open = groups.sort((a, b) => b.score - a.score).slice(0, number("groupsPerToken"));
        const chosen = Array.from(judged.keys())
          .filter((e) => open.some(({ g }) => g === Math.floor(e / groupSize)))
          .sort((a, b) => judged[b]! - judged[a]!)
          .slice(0, number("expertsPerToken"));
        const total = full["normalisedWeights"] === true ? chosen.reduce((t, e) => t + scores[e]!, 0) : 1;
        const matrix = (name: string, e: number): Float64Array => {
          const matrices = weight(`experts.${name}`);
          return matrices.subarray((e * matrices.length) / sizes, ((e + 1) * matrices.length) / sizes);
        };
        const shared = number("sharedExpertCount") > 0 ? layerOf("experts.shared") : input.map(() => 0);
        return chosen.reduce((y, e) => {
          const factor = (scores[e]! / total) * number("expertScale");
          return sum(
            y,
            gated(matrix("gate", e), matrix("up", e), matrix("down", e)).map((v) => v * factor),
          );
        }, shared);
      }
    }
    const head = parameters.has("head.weight") ? "head.weight" : "embedding.weight";
    logits.push(...product(rms(x, value("finalNorm.weight")), value(head)));
  }
  return logits;
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((total, v, i) => total + v * b[i]!, 0);
const sum = (a: readonly number[], b: readonly number[]): Row => a.map((v, i) => v + b[i]!);

function product(x: readonly number[], weight: Float64Array): Row {
  return Array.from({ length: weight.length / x.length }, (_, o) =>
    x.reduce((total, v, i) => total + v * weight[o * x.length + i]!, 0),
  );
}

function rms(x: readonly number[], gain: Float64Array): Row {
  const meanSquare = dot(x, x) / x.length;
  return x.map((v, i) => (v / Math.sqrt(meanSquare + 1e-6)) * gain[i]!);
}

/** Neighbouring pairs turned for `position`, slowed and grown as YaRN does it. */
function turn(full: Config, x: readonly number[], position: number): Row {
  const theta = Number(full["ropeTheta"]);
  const isYarn = full["ropeScaling"] === "yarn";
  const factor = Number(full["ropeScalingFactor"] ?? 1);
  const grown = isYarn ? Number(full["ropeMagnitude"]) * (1 + 0.1 * Math.log(factor)) : 1;
  const pairOf = (turns: number): number =>
    (x.length * Math.log(Number(full["ropeOriginalContext"]) / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  return Array.from({ length: x.length / 2 }, (_, pair) => {
    let frequency = theta ** ((-2 * pair) / x.length);
    if (isYarn) {
      const low = Math.max(0, Math.floor(pairOf(Number(full["ropeFastTurns"]))));
      const high = Math.min(x.length - 1, Math.ceil(pairOf(Number(full["ropeSlowTurns"]))));
      const slow = Math.min(1, Math.max(0, (pair - low) / Math.max(0.001, high - low)));
      frequency = (frequency / factor) * slow + frequency * (1 - slow);
    }
    const [cos, sin] = [grown * Math.cos(position * frequency), grown * Math.sin(position * frequency)];
    const [a, b] = [x[2 * pair]!, x[2 * pair + 1]!];
    return [a * cos - b * sin, a * sin + b * cos];
  }).flat();
}
