// `fidelity embed`: vectors of texts, as the library computes them.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import {
  CharacterTokenizer,
  createModel,
  createParameters,
  encode,
  fillParameter,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import { saveModel } from "@fidelity/run/node";
import { fidelity, Scratch, startFidelity, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const tokenizer = CharacterTokenizer.fromTexts(["a cat on the mat"]);
const device = createInterpreter();
const sizes = { dim: 8, hiddenDim: 12, layerCount: 1, headCount: 2, contextLength: 20 };
const model = createModel({ architecture: "bert", ...sizes, vocabSize: tokenizer.vocabSize });
const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
  fillParameter(specs.get(path)!, path, 5, tensor.f32()),
);
const path = scratch.at("encoder.fid");
await saveModel(path, { device, model, parameters, tokenizer, packed: false });

describe("embed", { concurrency: 2 }, () => {
  test("texts of the command line, and lines of standard input, by the mean and by the first token", async () => {
    const { code, stdout, stderr } = await fidelity("embed", path, "a cat", "mat", "--no-normalize", "--json");
    assert.equal(code, 0, stderr);
    const { results, dim, pooling } = JSON.parse(stdout);
    assert.deepEqual([dim, pooling, results.length, results[0].tokens], [8, "mean", 2, 5]);
    const expected = await encode(model, parameters, device, tokenizer.encode("a cat"), "mean");
    expected.forEach((value, i) => assert.ok(Math.abs(value - results[0].vector[i]) < 1e-5, `${i}`));

    const piped = await startFidelity(["embed", path, "--pooling", "first"], {}, "a cat\n\nmat\n").ended;
    const lines = piped.stdout.trimEnd().split("\n");
    assert.equal(lines.length, 2, piped.stderr);
    for (const line of lines) {
      const vector: number[] = JSON.parse(line);
      assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-5, line);
    }
  });

  test("a language model, a text that is too long, and no text are refused", async () => {
    const llama = await fidelity("embed", writeTinyLlama2c(scratch).model, "ab");
    assert.deepEqual([llama.code, /needs an encoder/.test(llama.stderr)], [1, true], llama.stderr);
    const long = await fidelity("embed", path, "cat ".repeat(9));
    assert.deepEqual([long.code, /longer than the model allows/.test(long.stderr)], [1, true], long.stderr);
    const none = await fidelity("embed", path);
    assert.deepEqual([none.code, /there is no text/.test(none.stderr)], [2, true], none.stderr);
  });
});
