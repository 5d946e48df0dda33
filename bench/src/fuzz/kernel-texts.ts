// Hostile texts of kernels: the kernels of `examples/` and random ones, with words and lines deleted, repeated,
// exchanged and replaced by what the kernel language does not have, and texts that are large in one way each.

import { readdirSync, readFileSync } from "node:fs";
import { randomKernel } from "./random-kernel.ts";
import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";

const EXAMPLES = new URL("../../../examples/", import.meta.url);
const TEXTS = readdirSync(EXAMPLES)
  .filter((file) => file.endsWith(".ts") && file !== "compare.ts")
  .toSorted()
  .map((file) => readFileSync(new URL(file, EXAMPLES), "utf8"));

const WORDS = [
  ..."{}()[];,.:?=<>+-*/%!~&|^'\"`\n#@\\",
  ...["=>", "===", "!==", "==", "**", "<<", ">>>", "&&", "||", "??", "?.", "...", "++", "--", "+=", "||=", "/*", "//"],
  ...["let", "const", "var", "for", "while", "do", "if", "else", "switch", "case", "default", "break", "continue"],
  ...[
    "return",
    "function",
    "async",
    "await",
    "yield",
    "class",
    "new",
    "this",
    "super",
    "try",
    "throw",
    "import",
    "export",
  ],
  ...[
    "kernel",
    "Vector",
    "Matrix",
    "Tensor",
    "Ternary",
    "Quantity",
    "number",
    "f64",
    "i32",
    "boolean",
    "any",
    "typeof",
  ],
  ...["Math.exp", "Math.floor", "Math.max", "Math.imul", "Math.pow", "Math.PI", "Math.random", "length", "scale"],
  ...[
    "constructor",
    "__proto__",
    "toString",
    "hasOwnProperty",
    "undefined",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
  ],
  ...["0", "1", "-1", "0.5", "1e999", "1e-400", "2147483647", "2147483648", "4294967296", "9007199254740993", "0x10"],
  ...[
    "1n",
    "1_000",
    "0b11",
    "[i]",
    "[-1]",
    "[1e9]",
    "[0][0][0]",
    "out[0] = s;",
    "vector(8)",
    "tensor([])",
    "as number",
  ],
];

const WORD = /[\p{L}\p{N}_$.]+|\s+|[^\p{L}\p{N}\s]/gu;
const MUTATIONS_MAX = 6;

/** One text that is to be compiled or refused. */
export function hostileText(random: Random): string {
  if (random(64) === 0) return largeText(random);
  const text = random(2) === 0 ? pick(random, TEXTS) : randomKernel(random);
  if (random(16) === 0) return text;
  const words = text.match(WORD) ?? [];
  // Most texts stay TypeScript, so that what comes after the parser is reached.
  const gentle = random(4) > 0;
  for (let count = 1 + random(gentle ? 3 : MUTATIONS_MAX); count > 0; count--) {
    if (gentle) exchange(words, random);
    else mutate(words, random);
  }
  return words.join("");
}

const NAMES = WORDS.filter((word) => /^[\p{L}_][\p{L}\p{N}_.]*$/u.test(word));
const NUMBERS = WORDS.filter((word) => /^\d/.test(word));
const OPERATORS = [..."<>+-*/%&|^"];

/** Replaces a word by another of its kind, or moves a statement. */
function exchange(words: string[], random: Random): void {
  const at = random(words.length);
  const word = words[at];
  const kind = [NAMES, NUMBERS, OPERATORS].find((_, i) => [/^[\p{L}_]/u, /^\d/, /^[<>+\-*/%&|^]$/][i].test(word));
  if (kind === undefined || random(4) === 0) {
    moveStatement(words, random);
    return;
  }
  const same = words.filter(
    (other) => /^[\p{L}_]/u.test(other) === /^[\p{L}_]/u.test(word) && /^\d/.test(other) === /^\d/.test(word),
  );
  words[at] = random(3) > 0 && kind !== OPERATORS ? pick(random, same) : pick(random, kind);
}

