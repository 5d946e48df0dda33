// From the text of an arrow function to an expression: `(x, y) => Math.exp(-x) * y`, with `const` for intermediate
// values, conditional expressions, and `if` with `return`. Parsing is by precedence climbing (Richards 1979), so no
// parser library is needed in a page. A function object is read through its text, `fn.toString()`, which has no types
// at run time; text that still has them may annotate parameters and the result with `number`.

import {
  and,
  call,
  comparing,
  difference,
  lift,
  negated,
  not,
  number,
  or,
  pi,
  power,
  product,
  quotient,
  select,
  squareRoot,
  sum,
  variable,
} from "./build.ts";
import type { Condition, Expression } from "./expression.ts";
import { SymbolicError } from "./expression.ts";
import { factsOf, isMathFunction } from "./functions.ts";
import type { Token } from "./lex.ts";
import { errorAt, tokenize } from "./lex.ts";
import { parseDecimal } from "./rational.ts";

/** A function of real numbers as an expression of its parameters. */
export interface SymbolicFunction {
  readonly parameters: readonly string[];
  readonly body: Expression;
}

export interface ParseOptions {
  /** Values of names that the function closes over. */
  readonly constants?: Readonly<Record<string, number>>;
}

/** The numbers that `Math` has, exactly. */
const MATH_NUMBERS: Readonly<Record<string, () => Expression>> = {
  PI: () => pi,
  E: () => call("exp", 1),
  LN2: () => call("log", 2),
  LN10: () => call("log", 10),
  LOG2E: () => power(call("log", 2), -1),
  LOG10E: () => power(call("log", 10), -1),
  SQRT2: () => squareRoot(2),
  SQRT1_2: () => power(squareRoot(2), -1),
};

/** Functions of `Math` that are other functions in disguise. */
const MATH_FORMS: Readonly<Record<string, { readonly arity: number; of(...args: Expression[]): Expression }>> = {
  sqrt: { arity: 1, of: (a) => squareRoot(a!) },
  pow: { arity: 2, of: (a, b) => power(a!, b!) },
  log2: { arity: 1, of: (a) => quotient(call("log", a!), call("log", 2)) },
  log10: { arity: 1, of: (a) => quotient(call("log", a!), call("log", 10)) },
  hypot: { arity: 2, of: (a, b) => squareRoot(sum(power(a!, 2), power(b!, 2))) },
};

type Value = { readonly real: Expression } | { readonly truth: Condition };

const BINARY_LEVEL: Readonly<Record<string, number>> = {
  "||": 1,
  "&&": 2,
  "==": 3,
  "===": 3,
  "!=": 3,
  "!==": 3,
  "<": 4,
  "<=": 4,
  ">": 4,
  ">=": 4,
  "+": 5,
  "-": 5,
  "*": 6,
  "/": 6,
};
const NESTING_MAX = 200;

/**
 * Reads a function of real numbers. Throws `SymbolicError` with line and column for what is outside of the language
 * above, for names that are unknown, and where a condition stands in the place of a number.
 */
