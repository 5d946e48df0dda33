// Finding a tokenizer file's patterns in text. The engine is ours, because a file from anywhere brings its own pattern,
// and RegExp may take exponential time over one: here a search counts its steps and gives up with an error. It
// backtracks, as the engines do that these patterns were written for, so that it finds the same matches: the first
// alternative that fits, the longest repetition first.
//
// A node becomes a function from a place in the text to where the whole rest of the pattern ends, given the function of
// what follows it (continuations, as in Friedl's and Pike's matchers compiled to closures).

import type { CharacterSet } from "./character-set.ts";
import { wordCharacters } from "./character-set.ts";
import { parsePattern } from "./pattern-syntax.ts";
import type { Edge, PatternNode } from "./pattern-syntax.ts";
import { PatternError } from "./tokenizer.ts";

/** What one search may take. Published patterns take 2 to 20 steps a character. */
export const SEARCH_LIMITS = { steps: 1 << 20, stepsPerCharacter: 256, depth: 1500 } as const;

/** Where the rest of the pattern ends when it begins at `at`; -1 where it does not match. */
type Matcher = (at: number) => number;

interface Search {
  text: string;
  stepsLeft: number;
  depth: number;
}

export class Pattern {
  readonly source: string;
  readonly #search: Search = { text: "", stepsLeft: 0, depth: 0 };
  readonly #match: Matcher;

  /** Throws `PatternError` for what `pattern-syntax.ts` does not know. */
  constructor(source: string) {
    this.source = source;
    this.#match = compile(parsePattern(source), (at) => at, this.#search);
  }

  /**
   * Calls `found` for every match from left to right; an empty match is passed over. Throws `PatternError` when that
   * takes more than `SEARCH_LIMITS`.
   */
  each(text: string, found: (start: number, end: number) => void): void {
    const search = this.#search;
    search.text = text;
    search.stepsLeft = SEARCH_LIMITS.steps + SEARCH_LIMITS.stepsPerCharacter * text.length;
    search.depth = 0;
    try {
      for (let at = 0; at < text.length;) {
        const end = this.#match(at);
        if (end > at) {
          found(at, end);
          at = end;
        } else {
          at += widthAt(text, at);
        }
      }
    } catch (error) {
      if (error !== tooManySteps) throw error;
      throw new PatternError("a pattern of the tokenizer takes too long", {
        where: JSON.stringify(this.source.slice(0, 200)),
        expected: `at most ${SEARCH_LIMITS.stepsPerCharacter} steps a character`,
        got: `more, in a text of ${text.length} characters`,
        hint: "the tokenizer's file may be damaged or made to stop you; encode shorter texts if it is neither",
      });
    } finally {
      search.text = "";
    }
  }
}

const tooManySteps = new Error("too many steps");

function spend(search: Search, steps: number): void {
  search.stepsLeft -= steps;
  if (search.stepsLeft < 0) throw tooManySteps;
}

function widthAt(text: string, at: number): number {
  return isPair(text, at) ? 2 : 1;
}

/** Whether a character of two code units begins here. Texts are well-formed, so that half of one never stands alone. */
function isPair(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800;
}

/** The end of the character at `at` if the set has it; -1 otherwise. */
function step(text: string, set: CharacterSet, at: number): number {
  if (at >= text.length) return -1;
  const unit = text.charCodeAt(at);
  if (unit < 128) return set.ascii[unit] === 1 ? at + 1 : -1;
  const codePoint = text.codePointAt(at)!;
  return set.has(codePoint) ? at + (codePoint > 0xffff ? 2 : 1) : -1;
}

function compile(node: PatternNode, next: Matcher, search: Search): Matcher {
  switch (node.type) {
    case "set":
      return (at) => {
        const end = step(search.text, node.set, at);
        return end < 0 ? -1 : next(end);
      };
    case "sequence":
      return node.parts.reduceRight((rest, part) => compile(part, rest, search), next);
    case "choice": {
      const options = node.options.map((option) => compile(option, next, search));
      return (at) => {
        spend(search, 1);
        for (const option of options) {
          const end = option(at);
          if (end >= 0) return end;
        }
        return -1;
      };
    }
    case "atomic": {
      const body = compile(node.body, (at) => at, search);
      return (at) => {
        const end = body(at);
        return end < 0 ? -1 : next(end);
      };
    }
    case "look":
      return compileLook(node, next, search);
    case "edge":
      return (at) => (isEdge(node.edge, search.text, at) ? next(at) : -1);
    case "repeat":
      if (node.mode === "possessive") {
        return compile({ type: "atomic", body: { ...node, mode: "greedy" } }, next, search);
      }
      return node.body.type === "set"
        ? compileSetRepeat(node.body.set, node, next, search)
        : compileRepeat(node, next, search);
  }
}

