import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Pattern } from "./pattern.ts";
import { PatternError } from "./tokenizer.ts";

function matchesOf(pattern: Pattern, text: string): string[] {
  const found: string[] = [];
  pattern.each(text, (start, end) => found.push(text.slice(start, end)));
  return found;
}

/** The same matches by the engine of JavaScript; empty ones are passed over. */
function nativeMatches(source: string, text: string): string[] {
  return Array.from(text.matchAll(new RegExp(source, "gu")), ([found]) => found).filter((found) => found !== "");
}

const texts = fc.string({ unit: fc.constantFrom(..."aabbAB1 \n.é€😀𝒳\u0301"), maxLength: 9 });

const sets = fc.constantFrom(
  "a",
  "b",
  ".",
  "[ab]",
  "[^a]",
  "\\p{L}",
  "\\P{L}",
  "\\p{N}",
  "[\\p{Lu}1]",
  "€",
  "😀",
  "[a-z€-😀]",
);
const edges = fc.constantFrom("(?=a)", "(?!b)", "(?<=a)", "(?<!\\p{L})", "(?!\\p{N}|😀)", "");
const quantifiers = fc.constantFrom("", "", "*", "+", "?", "*?", "+?", "{1,2}", "{2}", "{0,3}?", "{2,}");

/** Patterns of the common ground of both engines. */
const { tree: patterns } = fc.letrec<{ tree: string; group: string; item: string }>((tie) => ({
  item: fc.oneof(
    { maxDepth: 3 },
    fc.tuple(sets, quantifiers).map(([set, count]) => set + count),
    edges,
    tie("group"),
  ),
  // A group that repeats may not match the empty text: JavaScript looks further there, and Oniguruma and Rust do not.
  group: fc.tuple(sets, tie("tree"), quantifiers).map(([set, tree, count]) => `(?:${set}(?:${tree}))${count}`),
  tree: fc
    .array(fc.array(tie("item"), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 })
    .map((options) => options.map((items) => items.join("")).join("|")),
}));

test("patterns find what JavaScript's engine finds", () => {
  fc.assert(
    fc.property(patterns, texts, (source, text) => {
      assert.deepEqual(matchesOf(new Pattern(source), text), nativeMatches(source, text), source);
    }),
    { numRuns: 250, seed: 11 },
  );
});

test("what tokenizer files add to JavaScript's patterns", () => {
  const cases: readonly (readonly [source: string, text: string, found: readonly string[]])[] = [
    ["(?i:'s|'ll)", "it's HE'LL", ["'s", "'LL"]],
    ["(?i:[k])", "kK\u212a", ["k", "K"]],
    ["a++b|a", "aab aa", ["aab", "a", "a"]],
    ["(?>a*)a|b", "aaab", ["b"]],
    ["\\s+", "a\u0085\u00a0\ufeffb", ["\u0085\u00a0"]],
    ["[[:alpha:]]+", "aé1", ["aé"]],
    ["[a-z&&[^b]]+", "abca", ["a", "ca"]],
    ["\\x{1F600}|\\u00e9|\\x41", "😀éA", ["😀", "é", "A"]],
    ["^a|a$", "a\na a", ["a", "a", "a"]],
    ["\\Aa|a\\z", "a\na a", ["a", "a"]],
    ["\\bé\\w", "éa aéa", ["éa"]],
    ["\\d+|\\h", "12 ١٢ f", ["12", "١٢", "f"]],
    ["[^\\r\\n\\p{L}]?\\p{L}+", " ab\ncd", [" ab", "cd"]],
    ["(?<word>a)|b", "ab", ["a", "b"]],
  ];
  for (const [source, text, found] of cases) assert.deepEqual(matchesOf(new Pattern(source), text), found, source);
});

test("a pattern that cannot be read is refused with its place", () => {
  const bad = [
    "(",
    ")",
    "a)",
    "[",
    "[a",
    "*",
    "a{3,2}",
    "a{9999}",
    "\\1",
    "\\p{Nonsense}",
    "(?P=x)",
    "[b-a]",
    "(?<=a*)b",
  ];
  for (const source of [...bad, "\\", "(?i)a", "a".repeat(9000), "(".repeat(40) + ")".repeat(40)]) {
    assert.throws(() => new Pattern(source), PatternError, source);
  }
  assert.throws(() => new Pattern("ab\\q"), /character 4 of "ab\\\\q"/);
});

test("a pattern that would take exponential or cubic time gives up, and works again afterwards", () => {
  for (const source of ["(?:a+)+b", "(?:a|a)*b", "a*a*a*a*a*b", "(?:a*)*b", "(?:aa?)*b"]) {
    const pattern = new Pattern(source);
    assert.throws(() => pattern.each("a".repeat(5000), () => undefined), PatternError, source);
    assert.deepEqual(matchesOf(pattern, "ab aab"), ["ab", "aab"]);
  }
});

test("published patterns take a number of steps in proportion to the text", () => {
  const gpt2 = new Pattern("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
  const llama3 = new Pattern(
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" +
      "\\s+(?!\\S)|\\s+",
  );
  for (const pattern of [gpt2, llama3]) {
    for (const unit of ["a", " ", "\n", " \n", "1", "'", "€", "😀", "a'", "\u0301", "A"]) {
      const text = unit.repeat(100_000 / unit.length) + "x";
      assert.equal(matchesOf(pattern, text).join(""), text);
    }
  }
});
