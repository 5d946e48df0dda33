import assert from "node:assert/strict";
import { test } from "node:test";
import { tokenizerFromGguf } from "../tokenizers/index.ts";
import type { Tokenizer } from "../tokenizers/index.ts";
import { createConstraint, regexGrammar, TokenVocabulary } from "./index.ts";

const byteNames = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);

function fromGguf(metadata: Readonly<Record<string, unknown>>): Tokenizer {
  return tokenizerFromGguf((key) => metadata[key.replace("tokenizer.ggml.", "")]);
}

const llamaTokens = ["<unk>", "<s>", "</s>", ...byteNames, "▁", "h", "i", "▁hi", "▁h"];
const tokenizers = [
  fromGguf({
    model: "llama",
    tokens: llamaTokens,
    scores: llamaTokens.map((_, at) => -at),
    token_type: llamaTokens.map((text, at) => (at === 0 ? 2 : at < 3 ? 3 : text.startsWith("<0x") ? 6 : 1)),
    eos_token_id: 2,
  }),
  fromGguf({
    model: "gpt2",
    pre: "gpt-2",
    tokens: ["h", "i", "Ġ", "Ã", "©", "hi", "Ġhi", "!", "<|end|>"],
    token_type: [1, 1, 1, 1, 1, 1, 1, 1, 3],
    merges: ["h i", "Ġ hi"],
    eos_token_id: 8,
  }),
];

for (const tokenizer of tokenizers) {
  test(`${tokenizer.kind}: the bytes of tokens make the text, and marks have none`, () => {
    const text = "hi hihié hi!".slice(0, tokenizer.kind === "bpe" ? 12 : 11);
    const vocabulary = new TokenVocabulary(tokenizer);
    const tokens = tokenizer.encode(text);
    const bytes = Array.from(tokens, (token) => [...tokenizer.tokenBytes(token)]).flat();
    assert.equal(new TextDecoder().decode(Uint8Array.from(bytes)).trimStart(), text);
    for (const token of tokenizer.stopTokens) assert.equal(tokenizer.tokenBytes(token).length, 0);
    for (const token of tokens) assert.deepEqual(vocabulary.bytesOf(token), tokenizer.tokenBytes(token));
    // Every spelling of the text is in the masks, down to the bytes of "é".
    const constraint = createConstraint(regexGrammar(` ?${text}`), vocabulary);
    const mask = new Uint32Array((tokenizer.vocabSize + 31) >>> 5);
    for (const token of tokens) {
      constraint.allowed(mask);
      assert.equal((mask[token >>> 5] >>> (token & 31)) & 1, 1, tokenizer.tokenText(token));
      constraint.accept(token);
    }
    assert.ok(constraint.isFinished);
  });
}
