// The regular expressions of tokenizer files, parsed. They are written for Oniguruma or Rust's regex crates, whose
// common ground this is: classes (nested, intersected, [:posix:]), \p{..}, groups of every kind that captures nothing
// that is used, look-around, the quantifiers with their lazy and possessive forms, (?i:..) for ASCII letters.
//
// Left out, with an error: back references, conditions, named calls, flags other than i, the continuing \G.

import { CharacterSet, digits, punctuation, unicodeProperty, whiteSpace, wordCharacters } from "./character-set.ts";
import { PatternError } from "./tokenizer.ts";

export type PatternNode =
  | { readonly type: "set"; readonly set: CharacterSet }
  | { readonly type: "sequence"; readonly parts: readonly PatternNode[] }
  | { readonly type: "choice"; readonly options: readonly PatternNode[] }
  | {
      readonly type: "repeat";
      readonly body: PatternNode;
      readonly min: number;
      readonly max: number;
      readonly mode: "greedy" | "lazy" | "possessive";
    }
  | { readonly type: "look"; readonly body: PatternNode; readonly isBehind: boolean; readonly isNegated: boolean }
  | { readonly type: "atomic"; readonly body: PatternNode }
  | { readonly type: "edge"; readonly edge: Edge };

export type Edge = "text start" | "text end" | "line start" | "line end" | "word" | "not word";

/** What a pattern may be. The longest published one has 2,000 characters and about 100 classes. */
export const PATTERN_LIMITS = { length: 8192, sets: 512, depth: 32, repeats: 1000 } as const;

const EDGES: Readonly<Record<string, Edge>> = {
  A: "text start",
  z: "text end",
  Z: "text end",
  b: "word",
  B: "not word",
};

const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, a: 7, e: 27, "0": 0 };

const hexDigits = new CharacterSet((codePoint) => /^[0-9A-Fa-f]$/.test(String.fromCodePoint(codePoint)));
const SHORTHANDS: Readonly<Record<string, CharacterSet>> = {
  d: digits,
  D: digits.inverted(),
  s: whiteSpace,
  S: whiteSpace.inverted(),
  w: wordCharacters,
  W: wordCharacters.inverted(),
  h: hexDigits,
  H: hexDigits.inverted(),
};

const POSIX: Readonly<Record<string, () => CharacterSet>> = {
  alpha: () => unicodeProperty("Alphabetic"),
  alnum: () => CharacterSet.union([unicodeProperty("Alphabetic"), digits]),
  digit: () => digits,
  lower: () => unicodeProperty("Lowercase"),
  upper: () => unicodeProperty("Uppercase"),
  space: () => whiteSpace,
  punct: () => punctuation,
  cntrl: () => unicodeProperty("Cc"),
  word: () => wordCharacters,
  xdigit: () => hexDigits,
};

const notNewline = CharacterSet.of(10).inverted();

/** The tree of a pattern. Throws `PatternError` with the place of what it does not understand. */
export function parsePattern(source: string): PatternNode {
  return new Parser(source).parse();
}

class Parser {
  readonly #source: string;
  #at = 0;
  #sets = 0;
  #depth = 0;
  #isCaseless = false;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): PatternNode {
    if (this.#source.length > PATTERN_LIMITS.length) this.#refuse(`at most ${PATTERN_LIMITS.length} characters`);
    const tree = this.#choice();
    if (this.#at < this.#source.length) this.#refuse("a group that ends here to have begun");
    return tree;
  }

  #choice(): PatternNode {
    if (++this.#depth > PATTERN_LIMITS.depth) this.#refuse(`at most ${PATTERN_LIMITS.depth} groups in one another`);
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    this.#depth--;
    return options.length === 1 ? options[0] : { type: "choice", options };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (this.#at < this.#source.length && !"|)".includes(this.#source[this.#at])) {
      parts.push(this.#quantified(this.#atom()));
    }
    return parts.length === 1 ? parts[0] : { type: "sequence", parts };
  }

  #quantified(body: PatternNode): PatternNode {
    const found = /^(?:[*+?]|\{\d*,?\d*\})/.exec(this.#source.slice(this.#at, this.#at + 16))?.[0];
    if (found === undefined || found === "{}" || found === "{,}") return body;
    const [min, max] = boundsOf(found);
    if (min > PATTERN_LIMITS.repeats || (max !== Infinity && max > PATTERN_LIMITS.repeats) || min > max) {
      this.#refuse(`repeats that rise, up to ${PATTERN_LIMITS.repeats}`);
    }
    this.#at += found.length;
    const mode = this.#take("?") ? "lazy" : this.#take("+") ? "possessive" : "greedy";
    if (body.type === "edge" || body.type === "look") return body;
    return this.#quantified({ type: "repeat", body, min, max, mode });
  }

  #atom(): PatternNode {
    const character = this.#character();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return this.#set(this.#class());
      case "\\":
        return this.#escape();
      case ".":
        return this.#set(notNewline);
      case "^":
        return { type: "edge", edge: "line start" };
      case "$":
        return { type: "edge", edge: "line end" };
      case "*":
      case "+":
      case "?":
        return this.#refuse("something to repeat");
      default:
        return this.#set(CharacterSet.of(character.codePointAt(0)!));
    }
  }

