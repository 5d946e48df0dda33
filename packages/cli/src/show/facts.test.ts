import assert from "node:assert/strict";
import { test } from "node:test";
import type { FileDescription } from "../describe-file.ts";
import { cardRows, configRows, nextSteps } from "./facts.ts";

const tokens = Array.from({ length: 300 }, (_, i) => `token${i}`);
const description: FileDescription = {
  path: "models/it's.gguf",
  format: "GGUF, version 3",
  fileSizeBytes: 1,
  architecture: { name: "llama", summary: "a transformer" },
  card: { "general.license": "mit", "general.languages": ["en", "de"], "general.base_model.0.name": "org/base" },
  tokenizer: { kind: "bpe", tokens: 300 },
  chatTemplates: ["default"],
  config: {
    "general.license": "mit",
    "tokenizer.chat_template": "{{ messages }}",
    tokenizer: { kind: "bpe", tokens },
    sizes: { dim: 4, factors: tokens },
    few: [1, 2],
  },
  metadata: {},
  components: [],
  totals: { tensors: 0, elements: 0, sizeBytes: 0 },
};

test("a card is told in words, and not again in the configuration, of which long lists are lengths", () => {
  assert.deepEqual(cardRows(description), [
    ["license", "mit"],
    ["languages", "en, de"],
    ["base model", "org/base"],
    ["tokenizer", "bpe, 300 tokens"],
    ["chat template", "default"],
  ]);
  assert.deepEqual(configRows(description), [
    ["sizes.dim", "4"],
    ["sizes.factors", "300 values"],
    ["few.0", "1"],
    ["few.1", "2"],
  ]);
});

test("what can be done next are commands that a shell takes; nothing for what cannot be opened", () => {
  const [generate, convert] = nextSteps(description);
  assert.match(generate, /^fidelity generate --model 'models\/it'\\''s.gguf' --prompt/);
  assert.match(convert, /model\.fid$/);
  assert.match(nextSteps({ ...description, tokenizer: undefined })[0], /--tokenizer/);
  assert.match(nextSteps({ ...description, architecture: { name: "bert", summary: "" } })[0], /^fidelity logits/);
  assert.deepEqual(nextSteps({ ...description, problem: "no" }), []);
});