type Repeat = Extract<PatternNode, { type: "repeat" }>;
type Look = Extract<PatternNode, { type: "look" }>;

/** A repeated character: a loop forward, and then back one by one while the rest does not match. */
function compileSetRepeat(set: CharacterSet, { min, max, mode }: Repeat, next: Matcher, search: Search): Matcher {
  if (mode === "lazy") {
    return (start) => {
      let at = start;
      for (let count = 0; ; count++) {
        spend(search, 1);
        const end = count < min ? -1 : next(at);
        if (end >= 0 || count === max) return end;
        at = step(search.text, set, at);
        if (at < 0) return -1;
      }
    };
  }
  return (start) => {
    const { text } = search;
    let [at, count] = [start, 0];
    for (; count < max; count++) {
      const end = step(text, set, at);
      if (end < 0) break;
      at = end;
    }
    spend(search, count + 1);
    for (; count >= min; count--) {
      const end = next(at);
      if (end >= 0) return end;
      spend(search, 1);
      at -= at - start >= 2 && isPair(text, at - 2) ? 2 : 1;
    }
    return -1;
  };
}

/** A repeated group. Each time round is a call within the last one, so that `SEARCH_LIMITS.depth` ends long ones. */
function compileRepeat({ body, min, max, mode }: Repeat, next: Matcher, search: Search): Matcher {
  let [count, begin] = [0, -1];
  const around = (at: number): number => {
    spend(search, 1);
    const saved = [count, begin];
    const again = (): number => {
      if (saved[0] >= max || at === saved[1]) return -1;
      if (++search.depth > SEARCH_LIMITS.depth) throw tooManySteps;
      [count, begin] = [saved[0] + 1, at];
      const end = once(at);
      [count, begin] = saved;
      search.depth--;
      return end;
    };
    const leave = (): number => {
      if (saved[0] < min) return -1;
      // What follows may come round to this same group again, when it stands in another that repeats.
      [count, begin] = [0, -1];
      const end = next(at);
      [count, begin] = saved;
      return end;
    };
    if (mode === "lazy") {
      const end = leave();
      return end >= 0 ? end : again();
    }
    const end = again();
    return end >= 0 ? end : leave();
  };
  const once = compile(body, around, search);
  return (at) => {
    const saved = [count, begin];
    [count, begin] = [0, -1];
    const end = around(at);
    [count, begin] = saved;
    return end;
  };
}

function compileLook({ body, isBehind, isNegated }: Look, next: Matcher, search: Search): Matcher {
  let target = -1;
  const match = compile(body, (at) => (target < 0 || at === target ? at : -1), search);
  const width = isBehind ? widthOf(body) : 0;
  return (at) => {
    let start = at;
    for (let back = 0; back < width; back++) start -= start >= 2 && isPair(search.text, start - 2) ? 2 : 1;
    let isFound = false;
    if (start >= 0) {
      const saved = target;
      target = isBehind ? at : -1;
      isFound = match(start) >= 0;
      target = saved;
    }
    return isFound !== isNegated ? next(at) : -1;
  };
}

/** How many characters a look behind looks at. Throws `PatternError` where that depends on the text. */
function widthOf(node: PatternNode): number {
  switch (node.type) {
    case "set":
      return 1;
    case "edge":
    case "look":
      return 0;
    case "sequence":
      return node.parts.reduce((sum, part) => sum + widthOf(part), 0);
    case "atomic":
      return widthOf(node.body);
    case "choice": {
      const widths = node.options.map(widthOf);
      if (new Set(widths).size === 1) return widths[0];
      break;
    }
    case "repeat":
      if (node.min === node.max) return node.min * widthOf(node.body);
  }
  throw new PatternError("a pattern looks behind by a number of characters that differs", {
    expected: "a look behind of one length",
  });
}

function isEdge(edge: Edge, text: string, at: number): boolean {
  switch (edge) {
    case "text start":
      return at === 0;
    case "text end":
      return at === text.length;
    case "line start":
      return at === 0 || text[at - 1] === "\n";
    case "line end":
      return at === text.length || text[at] === "\n";
    default:
      return (isWordAt(text, at) !== isWordAt(text, at - 1)) === (edge === "word");
  }
}

/** Whether a word's character has a code unit here. Word characters beyond the basic plane are asked for as a whole. */
function isWordAt(text: string, at: number): boolean {
  if (at < 0 || at >= text.length) return false;
  const start = at > 0 && isPair(text, at - 1) ? at - 1 : at;
  return wordCharacters.has(text.codePointAt(start)!);
}
