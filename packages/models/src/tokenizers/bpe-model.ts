// Spelling a word by merges: in the order of a list, as byte-level vocabularies have them, or by the score of what
// comes out, as SentencePiece does. The loop is merge.ts; here is which neighbours merge, and what becomes of
// characters that have no token.

import { SymbolList } from "./merge.ts";
import type { MergeRules } from "./merge.ts";
import { PairTable } from "./pair-table.ts";
import type { BpeSpec, ScoredSpec } from "./pipeline-spec.ts";
import { Vocabulary } from "./vocabulary.ts";
import type { TokenBuffer, WordModel } from "./vocabulary.ts";

export class BpeModel implements WordModel {
  readonly vocabulary: Vocabulary;
  readonly #rules: MergeRules;
  /** Numbers above the vocabulary's for pieces that only merges name. */
  readonly #extra = new Map<string, number>();
  readonly #symbols = new SymbolList();
  readonly #wholeWords: boolean;
  readonly #fuseUnknown: boolean;
  readonly #endOfWord: string;
  readonly #hasAllBytes: boolean;
  readonly #spec: BpeSpec | ScoredSpec;

  constructor(spec: BpeSpec | ScoredSpec) {
    this.vocabulary = new Vocabulary(spec, spec);
    this.#spec = spec;
    this.#hasAllBytes = this.vocabulary.bytes.every((token) => token >= 0);
    const isList = spec.kind === "bpe";
    this.#wholeWords = isList && spec.wholeWords;
    this.#fuseUnknown = isList && spec.fuseUnknown;
    this.#endOfWord = isList ? spec.endOfWord : "";
    this.#rules = isList ? listedRules(spec, this.vocabulary, this.#extra) : scoredRules(spec, this.vocabulary);
  }

  /**
   * The characters after which a run of "▁" may merge with what stands before it. After all others a text may be cut
   * there without changing its tokens. Undefined where it may not: unknown neighbours are to become one token, say.
   */
  spaceJoiners(): ReadonlySet<string> | undefined {
    if (this.#wholeWords || this.#endOfWord !== "" || (this.#fuseUnknown && !this.#hasAllBytes)) return undefined;
    const joiners = new Set<string>();
    if (this.#spec.kind === "bpe") {
      const { merges } = this.#spec;
      for (let at = 0; at < merges.length; at += 2) {
        if (merges[at + 1].startsWith("▁")) joiners.add(merges[at].slice(-1));
      }
    } else {
      for (const text of this.vocabulary.tokens.keys()) {
        for (let at = text.indexOf("▁", 1); at > 0; at = text.indexOf("▁", at + 1)) joiners.add(text[at - 1]);
      }
    }
    return joiners;
  }

  spell(word: string, out: TokenBuffer): void {
    const { tokens } = this.vocabulary;
    if (this.#wholeWords) {
      const whole = tokens.get(word);
      if (whole !== undefined) return out.push(whole);
    }
    const symbols = this.#symbols;
    symbols.reset(word.length);
    for (let at = 0; at < word.length;) {
      const end = at + ((word.charCodeAt(at) & 0xfc00) === 0xd800 ? 2 : 1);
      const character = end < word.length ? word.slice(at, end) : word.slice(at, end) + this.#endOfWord;
      symbols.push(tokens.get(character) ?? this.#extra.get(character) ?? -1, at);
      at = end;
    }
    symbols.merge(word, this.#rules);
    let wasUnknown = false;
    for (let index = 0; index < symbols.count; index++) {
      const token = symbols.tokens[index];
      const isToken = token >= 0 && token < this.vocabulary.texts.length;
      const isUnknown = token < 0 && !this.#hasAllBytes;
      if (isToken) out.push(token);
      else if (!(isUnknown && wasUnknown && this.#fuseUnknown)) {
        this.#spellSymbol(word.slice(symbols.starts[index], symbols.starts[index + 1]), out);
      }
      wasUnknown = isUnknown;
    }
  }

  /** A symbol without token: its characters one by one, and what has no token of its own by bytes. */
  #spellSymbol(text: string, out: TokenBuffer): void {
    for (const character of text) {
      const token = this.vocabulary.tokens.get(character);
      if (token === undefined) this.vocabulary.spellUnknown(character, out);
      else out.push(token);
    }
  }
}

/** Merges from a list: a rule is the place in it. Pieces that are no tokens get numbers in `extra`. */
function listedRules(spec: BpeSpec, vocabulary: Vocabulary, extra: Map<string, number>): MergeRules {
  const { merges } = spec;
  const symbolOf = (text: string): number => {
    const token = vocabulary.tokens.get(text) ?? extra.get(text);
    if (token !== undefined) return token;
    const symbol = spec.tokens.length + extra.size;
    extra.set(text, symbol);
    return symbol;
  };
  const table = new PairTable(merges.length / 2);
  const results = new Int32Array(merges.length / 2);
  for (let index = 0; index < merges.length; index += 2) {
    const [left, right] = [merges[index], merges[index + 1]];
    if (left === "" || right === "" || vocabulary.reserved.has(left + right)) continue;
    results[index / 2] = symbolOf(left + right);
    table.add(symbolOf(left), symbolOf(right), index / 2);
  }
  return {
    find: (left, right) => (left < 0 || right < 0 ? -1 : table.get(left, right)),
    priority: (rule) => -rule,
    result: (rule) => results[rule],
  };
}

/** Merges to any token, the highest score first: a rule is the token. */
function scoredRules(spec: ScoredSpec, vocabulary: Vocabulary): MergeRules {
  const longest = vocabulary.tokens.keys().reduce((length, text) => Math.max(length, text.length), 0);
  return {
    find: (_left, _right, text, start, end) =>
      end - start > longest ? -1 : (vocabulary.tokens.get(text.slice(start, end)) ?? -1),
    priority: (rule) => spec.scores[rule],
    result: (rule) => rule,
  };
}
