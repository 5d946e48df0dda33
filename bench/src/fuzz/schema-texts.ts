// Texts of schemas for damage: a small corpus with every form of the language, the published corpus where it lies in a
// folder beside the checkout, random ones; then the damage, and texts that are large in one way each.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";
import { randomSchemaText } from "./random-schema.ts";

const OWN = [
  "type Key data[16]\ntype Dict map<Key><str>\ntype Sized list<f32>[007]",
  "# Doc.\ntype Level enum { LOW HIGH = 300 HIGHER }\ntype Any union { | void | u8 = 3 | list<u8> | list<u16> | }",
  "type Mixed struct { snake_case: u8 camelCase: optional<str> type: enum { A_1 B } constructor: u8 toString: str }",
  "# a comment\ntype Twice struct { a: struct { b: union { str | u8 } } } # the end",
  "type A optional<optional<u8>>\ntype B list<A>\ntype C map<str><B>\ntype D union { A | B | C | void }",
  "type Old string\ntype B [][4]u8\ntype C map[str] u8\ntype D (u8 | str = 7)",
  "enum E { ONE TWO }\nstruct F { a: data<16> }",
  "type Tree struct { children: list<Tree> }\ntype Early struct { late: Late }\ntype Late u8",
  "type Loose enum { B = 5 A = 2 }",
  "type A optional<B>\ntype B optional<A>\ntype C list<C>\ntype D map<u8><D>\ntype E union { E | u8 }",
  "type Uint8Array list<u8>\ntype Object struct { __a: u8 }\ntype Map map<i64><Uint8Array>",
];

/** The published corpus (the tests of bare-ts/bare); none where it is not there. */
function publishedTexts(): string[] {
  const corpus = new URL("../../../../shared/data/bare-corpus/", import.meta.url);
  if (!existsSync(corpus)) return [];
  return ["valid", "legacy", "invalid"].flatMap((folder) =>
    readdirSync(new URL(folder, corpus))
      .toSorted()
      .map((file) => readFileSync(new URL(`${folder}/${file}`, corpus), "utf8")),
  );
}

const SEEDS = [...OWN, ...publishedTexts()];

/** A schema that is to be damaged. */
export function seedText(random: Random): string {
  return random(3) === 0 ? randomSchemaText(random, { recursive: random(2) === 0 }) : pick(random, SEEDS);
}

const WORDS = [
  ..."{}<>[]()|=:#\n \t\r,",
  ...[
    "type",
    "struct",
    "enum",
    "union",
    "list",
    "map",
    "data",
    "optional",
    "void",
    "str",
    "string",
    "u8",
    "u64",
    "f32",
  ],
  ...["A", "T0", "T1", "A_1", "a", "a_b", "__proto__", "constructor", "Uint8Array", "ReadonlyMap", "_", "0", "1", "00"],
  ...["4294967295", "4294967296", "9007199254740991", "9007199254740992", "18446744073709551616", "0x10", "1e3", "-1"],
  ...["type A A\n", "type A u8\n", "type B list<A>\n", "optional<", "list<", "map<str><", "struct { a:", ">", "[1]"],
];
// What texts of other kinds have: letters of two to four bytes, marks, halves of pairs, breaks of lines, ends of text.
const ODD = [
  "\u0000",
  "\u00a0",
  "\u00e9",
  "\u0130",
  "\u2028",
  "\u200b",
  "\ufeff",
  "\ufffd",
  "\ud800",
  "\udc00",
  "\u{1d400}",
];
const MUTATIONS_MAX = 4;
const LENGTH_MAX = 2 ** 15;

/** A text with one to four kinds of damage; spans and words are also taken from `other`. */
export function mutateText(text: string, random: Random, other: string): string {
  let mutant = text;
  for (let count = 1 + randomSize(random, MUTATIONS_MAX); count > 0 && mutant.length < LENGTH_MAX; count--) {
    mutant = random(4) === 0 ? changeSpan(mutant, random, other) : changeWords(mutant, random, other);
  }
  return mutant;
}

function changeSpan(text: string, random: Random, other: string): string {
  const at = random(text.length + 1);
  const length = randomSize(random, 60);
  const [before, span, after] = [text.slice(0, at), text.slice(at, at + length), text.slice(at + length)];
  switch (random(8)) {
    case 0:
      return before + after;
    case 1:
      return before + span.repeat(1 + randomSize(random, 200)) + after;
    case 2:
      return before + other.slice(random(other.length + 1)).slice(0, length) + text.slice(at);
    case 3:
      return before + pick(random, ODD) + text.slice(at + random(2));
    case 4:
      return before + String.fromCharCode(random(128)) + text.slice(at + random(2));
    case 5: {
      const bytes = new TextEncoder().encode(text);
      if (bytes.length > 0) bytes[random(bytes.length)] ^= 1 << random(8);
      return new TextDecoder().decode(bytes);
    }
    case 6: {
      const levels = 1 + randomSize(random, 300);
      const open = pick(random, ["optional<", "list<", "map<str><", "[]", "union { ", "struct { a: ", "("]);
      const close = { "[]": "", "union { ": " }", "struct { a: ": " }", "(": ")" }[open] ?? ">";
      return before + open.repeat(levels) + span + close.repeat(levels - random(2)) + after;
    }
    default:
      return before + "9".repeat(1 + randomSize(random, 400)) + after;
  }
}