  #group(): PatternNode {
    const before = this.#isCaseless;
    const opened = /^\?(?:<?[=!]|[:>]|i:|-i:|P?<[A-Za-z_]\w*>)/.exec(this.#source.slice(this.#at, this.#at + 64))?.[0];
    if (opened === undefined && this.#source[this.#at] === "?") this.#refuse("a known kind of group");
    this.#at += opened?.length ?? 0;
    if (opened === "?i:") this.#isCaseless = true;
    if (opened === "?-i:") this.#isCaseless = false;
    const body = this.#choice();
    if (!this.#take(")")) this.#refuse("a parenthesis that closes the group");
    this.#isCaseless = before;
    if (opened === "?>") return { type: "atomic", body };
    if (opened === "?=" || opened === "?!" || opened === "?<=" || opened === "?<!") {
      return { type: "look", body, isBehind: opened.includes("<"), isNegated: opened.includes("!") };
    }
    return body;
  }

  #escape(): PatternNode {
    const edge = EDGES[this.#source[this.#at] ?? ""];
    if (edge !== undefined) {
      this.#at++;
      return { type: "edge", edge };
    }
    const found = this.#escaped();
    return this.#set(typeof found === "number" ? CharacterSet.of(found) : found);
  }

  /** What follows a backslash: a character or a set of them. */
  #escaped(): number | CharacterSet {
    const rest = this.#source.slice(this.#at, this.#at + 64);
    const property = /^([pP])(?:\{(\^?)([^}]*)\}|([A-Za-z]))/.exec(rest);
    if (property !== null) {
      this.#at += property[0].length;
      const name = property[3] ?? property[4];
      const set = name === "Word" ? wordCharacters : unicodeProperty(name);
      return (property[1] === "P") !== (property[2] === "^") ? set.inverted() : set;
    }
    const hex = /^(?:x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4}))/.exec(rest);
    if (hex !== null) {
      this.#at += hex[0].length;
      return Number.parseInt(hex[1] ?? hex[2] ?? hex[3] ?? hex[4], 16);
    }
    const character = this.#character();
    if (Object.hasOwn(SHORTHANDS, character)) return SHORTHANDS[character];
    if (Object.hasOwn(CONTROLS, character)) return CONTROLS[character];
    if (/^[A-Za-z0-9]$/.test(character)) this.#refuse("an escape that is known");
    return character.codePointAt(0)!;
  }

  /** A class after its opening bracket. */
  #class(): CharacterSet {
    if (++this.#depth > PATTERN_LIMITS.depth) this.#refuse(`at most ${PATTERN_LIMITS.depth} classes in one another`);
    const isNegated = this.#take("^");
    const operands: CharacterSet[][] = [[]];
    for (let isFirst = true; isFirst || !this.#take("]"); isFirst = false) {
      if (this.#source.startsWith("&&", this.#at)) {
        this.#at += 2;
        operands.push([]);
      } else {
        operands.at(-1)!.push(this.#classItem());
      }
    }
    this.#depth--;
    const sets = operands.map((items) => (items.length === 1 ? items[0] : CharacterSet.union(items)));
    const plain = sets.length === 1 ? sets[0] : CharacterSet.intersection(sets);
    const set = this.#isCaseless ? plain.caseless() : plain;
    return isNegated ? set.inverted() : set;
  }

  #classItem(): CharacterSet {
    if (++this.#sets > PATTERN_LIMITS.sets) this.#refuse(`at most ${PATTERN_LIMITS.sets} sets`);
    const posix = /^\[:(\^?)([a-z]+):\]/.exec(this.#source.slice(this.#at, this.#at + 16));
    if (posix !== null && Object.hasOwn(POSIX, posix[2])) {
      this.#at += posix[0].length;
      const set = POSIX[posix[2]]();
      return posix[1] === "^" ? set.inverted() : set;
    }
    const first = this.#classCharacter();
    if (typeof first !== "number") return first;
    const isRange = this.#source[this.#at] === "-" && !"]".includes(this.#source[this.#at + 1] ?? "]");
    if (!isRange) return CharacterSet.of(first);
    this.#at++;
    const last = this.#classCharacter();
    if (typeof last !== "number") return CharacterSet.union([CharacterSet.of(first, 0x2d), last]);
    if (last < first) this.#refuse("a range that rises");
    return CharacterSet.range(first, last);
  }

  #classCharacter(): number | CharacterSet {
    const character = this.#character();
    if (character === "[") return this.#class();
    return character === "\\" ? this.#escaped() : character.codePointAt(0)!;
  }

  #set(set: CharacterSet): PatternNode {
    if (++this.#sets > PATTERN_LIMITS.sets) this.#refuse(`at most ${PATTERN_LIMITS.sets} sets`);
    return { type: "set", set: this.#isCaseless ? set.caseless() : set };
  }

  #character(): string {
    const codePoint = this.#source.codePointAt(this.#at);
    if (codePoint === undefined) return this.#refuse("the pattern to go on");
    const character = String.fromCodePoint(codePoint);
    this.#at += character.length;
    return character;
  }

  #take(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #refuse(expected: string): never {
    throw new PatternError("a pattern of the tokenizer cannot be read", {
      where: `character ${this.#at} of ${JSON.stringify(this.#source.slice(0, 200))}`,
      expected,
      got: JSON.stringify(this.#source.slice(this.#at, this.#at + 20)),
    });
  }
}

function boundsOf(quantifier: string): [min: number, max: number] {
  if (quantifier === "*") return [0, Infinity];
  if (quantifier === "+") return [1, Infinity];
  if (quantifier === "?") return [0, 1];
  const [min, max] = quantifier.slice(1, -1).split(",");
  const first = min === "" ? 0 : Number(min);
  return [first, max === undefined ? first : max === "" ? Infinity : Number(max)];
}
