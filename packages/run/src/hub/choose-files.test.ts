// Which files make a model, for repositories as they are laid out at the hub.

import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseFiles, quantisationOf } from "./choose-files.ts";
import { HubError } from "./errors.ts";
import { isStoreName, parseModelName } from "./model-name.ts";

const listed = (...paths: readonly string[]) => paths.map((path, index) => ({ path, sizeBytes: 100 - index }));
const chosen = (paths: readonly string[], choice?: string): string[] =>
  chooseFiles("a/b", listed(...paths), choice).files.map(({ path }) => path);

test("names: repositories, quantisations, files, and addresses of pages", () => {
  assert.deepEqual(parseModelName("Qwen/Qwen3-0.6B"), {
    repository: "Qwen/Qwen3-0.6B",
    choice: undefined,
    name: "Qwen/Qwen3-0.6B",
  });
  assert.equal(parseModelName("a/b:Q4_K_M").name, "a/b:Q4_K_M");
  assert.equal(parseModelName("a/b:sub/file-Q8_0.gguf").name, "a/b:file-Q8_0");
  assert.equal(parseModelName("https://huggingface.co/a/b/tree/main").repository, "a/b");
  assert.equal(parseModelName("hf.co/a/b:Q8_0").choice, "Q8_0");
  for (const wrong of ["", "a", "a/b/c", "../b", "a/..", "a/b:", "a/b--c", "/etc/passwd", "a/b c"]) {
    assert.throws(() => parseModelName(wrong), HubError, wrong);
  }
  assert.ok(isStoreName("story") && isStoreName("a/b:Q4_0"));
  for (const wrong of ["", "../a", "a/b/c", "a b", "a--b", ".a", "a:b/c", "a".repeat(300)]) {
    assert.ok(!isStoreName(wrong), wrong);
  }
});

test("the quantisation is read from the file's name, or its folder's", () => {
  assert.equal(quantisationOf("tinyllama-1.1b.Q4_K_M.gguf"), "Q4_K_M");
  assert.equal(quantisationOf("x-IQ2_XXS.gguf"), "IQ2_XXS");
  assert.equal(quantisationOf("Q8_0/x-00001-of-00002.gguf"), "Q8_0");
  assert.equal(quantisationOf("Qwen3-0.6B-f16.gguf"), "F16");
  assert.equal(quantisationOf("UD/x-UD-Q2_K_XL.gguf"), "UD-Q2_K_XL");
  assert.equal(quantisationOf("ggml-model-i2_s.gguf"), "I2_S");
  assert.equal(quantisationOf("model.gguf"), undefined);
});

test("GGUF: the usual quantisation, a named one, a file, all parts of a split one", () => {
  const paths = ["README.md", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-F16.gguf", "m-Q2_K.gguf"];
  assert.deepEqual(chosen(paths), ["m-Q4_K_M.gguf"]);
  assert.deepEqual(chosen(paths, "q8_0"), ["m-Q8_0.gguf"]);
  assert.deepEqual(chosen(paths, "m-Q2_K.gguf"), ["m-Q2_K.gguf"]);
  assert.deepEqual(chosen(["strange.gguf"]), ["strange.gguf"]);
  const parts = ["Q8_0/m-00002-of-00002.gguf", "Q8_0/m-00001-of-00002.gguf"];
  const split = chooseFiles("a/b", listed(...parts, "m-Q4_0.gguf"), "Q8_0");
  assert.deepEqual(
    split.files.map(({ path }) => path),
    parts.toReversed(),
  );
  assert.equal(split.opened, "Q8_0/m-00001-of-00002.gguf");
  assert.throws(() => chosen(["m-Q8_0-00001-of-00002.gguf"]), HubError, "a part is missing");
});

test("a folder: configuration, weights, tokenizer, and nothing else", () => {
  const paths = ["README.md", "config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin", "x-Q4_0.gguf"];
  assert.deepEqual(chosen(paths), ["config.json", "tokenizer.json", "model.safetensors"]);
  assert.deepEqual(chosen(paths, "Q4_0"), ["x-Q4_0.gguf"]);
  const split = ["config.json", "model.safetensors.index.json", "model.safetensors"];
  const parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  assert.deepEqual(chosen([...split, ...parts]), ["config.json", "model.safetensors.index.json", ...parts]);
});

test("what is not there is refused with what is", () => {
  assert.throws(
    () => chosen(["m-Q8_0.gguf", "m-Q4_0.gguf"], "Q5_K_M"),
    /Q8_0, Q4_0[\s\S]*try: +fidelity pull a\/b:Q8_0/,
  );
  assert.throws(() => chosen(["pytorch_model.bin", "config.json"]), /pytorch_model\.bin/);
  assert.throws(() => chosen([]), /empty repository/);
  assert.throws(() => chosen(["a/m-Q8_0.gguf", "b/m-Q8_0.gguf"], "Q8_0"), /give its file/);
});
