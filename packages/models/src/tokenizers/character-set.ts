// Sets of Unicode characters, as classes and escapes of patterns name them. Whether a character belongs is worked out
// once: sets remember it in a table of 128 for ASCII and, when a text needs it, one of 65,536 for the basic plane.
//
// Properties such as \p{L} ask the engine's own Unicode data, through a RegExp of one character.

import { PatternError } from "./tokenizer.ts";

const BASIC_PLANE = 0x10000;
const NO = 1;
const YES = 2;

export class CharacterSet {
  /** 1 where an ASCII character belongs. */
  readonly ascii = new Uint8Array(128);
  readonly #test: (codePoint: number) => boolean;
  #known: Uint8Array | undefined; // [65536]: 0 unknown, 1 no, 2 yes

  constructor(test: (codePoint: number) => boolean) {
    this.#test = test;
    for (let unit = 0; unit < 128; unit++) this.ascii[unit] = test(unit) ? 1 : 0;
  }

  has(codePoint: number): boolean {
    if (codePoint < 128) return this.ascii[codePoint] === 1;
    if (codePoint >= BASIC_PLANE) return this.#test(codePoint);
    this.#known ??= new Uint8Array(BASIC_PLANE);
    if (this.#known[codePoint] === 0) this.#known[codePoint] = this.#test(codePoint) ? YES : NO;
    return this.#known[codePoint] === YES;
  }

  static of(...codePoints: readonly number[]): CharacterSet {
    return new CharacterSet((codePoint) => codePoints.includes(codePoint));
  }

  static range(first: number, last: number): CharacterSet {
    return new CharacterSet((codePoint) => codePoint >= first && codePoint <= last);
  }

  static union(sets: readonly CharacterSet[]): CharacterSet {
    return new CharacterSet((codePoint) => sets.some((set) => set.has(codePoint)));
  }

  static intersection(sets: readonly CharacterSet[]): CharacterSet {
    return new CharacterSet((codePoint) => sets.every((set) => set.has(codePoint)));
  }

  inverted(): CharacterSet {
    return new CharacterSet((codePoint) => !this.has(codePoint));
  }

  /** With the other case of every ASCII letter. */
  caseless(): CharacterSet {
    return new CharacterSet((codePoint) => this.has(codePoint) || (isLetter(codePoint) && this.has(codePoint ^ 0x20)));
  }
}

function isLetter(codePoint: number): boolean {
  const lower = codePoint | 0x20;
  return lower >= 0x61 && lower <= 0x7a && codePoint < 128;
}

const properties = new Map<string, CharacterSet>();

/** The characters of a Unicode property by its name in braces, such as "L", "Lu", "Han", "White_Space". */
export function unicodeProperty(name: string): CharacterSet {
  const known = properties.get(name);
  if (known !== undefined) return known;
  const test = propertyTest(name);
  if (test === undefined) {
    throw new PatternError("a pattern names a Unicode property that is not known", { got: `\\p{${name}}` });
  }
  const set = new CharacterSet((codePoint) => test.test(String.fromCodePoint(codePoint)));
  properties.set(name, set);
  return set;
}

function propertyTest(name: string): RegExp | undefined {
  if (!/^[A-Za-z_=]{1,40}$/.test(name)) return undefined;
  for (const spelled of [name, `Script=${name}`]) {
    try {
      return new RegExp(`^\\p{${spelled}}$`, "u");
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return undefined;
}

/** White space of Unicode: with U+0085, without U+FEFF, unlike JavaScript's \s. */
export const whiteSpace = unicodeProperty("White_Space");
export const digits = unicodeProperty("Nd");
export const wordCharacters = CharacterSet.union(["Alphabetic", "M", "Nd", "Pc"].map(unicodeProperty));
/** What BERT and others call punctuation: that of Unicode, and all of ASCII that is no letter, digit or space. */
export const punctuation = CharacterSet.union([
  unicodeProperty("P"),
  CharacterSet.range(0x21, 0x2f),
  CharacterSet.range(0x3a, 0x40),
  CharacterSet.range(0x5b, 0x60),
  CharacterSet.range(0x7b, 0x7e),
]);