function changeWords(text: string, random: Random, other: string): string {
  const words = text.match(WORD) ?? [];
  if (words.length === 0) return pick(random, WORDS);
  const [i, j] = [random(words.length), random(words.length)];
  switch (random(8)) {
    case 0:
      [words[i], words[j]] = [words[j], words[i]];
      break;
    case 1:
      words[i] = pick(random, WORDS);
      break;
    case 2:
      words.splice(i, 1);
      break;
    case 3:
      words.splice(i, 0, pick(random, WORDS), " ");
      break;
    case 4:
      words[i] = pick(random, other.match(WORD) ?? WORDS);
      break;
    case 5: {
      // A word for one of its kind: a name, a type, a number, a sign.
      const alike = [...words, ...WORDS].filter((word) => kindOf(word) === kindOf(words[i]));
      words[i] = pick(random, alike);
      break;
    }
    default:
      // One name in the place of another, as cycles are made.
      return text.replaceAll(words[i].trim() || "u8", words[j].trim() || "T0");
  }
  return words.join("");
}

function kindOf(word: string): string {
  if (/^\s*$/.test(word)) return "space";
  if (/^[A-Z]\w*$/.test(word)) return "name";
  if (/^\d+$/.test(word)) return "number";
  return /^([ui](8|16|32|64|nt)|f32|f64|str|bool|data|void)$/.test(word) ? "type" : word;
}

const WORD = /[A-Za-z0-9_]+|\s+|[^]/g;

const name = (i: number): string => i.toString(36);
const many = (count: number, part: (i: number) => string, between = " "): string =>
  Array.from({ length: count }, (_, i) => part(i)).join(between);
const nested = (count: number, open: string, inner: string, close: string): string =>
  open.repeat(count) + inner + close.repeat(count);

/** Texts that are large in one way, by about how many parts. The reader takes texts of up to 2^20 characters. */
const LARGE: readonly ((count: number) => string)[] = [
  (count) => `type A enum { ${many(count, (i) => `A${name(i).toUpperCase()}`)} }`,
  (count) => `type A struct { ${many(count, (i) => `a${name(i)}:u8`)} }`,
  (count) => `type A union { ${many(count, (i) => `data[${i + 1}]`, "|")} }`,
  (count) => many(count, (i) => `type A${name(i)} u8`, "\n"),
  (count) => `type A0 u8\n${many(count, (i) => `type A${i + 1} A${i}`, "\n")}`,
  (count) => `type A0 u8\n${many(count, (i) => `type A${i + 1} struct { a: A${i} b: A${i} }`, "\n")}`,
  (count) => `type A0 u8\n${many(Math.min(count, 200), (i) => `type A${i + 1} list<A${i}>[4294967295]`, "\n")}`,
  (count) => many(count, (i) => `type A${i} A${(i + 1) % count}`, "\n"),
  (count) => many(count, (i) => `type A${i} optional<A${(i + 1) % count}>`, "\n"),
  (count) => many(count, (i) => `type A${i} struct { a: optional<A${(i * 7 + 1) % count}> b: optional<A0> }`, "\n"),
  (count) => many(count, (i) => `type A${i} union { u8 | A${(i + 1) % count} | A${(i * 3) % count} }`, "\n"),
  (count) => `type A ${nested(count, "list<", "u8", ">")}`,
  (count) => `type A ${nested(count, "struct { a: ", "u8", "}")}`,
  (count) => `type A ${nested(count, "(", "u8", ")")}`,
  (count) => `type A ${"[]".repeat(count)}u8`,
  (count) => `type A data[${"9".repeat(count)}]`,
  (count) => `type A union { u8 = ${"1".repeat(count)} }`,
  (count) => `# ${"\u00e9".repeat(count)}\ntype A u8`,
  (count) => `${"# a\n".repeat(count)}type A u8`,
  (count) => `${" ".repeat(count)}type A u8 $`,
  (count) => `${"\n".repeat(count)}type A u8 $`,
  (count) => "a".repeat(count),
  (count) => `type ${"A".repeat(count)} struct { ${"a".repeat(count)}: u8 }`,
  (count) => "type ".repeat(count),
  (count) => `type A struct { ${"a: u8 ".repeat(count)} }`,
];

const PARTS_MAX = 200_000;

/** A text that is large in one way. */
export function largeText(random: Random): string {
  return pick(random, LARGE)(1 + randomSize(random, PARTS_MAX));
}