/** Deletes a line, or repeats it elsewhere. */
function moveStatement(words: string[], random: Random): void {
  const lines = words.join("").split("\n");
  const from = random(lines.length);
  const line = lines[from];
  if (random(2) === 0) lines.splice(from, 1);
  if (random(3) > 0) lines.splice(random(lines.length), 0, line);
  words.splice(0, words.length, ...(lines.join("\n").match(WORD) ?? []));
}

function mutate(words: string[], random: Random): void {
  const at = random(words.length + 1);
  const length = Math.min(1 + randomSize(random, 40), words.length - at);
  switch (random(7)) {
    case 0:
      words.splice(at, length);
      return;
    case 1:
      words.splice(random(words.length + 1), 0, ...words.slice(at, at + length));
      return;
    case 2:
      words.splice(at, 1, pick(random, WORDS));
      return;
    case 3:
      words.splice(at, 0, pick(random, WORDS), " ");
      return;
    case 4:
      words.splice(at, 1, pick(random, words));
      return;
    case 5: {
      const repeats = 1 + randomSize(random, 60);
      words.splice(at, 0, ...Array.from({ length: repeats }, () => words.slice(at, at + Math.min(length, 8))).flat());
      return;
    }
    default:
      words.splice(at, 1, String.fromCharCode(random(2) === 0 ? random(128) : random(65536)));
  }
}

/** Texts that nest, repeat or count beyond all reason. */
function largeText(random: Random): string {
  const many = 1 + randomSize(random, 5000);
  const wrap = (body: string): string => `kernel(function big(x: Vector<8>, out: Vector<8>) { ${body} });`;
  return pick(random, [
    () => wrap(`out[0] = ${"(".repeat(many)}1${")".repeat(many)};`),
    () => wrap(`out[0] = ${"-".repeat(many)}x[0];`),
    () => wrap(`out[0] = 1${" + x[0]".repeat(many)};`),
    () => wrap(`${"if (x[0] > 0) ".repeat(many)}out[0] = 1;`),
    () => wrap(`for (let i = 0; i < 8; i++) { ${"if (x[i] > 0) break; ".repeat(many)} out[i] = 1; }`),
    () =>
      wrap(
        Array.from({ length: many }, (_, i) => `for (let a${i} = 0; a${i} < 2; a${i}++) `).join("") + "out[0] += 1;",
      ),
    () => wrap(Array.from({ length: many }, (_, i) => `const a${i} = x[0] + ${i};`).join(" ") + " out[0] = a0;"),
    () =>
      wrap(
        Array.from({ length: many }, (_, i) => `let a${i} = ${i === 0 ? "0" : `a${i - 1}`};`).join(" ") +
          " out[0] = a0;",
      ),
    () => doublingHelpers(Math.min(many, 200), wrap),
    () => Array.from({ length: many % 300 }, (_, i) => wrap("out[0] = x[0];").replace("big", `big${i}`)).join("\n"),
    () => `kernel(function big(x: Tensor<[${"4, ".repeat(many)}4]>, out: Vector<8>) { out[0] = 1; });`,
    () => `kernel(function big(x: ${"Vector<".repeat(many)}8${">".repeat(many)}, out: Vector<8>) { out[0] = 1; });`,
    () =>
      wrap(
        `switch (x[0] | 0) { ${Array.from({ length: many }, (_, i) => `case ${i}: out[0] = ${i}; break;`).join(" ")} }`,
      ),
    () => `type A = B;\ntype B = A;\nkernel(function big(x: A, out: Vector<8>) { out[0] = 1; });`,
    () => `const a = b; const b = a;\nkernel(function big(x: Vector<typeof a>, out: Vector<8>) { out[a] = 1; });`,
  ])();
}

/** Helpers that each call the one before twice: 2^count calls, written out. */
function doublingHelpers(count: number, wrap: (body: string) => string): string {
  const body = (i: number): string => (i === 0 ? "a" : `f${i - 1}(a) + f${i - 1}(a)`);
  const helpers = Array.from({ length: count }, (_, i) => `const f${i} = (a: number) => ${body(i)};`);
  return `${helpers.join("\n")}\n${wrap(`out[0] = f${count - 1}(x[0]);`)}`;
}
