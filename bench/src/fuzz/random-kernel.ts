// Random kernels that are part of the language, for damage and for comparing what they compute. Numbers stay finite
// where that is easy, indices are often inside, and loops are short; everything else is up to chance.

import { pick } from "./random.ts";
import type { Random } from "./random.ts";

export const ROWS = 19;
export const COLUMNS = 37;

/** The parameters of every random kernel; the last three are written. */
const PARAMETERS = [
  "w: Ternary<[19, 37]>",
  "m: Matrix<19, 37>",
  "x: Vector<37>",
  'n: Vector<37, "i32">',
  "s: number",
  "out: Vector<37>",
  "grid: Matrix<19, 37>",
  'codes: Vector<37, "i32">',
];

interface Names {
  /** Counters with the number of values they take, from 0. */
  readonly counters: readonly { readonly name: string; readonly count: number }[];
  readonly numbers: readonly string[];
  readonly variables: readonly string[];
  readonly flags: readonly string[];
  readonly loops: number;
}

/** Writes one kernel. */
class Writer {
  readonly #random: Random;
  #names = 0;
  #budget: number;

  constructor(random: Random) {
    this.#random = random;
    this.#budget = 4 + random(30);
  }

  kernel(): string {
    const names: Names = { counters: [], numbers: ["s"], variables: [], flags: [], loops: 0 };
    const local = this.#random(4) === 0;
    const body = [...(local ? ["const own = vector(37);"] : []), ...this.#block(names, 1, local)];
    if (!body.some((line) => /^\s*(out|grid|codes)\[.*= /.test(line))) body.push("out[0] = s;");
    const returns = this.#random(5) === 0 ? [`return ${this.#number(names, 2)};`] : [];
    const lines = [...body, ...returns].map((line) => `  ${line}`).join("\n");
    return `kernel(function fuzzed(${PARAMETERS.join(", ")}) {\n${lines}\n});\n`;
  }

  #fresh(stem: string): string {
    return `${stem}${this.#names++}`;
  }

  #block(names: Names, depth: number, local: boolean): string[] {
    const lines: string[] = [];
    let known = names;
    for (let count = 1 + this.#random(4); count > 0 && this.#budget > 0; count--) {
      const [text, next] = this.#statement(known, depth, local);
      lines.push(...text);
      known = next;
    }
    return lines;
  }

