// Grammars in the syntax of llama.cpp (grammars/README.md of ggml-org/llama.cpp): `name ::= alternatives`, literals,
// classes, groups, the quantifiers * + ? {m,n}, comments. A rule ends with its line, unless a parenthesis is open or an
// alternative is still to come. `root` is where texts begin.
//
// Left out, with an error: tokens by their ids (`<[1]>`).

import { anyCharacter, charactersOf, codePoints, inverted, LAST_CODE_POINT } from "./code-points.ts";
import { choice, GRAMMAR_LIMITS, GrammarError, repeat, rule, sequence, set, text } from "./grammar.ts";
import type { Grammar, GrammarNode } from "./grammar.ts";
import { quantifierBounds } from "./regex.ts";

/** Reads a grammar. Throws `GrammarError` with the line of what it does not understand. */
export function gbnfGrammar(source: string): Grammar {
  return new Parser(source).parse();
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

class Parser {
  readonly #source: string;
  readonly #rules = new Map<string, GrammarNode>();
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Grammar {
    if (this.#source.length > GRAMMAR_LIMITS.length) this.#refuse(`at most ${GRAMMAR_LIMITS.length} characters`);
    for (this.#space(true); this.#at < this.#source.length; this.#space(true)) {
      const start = this.#at;
      const name = this.#name() ?? this.#refuse("the name of a rule");
      this.#space(false);
      if (!this.#take("::=")) this.#refuse(`::= after the name ${name}`);
      if (this.#rules.has(name)) {
        this.#at = start;
        this.#refuse(`one rule ${name}`);
      }
      this.#space(true);
      this.#rules.set(name, this.#choice(false));
      if (this.#at < this.#source.length && !/[\r\n]/.test(this.#source[this.#at]))
        this.#refuse("the rule to end here");
    }
    if (!this.#rules.has("root")) this.#refuse("a rule with the name root");
    return { root: "root", rules: this.#rules };
  }

  #choice(isNested: boolean): GrammarNode {
    if (++this.#depth > GRAMMAR_LIMITS.depth) this.#refuse(`at most ${GRAMMAR_LIMITS.depth} groups in one another`);
    const options = [this.#sequence(isNested)];
    while (this.#take("|")) {
      this.#space(true);
      options.push(this.#sequence(isNested));
    }
    this.#depth--;
    return choice(options);
  }

  #sequence(isNested: boolean): GrammarNode {
    const parts: GrammarNode[] = [];
    for (;;) {
      const part = this.#element();
      if (part === undefined) return sequence(...parts);
      this.#space(isNested);
      parts.push(this.#quantified(part, isNested));
    }
  }

  /** What a sequence has next; undefined where it ends. */
  #element(): GrammarNode | undefined {
    if (this.#take('"')) return text(this.#literal());
    if (this.#take("[")) return this.#class();
    if (this.#take(".")) return set(anyCharacter);
    if (this.#take("(")) {
      this.#space(true);
      const group = this.#choice(true);
      if (!this.#take(")")) this.#refuse("a parenthesis that closes");
      return group;
    }
    if (this.#source[this.#at] === "<") this.#refuse("characters; tokens by their ids are not supported");
    const name = this.#name();
    return name === undefined ? undefined : rule(name);
  }

  #quantified(part: GrammarNode, isNested: boolean): GrammarNode {
    let body = part;
    for (;;) {
      const found = /^(?:[*+?]|\{\s*\d*\s*(?:,\s*\d*\s*)?\})/.exec(this.#source.slice(this.#at, this.#at + 40))?.[0];
      if (found === undefined) return body;
      const [min, max] = quantifierBounds(found.replaceAll(/\s/g, ""));
      if (min > max || min > GRAMMAR_LIMITS.repeats || (max > GRAMMAR_LIMITS.repeats && max !== Infinity)) {
        this.#refuse(`numbers of repeats that rise, up to ${GRAMMAR_LIMITS.repeats}`);
      }
      this.#at += found.length;
      this.#space(isNested);
      body = repeat(body, min, max);
    }
  }

  #literal(): string {
    let value = "";
    while (!this.#take('"')) value += this.#character();
    return value;
  }

  #class(): GrammarNode {
    const isNegated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const first = this.#character().codePointAt(0)!;
      const isRange = this.#source[this.#at] === "-" && this.#source[this.#at + 1] !== "]";
      if (isRange) this.#at++;
      const last = isRange ? this.#character().codePointAt(0)! : first;
      if (last < first) this.#refuse("a range that rises");
      ranges.push([first, last]);
    }
    const found = codePoints(ranges);
    return set(isNegated ? inverted(found) : found);
  }

  /** A character of a literal or a class, which may be escaped. */
  #character(): string {
    const character = this.#plainCharacter();
    if (character !== "\\") return character;
    const rest = this.#source.slice(this.#at, this.#at + 9);
    const hex = /^(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))/.exec(rest);
    if (hex !== null) {
      this.#at += hex[0].length;
      const codePoint = Number.parseInt(hex[1] ?? hex[2] ?? hex[3], 16);
      const found = codePoint <= LAST_CODE_POINT ? String.fromCodePoint(codePoint) : "";
      return found.isWellFormed() && charactersOf(found).length === 1 ? found : this.#refuse("a Unicode character");
    }
    const escaped = this.#plainCharacter();
    if (Object.hasOwn(ESCAPES, escaped)) return ESCAPES[escaped];
    return /^[A-Za-z0-9]$/.test(escaped)
      ? this.#refuse("\\n, \\r, \\t, \\xHH, \\uHHHH, \\UHHHHHHHH or \\ and a sign")
      : escaped;
  }

  #plainCharacter(): string {
    const codePoint = this.#source.codePointAt(this.#at);
    if (codePoint === undefined || codePoint === 10) return this.#refuse("a literal or class that ends in its line");
    const character = String.fromCodePoint(codePoint);
    this.#at += character.length;
    return character;
  }

  #name(): string | undefined {
    const name = /^[A-Za-z0-9_-]+/.exec(this.#source.slice(this.#at, this.#at + 200))?.[0];
    this.#at += name?.length ?? 0;
    return name;
  }

  /** Spaces and comments, and the ends of lines if they may come. */
  #space(withLines: boolean): void {
    for (; this.#at < this.#source.length; this.#at++) {
      const character = this.#source[this.#at];
      if (character === "#") {
        const end = this.#source.indexOf("\n", this.#at);
        this.#at = (end < 0 ? this.#source.length : end) - 1;
      } else if (!(character === " " || character === "\t" || (withLines && /[\r\n]/.test(character)))) return;
    }
  }

  #take(value: string): boolean {
    if (!this.#source.startsWith(value, this.#at)) return false;
    this.#at += value.length;
    return true;
  }

  #refuse(expected: string): never {
    const before = this.#source.slice(0, this.#at).split("\n");
    throw new GrammarError("the grammar cannot be read", {
      where: `line ${before.length}, column ${before.at(-1)!.length + 1}`,
      expected,
      got: this.#at < this.#source.length ? JSON.stringify(this.#source.slice(this.#at, this.#at + 20)) : "its end",
    });
  }
}
