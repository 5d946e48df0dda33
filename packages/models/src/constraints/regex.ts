// Regular expressions of ECMAScript as grammars, as far as they are regular: characters, classes, escapes, groups,
// alternatives and quantifiers. ^ and $ may stand at the ends of the whole and of its alternatives.
//
// Left out, with an error: back references, look-around, word boundaries, anchors elsewhere, flags.

import { anyCharacter, charactersOf, codePoints, inverted, LAST_CODE_POINT } from "./code-points.ts";
import type { CodePoints } from "./code-points.ts";
import { choice, GRAMMAR_LIMITS, GrammarError, repeat, sequence, set } from "./grammar.ts";
import type { Grammar, GrammarNode } from "./grammar.ts";

/** Texts that match `source` as a whole. Throws `GrammarError`. */
export function regexGrammar(source: string): Grammar {
  const options = parseRegex(source).map(({ body }) => body);
  return { root: "root", rules: new Map([["root", choice(options)]]) };
}

/** An alternative of a pattern, and which of its ends are tied to those of the text. */
export interface RegexOption {
  readonly body: GrammarNode;
  readonly isFromStart: boolean;
  readonly isToEnd: boolean;
}

/** The alternatives of a pattern. Throws `GrammarError` with the place of what it does not understand. */
export function parseRegex(source: string): RegexOption[] {
  return new Parser(source).parse();
}

const range = (first: string, last: string): [number, number] => [first.codePointAt(0)!, last.codePointAt(0)!];
const digit = codePoints([range("0", "9")]);
const word = codePoints([range("0", "9"), range("A", "Z"), range("a", "z"), range("_", "_")]);
// White space and ends of lines of ECMAScript.
const space = codePoints([
  ...charactersOf("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"),
  [0x2000, 0x200a],
]);
const notNewline = inverted(charactersOf("\n\r\u2028\u2029"));

const SHORTHANDS: Readonly<Record<string, CodePoints>> = {
  d: digit,
  D: inverted(digit),
  w: word,
  W: inverted(word),
  s: space,
  S: inverted(space),
};
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, "0": 0 };

