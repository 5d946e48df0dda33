// The tokenizer of language models: a vocabulary with the stages that surround it (pipeline-spec.ts). Text goes through
// added tokens, normalisation, words and the vocabulary's own way of spelling; short words are remembered, since texts
// repeat them. Every stage takes time in proportion to the text, or n log n of its longest word.

import { AddedTokenFinder } from "./added-tokens.ts";
import { BpeModel } from "./bpe-model.ts";
import { toByteText } from "./byte-text.ts";
import { compileNormalizer } from "./normalizer.ts";
import type { Normalizer } from "./normalizer.ts";
import type { PipelineSpec, WordStep } from "./pipeline-spec.ts";
import { RwkvModel } from "./rwkv-model.ts";
import { createDecoder } from "./token-decoder.ts";
import type { TokenDecoder } from "./token-decoder.ts";
import { checkToken, decodeAll, utf8Stream, withEnds } from "./tokenizer.ts";
import type { DecodeOptions, EncodeOptions, SpecialTokens, Tokenizer, TokenStream } from "./tokenizer.ts";
import { UnigramModel } from "./unigram-model.ts";
import { TokenBuffer } from "./vocabulary.ts";
import type { WordModel } from "./vocabulary.ts";
import { compileWordSplitter } from "./word-splitter.ts";
import type { WordSplitter } from "./word-splitter.ts";
import { WordPieceModel } from "./wordpiece-model.ts";

/** Words that are remembered, some megabytes at most, and how long they may be: V8 keeps the text of longer slices. */
const REMEMBERED_WORDS = 1 << 15;
const REMEMBERED_LENGTH = 12;

const encoder = new TextEncoder();
const noBytes = new Uint8Array(0);

/** Cuts a text before each run of "▁": what SentencePiece's spaces have become. */
const runsOfSpaces: WordStep = {
  type: "split",
  pattern: "\u2581*[^\u2581]+|\u2581+",
  literal: false,
  behavior: "isolated",
  invert: false,
};

export class PipelineTokenizer implements Tokenizer {
  readonly kind: PipelineSpec["kind"];
  readonly vocabSize: number;
  readonly bosToken: number | undefined;
  readonly eosToken: number | undefined;
  readonly stopTokens: readonly number[];
  readonly specialTokens: SpecialTokens;
  readonly #spec: PipelineSpec;
  readonly #model: WordModel;
  readonly #normalize: Normalizer;
  readonly #split: WordSplitter;
  /** Words are spelled by their bytes, and mapped only when they are not remembered. */
  readonly #mapsBytes: boolean;
  readonly #decoder: TokenDecoder;
  readonly #special: ReadonlySet<number>;
  readonly #added: ReadonlySet<number>;
  /** Added tokens as they stand in the text: all of them, and those that are not special; then the normalised ones. */
  readonly #finders: readonly [all: AddedTokenFinder, plain: AddedTokenFinder];
  readonly #normalizedFinders: readonly [all: AddedTokenFinder, plain: AddedTokenFinder];
  readonly #remembered = new Map<string, Int32Array>();

