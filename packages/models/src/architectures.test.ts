import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArchitectureError, createModel } from "./architectures.ts";
import { ModelConfigError } from "./config.ts";
import { nearestName } from "./nearest.ts";

const matmulFree = { architecture: "matmul-free", dim: 16, layerCount: 1, vocabSize: 5 };
const llama = { architecture: "llama", dim: 16, layerCount: 1, headCount: 4, vocabSize: 5, contextLength: 8 };

test("defaults are filled in, and the filled configuration gives the same model", () => {
  const model = createModel(llama);
  assert.deepEqual(model.config, {
    architecture: "llama",
    dim: 16,
    hiddenDim: 64,
    layerCount: 1,
    headCount: 4,
    keyValueHeadCount: 4,
    headDim: 4,
    vocabSize: 5,
    contextLength: 8,
    tiedEmbeddings: true,
    normEpsilon: 1e-5,
    ropeTheta: 10000,
    ropePairing: "adjacent",
    queryKeyValueBias: false,
    outputBias: false,
    feedForwardBias: false,
    attention: "full",
  });
  const scaled = { ...llama, ropeFactors: [1, 8], ropeScaling: "yarn", ropeScalingFactor: 4 };
  for (const config of [llama, matmulFree, scaled]) {
    const first = createModel(config);
    const again = createModel(JSON.parse(JSON.stringify(first.config)));
    assert.deepEqual(again.config, first.config);
    assert.deepEqual(again.parameters, first.parameters);
  }
});

test("an unknown architecture is named with the nearest known one", () => {
  const message = (config: unknown): string => {
    try {
      createModel(config);
    } catch (error) {
      assert.ok(error instanceof ArchitectureError);
      return error.message;
    }
    return "";
  };
  assert.match(message({ architecture: "matmul_fee" }), /did you mean "matmul-free"\?/);
  assert.match(message({ architecture: "Lama" }), /got: +"Lama"(.|\n)*did you mean "llama"\?/);
  assert.match(message({ architecture: "toString" }), /expected: matmul-free, llama/);
  for (const nothing of [undefined, null, 3, "llama", {}]) assert.match(message(nothing), /names no architecture/);
});

test("impossible sizes are refused by name, before anything is allocated", () => {
  const cases: readonly (readonly [config: object, message: RegExp])[] = [
    [{ ...matmulFree, dim: 0 }, /dim is impossible(.|\n)*an integer from 1 to 131072(.|\n)*got: +0/],
    [{ ...matmulFree, dim: -4 }, /dim is impossible/],
    [{ ...matmulFree, dim: 2.5 }, /dim is impossible/],
    [{ ...matmulFree, dim: "64" }, /dim is impossible/],
    [{ ...matmulFree, layerCount: NaN }, /layerCount is impossible/],
    [{ ...matmulFree, vocabSize: 2 ** 25 }, /vocabSize is impossible/],
    [{ ...matmulFree, vocabSize: undefined }, /vocabSize is missing/],
    [{ ...matmulFree, normEpsilon: 0 }, /normEpsilon is impossible/],
    [{ ...matmulFree, tiedEmbeddings: 1 }, /tiedEmbeddings is impossible(.|\n)*true or false/],
    [{ ...matmulFree, layers: 3 }, /no field "layers"(.|\n)*did you mean "layerCount"\?/],
    [{ ...matmulFree, dim: 131072, layerCount: 4096 }, /too large(.|\n)*at most 64\.0 GiB(.|\n)*parameters/],
    [{ ...llama, dim: 18 }, /headDim is impossible(.|\n)*dim \/ headCount(.|\n)*got: +4\.5/],
    [{ ...llama, dim: 20 }, /headDim is impossible(.|\n)*an even number(.|\n)*got: +5/],
    [{ ...llama, ropeFactors: [1] }, /factors do not fit the heads(.|\n)*2 numbers(.|\n)*got: +1 numbers/],
    [{ ...llama, ropeFactors: [1, 0] }, /ropeFactors is impossible(.|\n)*numbers above 0/],
    [{ ...llama, attention: "window" }, /window is missing/],
    [{ ...llama, dim: 1 << 16, featureCount: 1 << 14 }, /sizes do not fit(.|\n)*a smaller featureCount/],
    [{ ...llama, keyValueHeadCount: 3 }, /heads do not fit(.|\n)*3 key and value heads/],
    [{ ...llama, contextLength: 0 }, /contextLength is impossible/],
    [{ ...llama, ropePairing: "both" }, /ropePairing is impossible(.|\n)*"adjacent" or "halves"/],
    [{ ...llama, ropeTheta: Infinity }, /ropeTheta is impossible/],
  ];
  for (const [config, message] of cases) {
    assert.throws(
      () => createModel(config),
      (error) => {
        assert.ok(error instanceof ModelConfigError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("any configuration gives a model or a named error", () => {
  const fields = ["dim", "layerCount", "headCount", "keyValueHeadCount", "vocabSize", "contextLength", "ropeTheta"];
  const value = fc.oneof(fc.integer({ min: -1, max: 12 }), fc.double(), fc.string(), fc.boolean(), fc.constant(null));
  const config = fc.dictionary(fc.constantFrom(...fields), value);
  fc.assert(
    fc.property(fc.constantFrom(llama, matmulFree), config, (valid, changes) => {
      try {
        createModel({ ...valid, ...changes });
      } catch (error) {
        assert.ok(error instanceof ModelConfigError, String(error));
      }
    }),
  );
});

test("the nearest name has the fewest edits", () => {
  assert.equal(nearestName("kitten", ["mitten", "sitting", "kit"]), "mitten");
  assert.equal(nearestName("", ["long name", "a"]), "a");
});