export function symbolic(
  fn: ((...args: number[]) => number) | string,
  { constants = {} }: ParseOptions = {},
): SymbolicFunction {
  const text = typeof fn === "string" ? fn : fn.toString();
  return new Parser(text, constants).parseFunction();
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  readonly #names = new Map<string, Value>();
  #next = 0;
  #nesting = 0;

  constructor(text: string, constants: Readonly<Record<string, number>>) {
    this.#text = text;
    this.#tokens = tokenize(text);
    for (const [name, value] of Object.entries(constants)) {
      if (!Number.isFinite(value)) throw new SymbolicError(`constant ${name} is not a finite number: ${value}`);
      this.#names.set(name, { real: number(value) });
    }
  }

  parseFunction(): SymbolicFunction {
    const parameters = this.#parseParameters();
    for (const name of parameters) this.#names.set(name, { real: variable(name) });
    this.#expect("=>", "a function is written (x) => ...");
    const body = this.#at("{") ? this.#parseBlock() : this.#real(() => this.#parseValue());
    this.#take(";");
    if (this.#token.kind !== "end") throw this.#error("the function ends here, and more follows");
    return { parameters, body };
  }

  #parseParameters(): string[] {
    if (this.#token.kind === "name") return [this.#name()];
    this.#expect("(", "a function is written (x) => ...");
    const names: string[] = [];
    while (!this.#take(")")) {
      if (names.length > 0) this.#expect(",");
      const at = this.#token;
      const name = this.#name();
      if (names.includes(name)) throw this.#error(`two parameters are called ${name}`, at);
      names.push(name);
      this.#skipType();
    }
    this.#skipType();
    return names;
  }

  #skipType(): void {
    if (!this.#take(":")) return;
    if (this.#token.text !== "number") throw this.#error("only numbers can be differentiated", this.#token);
    this.#next++;
  }

  /** Statements up to the closing brace; the value is that of the `return` that is reached. */
  #parseBlock(): Expression {
    return this.#nested(() => {
      this.#expect("{");
      const shadowed = new Map(this.#names);
      const result = this.#parseStatements();
      this.#expect("}");
      this.#names.clear();
      for (const [name, value] of shadowed) this.#names.set(name, value);
      return result;
    });
  }

  #parseStatements(): Expression {
    while (this.#at("const") || this.#at("let")) {
      this.#next++;
      const name = this.#name();
      this.#skipType();
      this.#expect("=");
      this.#names.set(name, this.#parseValue());
      this.#take(";");
    }
    if (this.#at("if")) return this.#parseIf();
    if (!this.#take("return")) {
      throw this.#error(
        "expected a declaration, if or return",
        this.#token,
        "loops and assignments have no derivative rule",
      );
    }
    const value = this.#real(() => this.#parseValue());
    this.#take(";");
    return value;
  }

  /** Both branches return; what follows an `if` without `else` is its other branch. */
  #parseIf(): Expression {
    return this.#nested(() => {
      this.#expect("if");
      this.#expect("(");
      const condition = this.#truth(() => this.#parseValue());
      this.#expect(")");
      const branch = (): Expression => (this.#at("{") ? this.#parseBlock() : this.#parseStatements());
      const then = branch();
      const otherwise = this.#take("else") ? branch() : this.#parseStatements();
      return select(condition, then, otherwise);
    });
  }

  #parseValue(): Value {
    return this.#nested(() => {
      const at = this.#token;
      const condition = this.#parseBinary(0);
      if (!this.#take("?")) return condition;
      const test = this.#requireTruth(condition, at);
      const then = this.#real(() => this.#parseValue());
      this.#expect(":");
      return {
        real: select(
          test,
          then,
          this.#real(() => this.#parseValue()),
        ),
      };
    });
  }

  #parseBinary(level: number): Value {
    let at = this.#token;
    let left = this.#parseUnary();
    for (;;) {
      const sign = this.#token;
      const precedence = sign.kind === "sign" ? BINARY_LEVEL[sign.text] : undefined;
      if (precedence === undefined || precedence <= level) return left;
      this.#next++;
      const rightAt = this.#token;
      const right = this.#parseBinary(precedence);
      left = this.#combine(sign.text, left, at, right, rightAt);
      at = rightAt;
    }
  }

  #combine(sign: string, left: Value, leftAt: Token, right: Value, rightAt: Token): Value {
    if (sign === "&&" || sign === "||") {
      const [a, b] = [this.#requireTruth(left, leftAt), this.#requireTruth(right, rightAt)];
      return { truth: sign === "&&" ? and(a, b) : or(a, b) };
    }
    const [a, b] = [this.#requireReal(left, leftAt), this.#requireReal(right, rightAt)];
    if (sign === "+") return { real: sum(a, b) };
    if (sign === "-") return { real: difference(a, b) };
    if (sign === "*") return { real: product(a, b) };
    if (sign === "/") return { real: quotient(a, b) };
    if (sign === "<") return { truth: comparing(a, "<", b) };
    if (sign === "<=") return { truth: comparing(a, "<=", b) };
    if (sign === ">") return { truth: comparing(b, "<", a) };
    if (sign === ">=") return { truth: comparing(b, "<=", a) };
    const equal = comparing(a, "==", b);
    return { truth: sign.startsWith("!") ? not(equal) : equal };
  }

  /** `isSigned` after a minus: JavaScript refuses -a ** b. */
  #parseUnary(isSigned = false): Value {
    return this.#nested(() => {
      const at = this.#token;
      if (this.#take("!")) return { truth: not(this.#truth(() => this.#parseUnary())) };
      if (this.#take("+")) return { real: this.#real(() => this.#parseUnary()) };
      if (this.#take("-")) return { real: negated(this.#real(() => this.#parseUnary(true))) };
      const base = this.#parsePrimary();
      if (!this.#at("**")) return base;
      if (isSigned) throw this.#error("-a ** b is ambiguous", at, "write (-a) ** b or -(a ** b)");
      this.#next++;
      const [a, b] = [this.#requireReal(base, at), this.#real(() => this.#parseUnary())]; // a ** (b ** c)
      return { real: power(a, b) };
    });
  }

  #parsePrimary(): Value {
    const token = this.#token;
    this.#next++;
    if (token.kind === "number") {
      const plain = token.text.replaceAll("_", "");
      const value = parseDecimal(plain) ?? (/^0[xbo]/i.test(plain) ? lift(Number(plain)) : undefined);
      if (value === undefined) throw this.#error(`${token.text} is no number`, token);
      return { real: "kind" in value ? value : number(value) };
    }
    if (token.text === "(") {
      const value = this.#parseValue();
      this.#expect(")");
      return value;
    }
    if (token.kind === "name") return this.#parseName(token);
    throw this.#error(`expected a value, not ${token.text}`, token);
  }

  #parseName(token: Token): Value {
    if (token.text === "Math" && !this.#names.has("Math")) {
      this.#expect(".");
      const at = this.#token;
      return { real: this.#parseMath(this.#name(), at) };
    }
    const value = this.#names.get(token.text);
    if (value !== undefined) return value;
    if (token.text === "true" || token.text === "false") {
      return { truth: comparing(token.text === "true" ? 0 : 1, "==", 0) };
    }
    const hint = this.#at("(")
      ? "functions are those of Math, as in Math.exp(x); others have to be written out"
      : `give its value: { constants: { ${token.text}: 1 } }`;
    throw this.#error(`the name ${token.text} is not known here`, token, hint);
  }

  #parseMath(name: string, at: Token): Expression {
    const constant = Object.hasOwn(MATH_NUMBERS, name) ? MATH_NUMBERS[name] : undefined;
    if (constant !== undefined) return constant();
    const form = Object.hasOwn(MATH_FORMS, name) ? MATH_FORMS[name] : undefined;
    if (form === undefined && !isMathFunction(name)) throw this.#error(`Math.${name} has no derivative rule here`, at);
    const args: Expression[] = [];
    this.#expect("(");
    while (!this.#take(")")) {
      if (args.length > 0) this.#expect(",");
      args.push(this.#real(() => this.#parseValue()));
    }
    const arity = form?.arity ?? (isMathFunction(name) ? factsOf(name).arity : 0);
    if (args.length !== arity) throw this.#error(`Math.${name} takes ${arity} here, not ${args.length}`, at);
    return form !== undefined ? form.of(...args) : isMathFunction(name) ? call(name, ...args) : args[0]!;
  }

  /** Text that nests deeper than people write is refused before the stack is. */
  #nested<R>(body: () => R): R {
    if (++this.#nesting > NESTING_MAX) throw this.#error(`nested deeper than ${NESTING_MAX} levels`);
    const result = body();
    this.#nesting--;
    return result;
  }

  #real(parse: () => Value): Expression {
    const at = this.#token;
    return this.#requireReal(parse(), at);
  }

  #truth(parse: () => Value): Condition {
    const at = this.#token;
    return this.#requireTruth(parse(), at);
  }

  #requireReal(value: Value, at: Token): Expression {
    if ("real" in value) return value.real;
    throw this.#error("this is a condition, and a number is needed", at, "write condition ? 1 : 0");
  }

  #requireTruth(value: Value, at: Token): Condition {
    if ("truth" in value) return value.truth;
    throw this.#error("this is a number, and a condition is needed", at, "compare it, as in x !== 0");
  }

  get #token(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)]!;
  }

  #at(text: string): boolean {
    return this.#token.kind !== "end" && this.#token.text === text;
  }

  #take(text: string): boolean {
    if (!this.#at(text)) return false;
    this.#next++;
    return true;
  }

  #expect(text: string, hint?: string): void {
    if (!this.#take(text)) throw this.#error(`expected ${text}, not ${this.#token.text}`, this.#token, hint);
  }

  #name(): string {
    const token = this.#token;
    if (token.kind !== "name") throw this.#error(`expected a name, not ${token.text}`);
    this.#next++;
    return token.text;
  }

  #error(message: string, token = this.#token, hint?: string): SymbolicError {
    return errorAt(this.#text, token.at, message, hint);
  }
}