  /** @param spec what `readPipelineSpec` gave; throws `VocabularyError` or `PatternError` where its parts disagree */
  constructor(spec: PipelineSpec) {
    this.kind = spec.kind;
    this.vocabSize = spec.tokens.length;
    this.bosToken = spec.before[0];
    this.eosToken = spec.after.at(-1);
    this.stopTokens = spec.stop;
    this.specialTokens = spec.special;
    this.#spec = spec;
    this.#model = createModel(spec);
    this.#normalize = compileNormalizer(spec.normalizer);
    this.#mapsBytes = spec.words.at(-1)?.type === "bytes";
    this.#split = compileWordSplitter(wordSteps(spec, this.#model));
    this.#decoder = createDecoder(spec.decoder);
    this.#special = new Set(spec.added.filter(({ special }) => special).map(({ token }) => token));
    this.#added = new Set(spec.added.map(({ token }) => token));
    const finders = (isNormalized: boolean): readonly [AddedTokenFinder, AddedTokenFinder] => {
      const added = spec.added.filter(({ normalized }) => normalized === isNormalized);
      const textOf = isNormalized ? ({ text }: { text: string }) => this.#normalize(text) : undefined;
      const plain = added.filter(({ special }) => !special);
      return [new AddedTokenFinder(added, textOf), new AddedTokenFinder(plain, textOf)];
    };
    this.#finders = finders(false);
    this.#normalizedFinders = finders(true);
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    const which = options.specials === true ? 0 : 1;
    const out = new TokenBuffer();
    const whole = text.toWellFormed();
    this.#finders[which].cut(
      whole,
      (start, end) => {
        let isStart = start === 0;
        const normal = this.#normalize(whole.slice(start, end));
        this.#normalizedFinders[which].cut(
          normal,
          (from, to) => this.#spellAll(normal.slice(from, to), isStart && from === 0, out),
          (token) => {
            isStart = false;
            out.push(token);
          },
        );
      },
      (token) => out.push(token),
    );
    return withEnds(out.slice(), this.#spec.before, this.#spec.after, options);
  }

  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string {
    return decodeAll(this.stream(options), tokens);
  }

  /** A text's own first space belongs to its first word; where `encode` added one, the stream leaves it out again. */
  stream(options: DecodeOptions = {}): TokenStream {
    let [isFirst, isWaiting] = [true, false];
    const stream = utf8Stream((token) => {
      checkToken(token, this.vocabSize);
      const text = this.#spec.tokens[token];
      if (text === null) return noBytes;
      if (this.#special.has(token)) return options.specials === true ? encoder.encode(text) : noBytes;
      const isPlain = this.#spec.decoder.type === "bytes" && this.#added.has(token);
      const bytes = isPlain ? encoder.encode(text) : this.#decoder.bytes(text, isFirst);
      const before = isWaiting ? this.#decoder.between : undefined;
      isFirst = false;
      isWaiting = this.#decoder.endsWord(text);
      return before === undefined ? bytes : Uint8Array.of(...before, ...bytes);
    });
    return {
      push: stream.push,
      end: () => {
        [isFirst, isWaiting] = [true, false];
        return stream.end();
      },
    };
  }

  tokenText(token: number): string {
    checkToken(token, this.vocabSize);
    return this.#spec.tokens[token] ?? "";
  }

  toJSON(): PipelineSpec {
    return this.#spec;
  }

  #spellAll(text: string, isStart: boolean, out: TokenBuffer): void {
    for (const word of this.#split(text, isStart)) {
      const known = this.#remembered.get(word);
      if (known !== undefined) {
        out.pushAll(known);
        continue;
      }
      const from = out.length;
      this.#model.spell(this.#mapsBytes ? toByteText(word) : word, out);
      if (word.length > REMEMBERED_LENGTH) continue;
      if (this.#remembered.size === REMEMBERED_WORDS) this.#remembered.clear();
      this.#remembered.set(word, out.slice(from));
    }
  }
}

function createModel(spec: PipelineSpec): WordModel {
  switch (spec.kind) {
    case "bpe":
    case "scored-bpe":
      return new BpeModel(spec);
    case "unigram":
      return new UnigramModel(spec);
    case "wordpiece":
      return new WordPieceModel(spec);
    case "rwkv":
      return new RwkvModel(spec);
  }
}

/** The steps that cut words: without a last mapping to bytes, and with cuts at spaces where those change nothing. */
function wordSteps(spec: PipelineSpec, model: WordModel): readonly WordStep[] {
  const steps = spec.words.at(-1)?.type === "bytes" ? spec.words.slice(0, -1) : spec.words;
  const isWhole = spec.words.length === 0 && model instanceof BpeModel && model.spellsRunsApart;
  return isWhole ? [runsOfSpaces] : steps;
}