class Parser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): RegexOption[] {
    if (this.#source.length > GRAMMAR_LIMITS.length) this.#refuse(`at most ${GRAMMAR_LIMITS.length} characters`);
    const options: RegexOption[] = [];
    do {
      const isFromStart = this.#take("^");
      const body = this.#sequence();
      options.push({ body, isFromStart, isToEnd: this.#take("$") });
    } while (this.#take("|"));
    if (this.#at < this.#source.length) this.#refuse("an opening parenthesis before, or \\) for the character");
    return options;
  }

  #choice(): GrammarNode {
    if (++this.#depth > GRAMMAR_LIMITS.depth) this.#refuse(`at most ${GRAMMAR_LIMITS.depth} groups in one another`);
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    this.#depth--;
    return choice(options);
  }

  #sequence(): GrammarNode {
    const parts: GrammarNode[] = [];
    while (this.#at < this.#source.length && !"|)$".includes(this.#source[this.#at])) {
      parts.push(this.#quantified(this.#atom()));
    }
    return sequence(...parts);
  }

  #quantified(body: GrammarNode): GrammarNode {
    const found = /^(?:[*+?]|\{\d+(?:,\d*)?\})/.exec(this.#source.slice(this.#at, this.#at + 20))?.[0];
    if (found === undefined) return body;
    const [min, max] = quantifierBounds(found);
    if (min > max || min > GRAMMAR_LIMITS.repeats || (max > GRAMMAR_LIMITS.repeats && max !== Infinity)) {
      this.#refuse(`numbers of repeats that rise, up to ${GRAMMAR_LIMITS.repeats}`);
    }
    this.#at += found.length;
    this.#take("?"); // a lazy quantifier matches the same texts
    return repeat(body, min, max);
  }

  #atom(): GrammarNode {
    const character = this.#character();
    switch (character) {
      case "(":
        return this.#group();
      case "[":
        return set(this.#class());
      case "\\":
        return set(this.#escape());
      case ".":
        return set(notNewline);
      case "^":
        return this.#refuse("^ at the start only", 1);
      case "*":
      case "+":
      case "?":
        return this.#refuse("something to repeat before it", 1);
      default:
        return set(charactersOf(character));
    }
  }

  #group(): GrammarNode {
    const opened = /^\?(?::|<[A-Za-z_$][\w$]*>)/.exec(this.#source.slice(this.#at, this.#at + 80))?.[0];
    if (opened === undefined && this.#source[this.#at] === "?") this.#refuse("(...), (?:...) or (?<name>...)", 1);
    this.#at += opened?.length ?? 0;
    const body = this.#choice();
    if (!this.#take(")"))
      this.#refuse(this.#source[this.#at] === "$" ? "$ at the end only" : "a parenthesis that closes");
    return body;
  }

  #class(): CodePoints {
    const isNegated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const first = this.#classCharacter();
      const isRange = this.#source[this.#at] === "-" && (this.#source[this.#at + 1] ?? "]") !== "]";
      if (!isRange || first.length !== 1 || first[0][0] !== first[0][1]) {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      const last = this.#classCharacter();
      if (last.length !== 1 || last[0][0] !== last[0][1] || last[0][0] < first[0][0])
        this.#refuse("a range that rises");
      ranges.push([first[0][0], last[0][0]]);
    }
    const found = codePoints(ranges);
    return isNegated ? inverted(found) : found;
  }

  #classCharacter(): CodePoints {
    const character = this.#character();
    if (character !== "\\") return charactersOf(character);
    return this.#take("b") ? [[8, 8]] : this.#escape();
  }

  /** What follows a backslash. */
  #escape(): CodePoints {
    const rest = this.#source.slice(this.#at, this.#at + 64);
    const property = /^([pP])\{([A-Za-z_=]{1,40})\}/.exec(rest);
    if (property !== null) {
      this.#at += property[0].length;
      const found = unicodeRanges(property[2]) ?? this.#refuse("a Unicode property that is known", property[0].length);
      return property[1] === "P" ? inverted(found) : found;
    }
    const hex = /^(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\})/.exec(rest);
    if (hex !== null) {
      this.#at += hex[0].length;
      const codePoint = Number.parseInt(hex[1] ?? hex[2] ?? hex[3], 16);
      if (codePoint > LAST_CODE_POINT) this.#refuse("a code point up to 10FFFF");
      return [[codePoint, codePoint]];
    }
    const control = /^c([A-Za-z])/.exec(rest);
    if (control !== null) {
      this.#at += 2;
      const codePoint = control[1].charCodeAt(0) % 32;
      return [[codePoint, codePoint]];
    }
    const character = this.#character();
    if (Object.hasOwn(SHORTHANDS, character)) return SHORTHANDS[character];
    if (Object.hasOwn(CONTROLS, character)) return [[CONTROLS[character], CONTROLS[character]]];
    if (/^[A-Za-z1-9]$/.test(character)) this.#refuse("an escape of a regular language", 2);
    return charactersOf(character);
  }

  #character(): string {
    const codePoint = this.#source.codePointAt(this.#at);
    if (codePoint === undefined) return this.#refuse("the expression to go on");
    const character = String.fromCodePoint(codePoint);
    this.#at += character.length;
    return character;
  }

  #take(character: string): boolean {
    if (this.#source[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #refuse(expected: string, back = 0): never {
    const at = Math.max(0, this.#at - back);
    throw new GrammarError("the regular expression cannot be used", {
      where: `character ${at} of /${this.#source.slice(0, 200)}/`,
      expected,
      got: at < this.#source.length ? JSON.stringify(this.#source.slice(at, at + 20)) : "its end",
    });
  }
}

/** `[min, max]` of *, +, ?, {2}, {2,} and {2,5}. */
export function quantifierBounds(quantifier: string): [min: number, max: number] {
  if (quantifier === "*") return [0, Infinity];
  if (quantifier === "+") return [1, Infinity];
  if (quantifier === "?") return [0, 1];
  const [min, max] = quantifier.slice(1, -1).split(",");
  const first = min === "" ? 0 : Number(min);
  return [first, max === undefined ? first : max.trim() === "" ? Infinity : Number(max)];
}

const properties = new Map<string, CodePoints>();

/** The characters of a Unicode property, by the engine's own data; undefined for one that it does not know. */
function unicodeRanges(name: string): CodePoints | undefined {
  const known = properties.get(name);
  if (known !== undefined) return known;
  let test: RegExp;
  try {
    test = new RegExp(`\\p{${name}}`, "u");
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const ranges: [number, number][] = [];
  for (const [first, last] of anyCharacter) {
    for (let codePoint = first; codePoint <= last; codePoint++) {
      if (!test.test(String.fromCodePoint(codePoint))) continue;
      const before = ranges.at(-1);
      if (before !== undefined && before[1] === codePoint - 1) before[1] = codePoint;
      else ranges.push([codePoint, codePoint]);
    }
  }
  const found = codePoints(ranges);
  properties.set(name, found);
  return found;
}
