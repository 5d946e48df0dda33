// The tokenizer of language models: a vocabulary with the stages that surround it (pipeline-spec.ts). Text goes through
// added tokens, normalisation, words and the vocabulary's own way of spelling; short words are remembered, since texts
// repeat them. Every stage takes time in proportion to the text, or n log n of its longest word.

import { AddedTokenFinder } from "./added-tokens.ts";
import { BpeModel } from "./bpe-model.ts";
import { toByteText } from "./byte-text.ts";
import { compileNormalizer } from "./normalizer.ts";
import type { Normalizer } from "./normalizer.ts";
import type { PipelineSpec } from "./pipeline-spec.ts";
import { RwkvModel } from "./rwkv-model.ts";
import { createDecoder } from "./token-decoder.ts";
import type { TokenDecoder } from "./token-decoder.ts";
import { checkToken, utf8Stream, withEnds } from "./tokenizer.ts";
import type { DecodeOptions, EncodeOptions, SpecialTokens, Tokenizer, TokenStream } from "./tokenizer.ts";
import { UnigramModel } from "./unigram-model.ts";
import { TokenBuffer } from "./vocabulary.ts";
import type { WordModel } from "./vocabulary.ts";
import { compileWordSplitter, cutAtSpaces } from "./word-splitter.ts";
import type { WordSplitter } from "./word-splitter.ts";
import { WordPieceModel } from "./wordpiece-model.ts";

/** Words that are remembered, some megabytes at most, and how long they may be: V8 keeps the text of longer slices. */
const REMEMBERED_WORDS = 1 << 15;
const REMEMBERED_LENGTH = 12;

const encoder = new TextEncoder();
const noBytes = new Uint8Array(0);

export class PipelineTokenizer implements Tokenizer {
  readonly kind: PipelineSpec["kind"];
  readonly vocabSize: number;
  readonly bosToken: number | undefined;
  readonly eosToken: number | undefined;
  readonly stopTokens: readonly number[];
  readonly specialTokens: SpecialTokens;
  readonly #spec: PipelineSpec;
  /** Made for the first text: tables of a large vocabulary take a quarter of a second, and not every use spells. */
  #model: WordModel | undefined;
  readonly #normalize: Normalizer;
  #split: WordSplitter;
  /** Words are spelled by their bytes, and mapped only when they are not remembered. */
  readonly #mapsBytes: boolean;
  readonly #source: TokenTexts;
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
    this.#normalize = compileNormalizer(spec.normalizer);
    this.#mapsBytes = spec.words.at(-1)?.type === "bytes";
    this.#split = compileWordSplitter(this.#mapsBytes ? spec.words.slice(0, -1) : spec.words);
    this.#source = {
      texts: spec.tokens,
      decoder: createDecoder(spec.decoder),
      special: new Set(spec.added.filter(({ special }) => special).map(({ token }) => token)),
      plain: new Set(spec.decoder.type === "bytes" ? spec.added.map(({ token }) => token) : []),
      known: [],
    };
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
    const reader = new BytesOfTokens(this.#source, options);
    let [bytes, length] = [new Uint8Array(4 * tokens.length), 0];
    for (let index = 0; index < tokens.length; index++) {
      const added = reader.next(tokens[index]);
      if (length + added.length > bytes.length) {
        const grown = new Uint8Array(2 * (length + added.length));
        grown.set(bytes);
        bytes = grown;
      }
      bytes.set(added, length);
      length += added.length;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, length));
  }

  /** A text's own first space belongs to its first word; where `encode` added one, the stream leaves it out again. */
  stream(options?: DecodeOptions): TokenStream {
    let reader = new BytesOfTokens(this.#source, options);
    const stream = utf8Stream((token) => reader.next(token));
    return {
      push: stream.push,
      end: () => {
        reader = new BytesOfTokens(this.#source, options);
        return stream.end();
      },
    };
  }

  tokenText(token: number): string {
    checkToken(token, this.vocabSize);
    return this.#spec.tokens[token] ?? "";
  }

  tokenBytes(token: number): Uint8Array {
    checkToken(token, this.vocabSize);
    const { texts, special, plain, decoder } = this.#source;
    const text = texts[token];
    if (text === null || special.has(token)) return noBytes;
    return plain.has(token) ? encoder.encode(text) : decoder.bytes(text, false);
  }

  toJSON(): PipelineSpec {
    return this.#spec;
  }

  /** The model, and cuts at spaces where those change nothing and words would be whole texts. */
  #prepare(): WordModel {
    const model = createModel(this.#spec);
    // A cut at what the last normalisation has replaced, as in Gemma's file, cuts nothing.
    const last = this.#spec.normalizer.at(-1);
    const replaced = last?.type === "replace" && last.literal && !last.text.includes(last.pattern) ? last.pattern : "";
    const cutsNothing = this.#spec.words.every(
      (step) => step.type === "split" && step.literal && step.pattern === replaced,
    );
    const joiners = cutsNothing && model instanceof BpeModel ? model.spaceJoiners() : undefined;
    if (joiners !== undefined) this.#split = cutAtSpaces(joiners);
    return model;
  }

  #spellAll(text: string, isStart: boolean, out: TokenBuffer): void {
    this.#model ??= this.#prepare();
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

/** What turns tokens into bytes, whatever came before them. */
interface TokenTexts {
  readonly texts: readonly (string | null)[];
  readonly decoder: TokenDecoder;
  /** Tokens that are left out, or else stand for their own texts. */
  readonly special: ReadonlySet<number>;
  /** Tokens that stand for their own texts where others are written in GPT-2's alphabet. */
  readonly plain: ReadonlySet<number>;
  /** The bytes of tokens that were asked for, where they were not the first. */
  readonly known: (Uint8Array | undefined)[];
}

/** The bytes that tokens add to a text, one token after the other. */
class BytesOfTokens {
  readonly #source: TokenTexts;
  readonly #showsSpecials: boolean;
  #isFirst = true;
  #isWaiting = false;

  constructor(source: TokenTexts, { specials = false }: DecodeOptions = {}) {
    this.#source = source;
    this.#showsSpecials = specials;
  }

  /** Throws `UnknownTokenError`. */
  next(token: number): Uint8Array {
    const { texts, special, decoder } = this.#source;
    checkToken(token, texts.length);
    const text = texts[token];
    if (text === null) return noBytes;
    if (special.has(token)) return this.#showsSpecials ? encoder.encode(text) : noBytes;
    const bytes = this.#isFirst ? this.#make(token, text) : (this.#source.known[token] ??= this.#make(token, text));
    const before = this.#isWaiting ? decoder.between : undefined;
    this.#isFirst = false;
    this.#isWaiting = decoder.endsWord(text);
    return before === undefined ? bytes : Uint8Array.of(...before, ...bytes);
  }

  #make(token: number, text: string): Uint8Array {
    const { plain, decoder } = this.#source;
    return plain.has(token) ? encoder.encode(text) : decoder.bytes(text, this.#isFirst);
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