  #statement(names: Names, depth: number, local: boolean): [string[], Names] {
    this.#budget--;
    const same = (lines: string[]): [string[], Names] => [lines, names];
    const nested = (inner: Names): string[] => this.#block(inner, depth + 1, local).map((line) => `  ${line}`);
    switch (this.#random(depth > 5 ? 6 : 12)) {
      case 0: {
        const name = this.#fresh("c");
        return [[`const ${name} = ${this.#number(names, 3)};`], { ...names, numbers: [...names.numbers, name] }];
      }
      case 1: {
        const name = this.#fresh("v");
        const next = { ...names, numbers: [...names.numbers, name], variables: [...names.variables, name] };
        return [[`let ${name} = ${this.#random(2) === 0 ? "0" : this.#number(names, 2)};`], next];
      }
      case 2:
        if (names.variables.length === 0) return same([this.#store(names, local)]);
        return same([this.#assignment(names)]);
      case 3:
      case 4:
        return same([this.#store(names, local)]);
      case 5:
        if (names.loops === 0 || this.#random(3) > 0) return same([this.#store(names, local)]);
        return same([`if (${this.#condition(names)}) ${pick(this.#random, ["continue", "break"])};`]);
      case 6:
      case 7: {
        const otherwise = this.#random(2) === 0 ? ["} else {", ...nested(names)] : [];
        return same([`if (${this.#condition(names)}) {`, ...nested(names), ...otherwise, "}"]);
      }
      case 8:
        return same(this.#switch(names));
      default:
        return same(this.#loop(names, nested));
    }
  }

  #loop(names: Names, nested: (inner: Names) => string[]): string[] {
    const name = this.#fresh("i");
    const count = pick(this.#random, [[ROWS, COLUMNS, COLUMNS], [3, ROWS, COLUMNS], [3]][Math.min(names.loops, 2)]);
    const inner = { ...names, counters: [...names.counters, { name, count }], loops: names.loops + 1 };
    if (names.loops > 2) return [this.#store(names, false)];
    const header = pick(this.#random, [
      `for (let ${name} = 0; ${name} < ${count}; ${name}++) {`,
      `for (let ${name} = 0; ${name} < ${count}; ${name}++) {`,
      `for (let ${name} = 0; ${name} <= ${count - 1}; ${name} += ${1 + this.#random(3)}) {`,
      `for (let ${name} = ${count - 1}; ${name} >= 0; ${name}--) {`,
      `for (let ${name} = ${this.#random(4)}; ${name} < ${count} && (${this.#condition(names)}); ${name}++) {`,
    ]);
    return [header, ...nested(inner), "}"];
  }

  #switch(names: Names): string[] {
    const [variable] = names.variables.toReversed();
    if (variable === undefined) return [this.#store(names, false)];
    const weight = `w[${this.#index(names, ROWS)}][${this.#index(names, COLUMNS)}]`;
    const added = this.#number(names, 1);
    return [
      `switch (${weight}) {`,
      `  case 1: ${variable} += ${added}; break;`,
      `  case -1: ${variable} -= ${added}; break;`,
      ...(this.#random(2) === 0 ? ["  default: break;"] : []),
      "}",
    ];
  }

  #assignment(names: Names): string {
    const operator = pick(this.#random, ["=", "+=", "-=", "+="]);
    return `${pick(this.#random, names.variables)} ${operator} ${this.#bounded(names)};`;
  }

  #store(names: Names, local: boolean): string {
    const column = this.#index(names, COLUMNS);
    const operator = pick(this.#random, ["=", "=", "+=", "-="]);
    switch (this.#random(local ? 5 : 4)) {
      case 0:
      case 1:
        return `out[${column}] ${operator} ${this.#bounded(names)};`;
      case 2:
        return `grid[${this.#index(names, ROWS)}][${column}] ${operator} ${this.#bounded(names)};`;
      case 3:
        return `codes[${column}] = (${this.#bounded(names)}) | 0;`;
      default:
        return `own[${column}] ${operator} ${this.#bounded(names)};`;
    }
  }

  /** An index that is inside, for the most part. */
  #index(names: Names, size: number): string {
    const fitting = names.counters.filter(({ count }) => count <= size).map(({ name }) => name);
    const counter = fitting.length === 0 ? undefined : pick(this.#random, fitting.slice(-2));
    if (counter === undefined) return `${this.#random(size)}`;
    switch (this.#random(12)) {
      case 0:
        return `(${counter} * 3 + 1) % ${size}`;
      case 1:
        return `${size - 1} - ${counter}`;
      case 2:
        return `${counter} >> 1`;
      case 3:
        return `Math.floor(${counter} / 2)`;
      case 4:
        return `n[${counter}]`;
      default:
        return counter;
    }
  }

  /** A number that cannot grow without end when it is assigned over and over. */
  #bounded(names: Names): string {
    return `Math.max(-8, Math.min(8, ${this.#number(names, 3)}))`;
  }

  #number(names: Names, depth: number): string {
    const leaf = depth <= 0 || this.#random(3) === 0;
    if (leaf) return this.#leaf(names);
    const [a, b] = [this.#number(names, depth - 1), this.#number(names, depth - 1)];
    switch (this.#random(12)) {
      case 0:
        return `(${a} / (Math.abs(${b}) + 0.5))`;
      case 1:
        return `Math.${pick(this.#random, ["abs", "floor", "ceil", "trunc", "sign", "fround"])}(${a})`;
      case 2:
        return `Math.sqrt(Math.abs(${a}))`;
      case 3:
        return `Math.${pick(this.#random, ["min", "max"])}(${a}, ${b})`;
      case 4:
        return `(${this.#condition(names)} ? ${a} : ${b})`;
      case 5:
        return `(0.5 * ${a} * ${a})`;
      default:
        // Products of whole numbers would leave i32, where JavaScript goes on; those with a fraction are floats in
        // both.
        return `(${a} ${pick(this.#random, ["+", "-", "* 0.5 *"])} ${b})`;
    }
  }

  #leaf(names: Names): string {
    switch (this.#random(9)) {
      case 0:
        return pick(this.#random, ["0.5", "2", "0.125", "1", "3", "-1"]);
      case 1:
        return pick(this.#random, names.numbers);
      case 2:
        return `m[${this.#index(names, ROWS)}][${this.#index(names, COLUMNS)}]`;
      case 3:
        return `n[${this.#index(names, COLUMNS)}]`;
      case 4:
        return `w[${this.#index(names, ROWS)}][${this.#index(names, COLUMNS)}]`;
      case 5:
        return names.counters.length === 0 ? "s" : pick(this.#random, names.counters).name;
      case 6:
        return `out[${this.#index(names, COLUMNS)}]`;
      case 7:
        return `grid[${this.#index(names, ROWS)}][${this.#index(names, COLUMNS)}]`;
      default:
        return `x[${this.#index(names, COLUMNS)}]`;
    }
  }

  #condition(names: Names): string {
    const operator = pick(this.#random, ["<", ">", "<=", ">=", "===", "!=="]);
    const compare = `${this.#number(names, 1)} ${operator} ${this.#number(names, 1)}`;
    switch (this.#random(6)) {
      case 0:
        return `!(${compare})`;
      case 1:
        return `${compare} && ${this.#number(names, 0)} > 0`;
      case 2:
        return `${compare} || ${this.#number(names, 0)} < 1`;
      default:
        return compare;
    }
  }
}

/** A kernel that the compiler takes, for the most part. */
export function randomKernel(random: Random): string {
  return new Writer(random).kernel();
}
