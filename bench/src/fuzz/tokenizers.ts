// Tokenizers and chat templates, damaged or not, over odd texts. What is accepted spells every text with tokens of its
// vocabulary or refuses it, decodes alike at once and token by token, and is the same after a way through JSON; what is
// not damaged and spells bytes gives texts back. Everything else must be an error of ours.

import {
  ChatTemplate,
  ChatTemplateError,
  TokenizerError,
  tokenizerFromGguf,
  tokenizerFromHuggingFace,
  tokenizerFromJSON,
} from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";
import { oddText, seedTokenizer } from "./tokenizer-files.ts";
import type { Plain, Seed } from "./tokenizer-files.ts";

/** Tokenizers and templates from files, which are used or refused. */
export const tokenizers: FuzzTarget = {
  name: "tokenizers",
  about: "hostile tokenizers, templates and texts end in tokens or in an error that says why",
  open(seed) {
    return {
      run(index) {
        const random = randomFor(seed, index);
        const { seed: file, isDamaged } = seedTokenizer(random);
        try {
          return file.kind === "template" ? renderCase(file.value, random) : tokenCase(file, isDamaged, random);
        } catch (error) {
          if (error instanceof TokenizerError || error instanceof ChatTemplateError) return `refused: ${error.summary}`;
          throw new Error(`a ${file.kind}${isDamaged ? ", damaged" : ""}`, { cause: error });
        }
      },
    };
  },
};

function renderCase(source: string, random: Random): string {
  const template = new ChatTemplate(source);
  const messages = Array.from({ length: 1 + random(3) }, (_, turn) => ({
    role: turn % 2 === 0 ? "user" : "assistant",
    content: oddText(random),
  }));
  template.render(messages, { bosToken: "<s>", eosToken: "</s>" });
  return "read: a template";
}

function tokenCase(file: Exclude<Seed, { kind: "template" }>, isDamaged: boolean, random: Random): string {
  const tokenizer = open(file.kind, file.value);
  const restored = tokenizerFromJSON(JSON.parse(JSON.stringify(tokenizer)));
  const text = oddText(random);
  const options = { specials: random(2) === 0 };
  const tokens = tokenizer.encode(text, options);
  if (tokens.some((token) => token < 0 || token >= tokenizer.vocabSize)) throw new Error("a token out of range");
  if (!isSame(tokens, restored.encode(text, options))) throw new Error("another tokenizer after JSON");
  const decoded = tokenizer.decode(tokens, options);
  const stream = tokenizer.stream(options);
  let streamed = "";
  for (const token of tokens) streamed += stream.push(token);
  if (streamed + stream.end() !== decoded) throw new Error("a stream that decodes otherwise");
  // SentencePiece's vocabularies write spaces as "▁", take one in the text for a space, and put one after special
  // tokens.
  const kinds = options.specials ? ["bpe", "rwkv"] : ["bpe", "rwkv", "scored-bpe"];
  const isLossless = !isDamaged && file.kind === "metadata" && kinds.includes(tokenizer.kind);
  const expected = tokenizer.kind === "scored-bpe" ? text.replaceAll("▁", " ") : text;
  if (isLossless && decoded !== expected.toWellFormed())
    throw new Error(`the text ${JSON.stringify(text.slice(0, 200))} is lost`);
  return `read: ${tokenizer.kind}`;
}

function open(kind: "json" | "metadata", value: Plain): Tokenizer {
  if (kind === "json") return tokenizerFromHuggingFace({ tokenizer: value });
  const metadata = new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);
  return tokenizerFromGguf((key) => metadata.get(key.replace("tokenizer.ggml.", "")));
}

function isSame(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((token, at) => token === b[at]);
}
