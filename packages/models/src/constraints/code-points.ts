// Sets of Unicode characters as rising ranges, and the byte sequences of UTF-8 that spell them (Thompson's UTF-8
// automata, as in Cox, "Regular expression matching in the wild", 2010).

/** Ranges [first, last] of code points, rising and apart from one another. Surrogates are in none. */
export type CodePoints = readonly (readonly [first: number, last: number])[];

export const LAST_CODE_POINT = 0x10ffff;

/** Every character. */
export const anyCharacter: CodePoints = [
  [0, 0xd7ff],
  [0xe000, LAST_CODE_POINT],
];

/** One set of any ranges: sorted, joined, without surrogates. */
export function codePoints(ranges: Iterable<readonly [number, number]>): CodePoints {
  const sorted = Array.from(ranges, ([first, last]): [number, number] => [first, last]).sort((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [first, last] of sorted) {
    const before = joined.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return intersect(joined, anyCharacter);
}

/** The set of some characters. */
export function charactersOf(characters: string): CodePoints {
  return codePoints(Array.from(characters, (character) => [character.codePointAt(0)!, character.codePointAt(0)!]));
}

export function intersect(a: CodePoints, b: CodePoints): CodePoints {
  const both: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [first, last] = [Math.max(a[i][0], b[j][0]), Math.min(a[i][1], b[j][1])];
    if (first <= last) both.push([first, last]);
    if (a[i][1] < b[j][1]) i++;
    else j++;
  }
  return both;
}

/** Every character that is not in the set. */
export function inverted(set: CodePoints): CodePoints {
  const gaps: [number, number][] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) gaps.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= LAST_CODE_POINT) gaps.push([next, LAST_CODE_POINT]);
  return intersect(gaps, anyCharacter);
}

/** Ranges of bytes, one after the other, which spell a range of code points together. */
export type ByteSequence = readonly (readonly [first: number, last: number])[];

const lastOfLength = [0x7f, 0x7ff, 0xffff, LAST_CODE_POINT];

/** The byte sequences of a set, rising. */
export function utf8Sequences(set: CodePoints): ByteSequence[] {
  const found: ByteSequence[] = [];
  for (const [first, last] of set) split(first, last, found);
  return found;
}

function split(first: number, last: number, found: ByteSequence[]): void {
  for (const limit of lastOfLength) {
    if (first <= limit && limit < last) {
      split(first, limit, found);
      split(limit + 1, last, found);
      return;
    }
  }
  // Where the last `bits` are not all of 00.. to 3f.. under different leading bytes, the range is cut at such a border.
  for (const bits of last > 0x7f ? [6, 12, 18] : []) {
    const mask = (1 << bits) - 1;
    if ((first & ~mask) === (last & ~mask)) continue;
    if ((first & mask) !== 0) {
      split(first, first | mask, found);
      split((first | mask) + 1, last, found);
      return;
    }
    if ((last & mask) !== mask) {
      split(first, (last & ~mask) - 1, found);
      split(last & ~mask, last, found);
      return;
    }
  }
  const [low, high] = [utf8(first), utf8(last)];
  found.push(low.map((byte, at) => [byte, high[at]] as const));
}

function utf8(codePoint: number): number[] {
  if (codePoint <= 0x7f) return [codePoint];
  if (codePoint <= 0x7ff) return [0xc0 | (codePoint >> 6), 0x80 | (codePoint & 0x3f)];
  const tail = [0x80 | ((codePoint >> 6) & 0x3f), 0x80 | (codePoint & 0x3f)];
  if (codePoint <= 0xffff) return [0xe0 | (codePoint >> 12), ...tail];
  return [0xf0 | (codePoint >> 18), 0x80 | ((codePoint >> 12) & 0x3f), ...tail];
}
