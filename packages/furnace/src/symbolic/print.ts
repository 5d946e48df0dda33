// Expressions as text for people, as LaTeX and as TypeScript. One walk decides what stands above a fraction line, which
// term comes first and where brackets are needed; a style says how each of these looks. What is printed as TypeScript
// reads back as an expression of the same value, and but for numbers before sums as the same one. It computes in plain
// float64: where e^x leaves its range, only evaluate.ts goes on.

import { negated, number, valueOf } from "./build.ts";
import type { CompareCondition, Condition, Expression, SumExpression } from "./expression.ts";
import { variablesOf } from "./expression.ts";
import { factsOf } from "./functions.ts";
import type { FunctionName } from "./functions.ts";
import * as Q from "./rational.ts";
import type { Rational } from "./rational.ts";
import type { Names } from "./share.ts";
import { commonSubexpressions } from "./share.ts";

/** How tight the outermost operator of a text binds. */
const LEVEL = { choice: 0, or: 1, and: 2, compare: 3, sum: 5, product: 6, power: 7, atom: 8 } as const;
type Level = (typeof LEVEL)[keyof typeof LEVEL];

interface Printed {
  readonly text: string;
  readonly level: Level;
}

/** How one notation writes things; arguments are printed, with brackets where they need them. */
interface Style {
  readonly pi: string;
  variable(name: string): string;
  times(factors: readonly string[]): string;
  /** Two lists of printed factors; `above` may be empty. */
  fraction(above: readonly Printed[], below: readonly Printed[]): Printed;
  power(base: Printed, exponent: Printed): Printed;
  root(of: Printed): Printed;
  call(name: FunctionName, args: readonly string[]): Printed;
  /** What stands below the line of sigmoid(u) where there is no such function; `mirrored` is -u. */
  belowOfSigmoid?(mirrored: string): Printed;
  select(cases: readonly (readonly [condition: string, value: string])[], otherwise: string): Printed;
  bracket(text: string): string;
  /** -a ** b is a mistake in JavaScript. */
  readonly bracketsSignedPower?: boolean;
  readonly signs: Readonly<Record<CompareCondition["comparison"] | "and" | "or" | "not" | "differs", string>>;
}

const atom = (text: string): Printed => ({ text, level: LEVEL.atom });

/** Infix notation, which text for people and TypeScript share. */
function infix(own: Omit<Style, "variable" | "times" | "bracket" | "fraction"> & { times: string }): Style {
  const bracket = (text: string): string => `(${text})`;
  const within = (p: Printed, level: Level): string => (p.level < level ? bracket(p.text) : p.text);
  const times = (factors: readonly string[]): string => factors.join(own.times);
  const joined = (factors: readonly Printed[]): string => times(factors.map((p) => within(p, LEVEL.product)));
  return {
    ...own,
    variable: (name) => name,
    times,
    bracket,
    fraction(above, below) {
      const over = above.length === 0 ? "1" : joined(above);
      const [only] = below;
      const under = below.length === 1 ? within(only!, LEVEL.power) : bracket(joined(below));
      return { text: `${over} / ${under}`, level: LEVEL.product };
    },
  };
}

const INFIX_SIGNS = { "<": "<", "<=": "<=", "==": "=", and: "and", or: "or", not: "not ", differs: "!=" } as const;
const tight = (p: Printed): string => (p.level < LEVEL.atom ? `(${p.text})` : p.text);

const TEXT: Style = infix({
  pi: "pi",
  times: " * ",
  signs: INFIX_SIGNS,
  power: (base, exponent) => ({ text: `${tight(base)}^${tight(exponent)}`, level: LEVEL.power }),
  root: (of) => atom(`sqrt(${of.text})`),
  call: (name, args) => atom(`${name}(${args.join(", ")})`),
  select: (cases, otherwise) => ({
    text: [...cases.map(([condition, value]) => `${value} if ${condition}`), otherwise].join(" else "),
    level: LEVEL.choice,
  }),
});

const TYPESCRIPT: Style = infix({
  pi: "Math.PI",
  bracketsSignedPower: true,
  times: " * ",
  signs: { "<": "<", "<=": "<=", "==": "===", and: "&&", or: "||", not: "!", differs: "!==" },
  power: (base, exponent) => ({ text: `${tight(base)} ** ${tight(exponent)}`, level: LEVEL.power }),
  root: (of) => atom(`Math.sqrt(${of.text})`),
  call: (name, args) => atom(`Math.${name}(${args.join(", ")})`),
  belowOfSigmoid: (mirrored) => ({ text: `1 + Math.exp(${mirrored})`, level: LEVEL.sum }),
  select: (cases, otherwise) => ({
    text: [...cases.map(([condition, value]) => `${condition} ? ${value}`), otherwise].join(" : "),
    level: LEVEL.choice,
  }),
});

const GREEK = /^(?:alpha|beta|gamma|delta|epsilon|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|chi|psi|omega)$/;

const LATEX: Style = {
  pi: "\\pi",
  signs: { "<": "<", "<=": "\\le", "==": "=", and: "\\land", or: "\\lor", not: "\\lnot ", differs: "\\ne" },
  variable(name) {
    const [, letters, digits] = /^(.*?)_?(\d*)$/.exec(name)!;
    const stem = GREEK.test(letters!)
      ? `\\${letters}`
      : letters!.length > 1
        ? `\\mathrm{${escape(letters!)}}`
        : letters!;
    return digits === "" ? stem : `${stem}_{${digits}}`;
  },
  times: (factors) => factors.join(" "),
  fraction(above, below) {
    const list = (factors: readonly Printed[]): string =>
      factors.length === 1
        ? factors[0]!.text
        : factors.map((p) => (p.level < LEVEL.product ? LATEX.bracket(p.text) : p.text)).join(" ");
    return atom(`\\frac{${above.length === 0 ? "1" : list(above)}}{${list(below)}}`);
  },
  power: (base, exponent) => ({
    text: `${base.level < LEVEL.atom ? LATEX.bracket(base.text) : base.text}^{${exponent.text}}`,
    level: LEVEL.power,
  }),
  root: (of) => atom(`\\sqrt{${of.text}}`),
  call(name, args) {
    if (name === "exp") return { text: `e^{${args[0]}}`, level: LEVEL.power };
    if (name === "abs") return atom(`\\left|${args[0]}\\right|`);
    return atom(`${factsOf(name).latex}\\left(${args.join(", ")}\\right)`);
  },
  select(cases, otherwise) {
    const rows = cases.map(([condition, value]) => `${value} & ${condition}`);
    return atom(`\\begin{cases} ${[...rows, `${otherwise} & \\text{otherwise}`].join(" \\\\ ")} \\end{cases}`);
  },
  bracket: (text) => `\\left(${text}\\right)`,
};

const escape = (name: string): string => name.replaceAll(/[_$]/g, "\\$&");

/** `x^2 + 3 * sin(x)`. */
export const formatExpression = (e: Expression): string => new Printer(TEXT).print(e).text;

/** `x^{2} + 3 \\sin\\left(x\\right)`, for math mode. */
export const formatLatex = (e: Expression): string => new Printer(LATEX).print(e).text;

/** One expression of TypeScript, over variables of the same names. */
export const formatTypeScript = (e: Expression): string => new Printer(TYPESCRIPT).print(e).text;

/**
 * A TypeScript arrow function of the variables, with common subexpressions as `const`s. Parameters are the expression's
 * variables in alphabetical order where none are given.
 */
export function formatTypeScriptFunction(e: Expression, parameters: readonly string[] = variablesOf(e)): string {
  const names = commonSubexpressions([e]);
  const head = `(${parameters.map((name) => `${name}: number`).join(", ")}): number =>`;
  if (names.size === 0) return `${head} ${formatTypeScript(e)}`;
  const lines = [...names].map(
    ([part, name]) => `  const ${name} = ${new Printer(TYPESCRIPT, names, part).print(part).text};`,
  );
  return [`${head} {`, ...lines, `  return ${new Printer(TYPESCRIPT, names).print(e).text};`, "}"].join("\n");
}

const ZERO = number(0);

/** A term of a sum; `of` is absent for its constant. */
type PrintedTerm = { readonly coefficient: Rational; readonly of?: Expression };

class Printer {
  readonly #style: Style;
  readonly #names: Names;
  /** Written out although it has a name. */
  readonly #open: Expression | undefined;

  constructor(style: Style, names: Names = new Map(), open?: Expression) {
    this.#style = style;
    this.#names = names;
    this.#open = open;
  }

  print(e: Expression): Printed {
    const name = this.#nameOf(e);
    if (name !== undefined) return atom(this.#style.variable(name));
    switch (e.kind) {
      case "number":
        return this.#term({ coefficient: e.value });
      case "constant":
        return atom(this.#style.pi);
      case "variable":
        return atom(this.#style.variable(e.name));
      case "sum":
        return this.#sum(e);
      case "product":
      case "power":
        return this.#term({ coefficient: Q.ONE, of: e });
      case "call":
        if (this.#sigmoidBelow(e) !== undefined) return this.#term({ coefficient: Q.ONE, of: e });
        return this.#style.call(
          e.name,
          e.args.map((argument) => this.print(argument).text),
        );
      case "select":
        return this.#select(e);
    }
  }

  #nameOf(e: Expression): string | undefined {
    return e === this.#open ? undefined : this.#names.get(e);
  }

  #sum(e: SumExpression): Printed {
    // Highest powers first, as polynomials are written; a leading minus is avoided where something else can lead.
    const terms: PrintedTerm[] = e.terms.toReversed();
    if (!Q.isZero(e.constant)) terms.push({ coefficient: e.constant });
    const lead = terms.findIndex(({ coefficient }) => !Q.isNegative(coefficient));
    if (lead > 0) terms.unshift(...terms.splice(lead, 1));
    const [first, ...others] = terms;
    const head = this.#term(first!);
    if (others.length === 0) return head;
    const tail = others.map((term) => {
      const printed = this.#term({ ...term, coefficient: absolute(term.coefficient) });
      return ` ${Q.isNegative(term.coefficient) ? "-" : "+"} ${this.#within(printed, LEVEL.product)}`;
    });
    const text = `${head.level < LEVEL.sum ? this.#style.bracket(head.text) : head.text}${tail.join("")}`;
    return { text, level: LEVEL.sum };
  }

  /** A coefficient times an expression, as a fraction where something belongs below its line. */
  #term({ coefficient, of }: PrintedTerm): Printed {
    const [above, below]: [Printed[], Printed[]] = [[], []];
    const size = absolute(coefficient);
    const decimal = Q.formatRational(size);
    if (decimal.includes("/")) {
      if (!Q.isOne(Q.rational(size.numerator))) above.push(atom(String(size.numerator)));
      below.push(atom(String(size.denominator)));
    } else if (!Q.isOne(size) || of === undefined) above.push(atom(decimal));
    for (const factor of of?.kind === "product" && this.#nameOf(of) === undefined ? of.factors : of ? [of] : []) {
      const exponent = factor.kind === "power" ? valueOf(factor.exponent) : undefined;
      const sigmoid = this.#sigmoidBelow(factor);
      if (sigmoid !== undefined) below.push(sigmoid);
      else if (factor.kind !== "power" || this.#nameOf(factor) !== undefined) above.push(this.print(factor));
      // Nothing is read back from below a line with a 0 there but the 0.
      else if (exponent === undefined || factor.base === ZERO)
        above.push(this.#style.power(this.print(factor.base), this.print(factor.exponent)));
      else (Q.isNegative(exponent) ? below : above).push(this.#power(factor.base, absolute(exponent)));
    }
    const [first] = above;
    if (Q.isNegative(coefficient) && this.#style.bracketsSignedPower && first?.level === LEVEL.power) {
      above[0] = atom(this.#style.bracket(first.text));
    }
    const printed = below.length > 0 ? this.#style.fraction(above, below) : this.#times(above);
    if (!Q.isNegative(coefficient)) return printed;
    return { text: `-${this.#within(printed, LEVEL.product)}`, level: LEVEL.sum };
  }

  /** What stands below the line of a sigmoid or a power of one, in a style that has no function for it. */
  #sigmoidBelow(e: Expression): Printed | undefined {
    const [base, exponent] = e.kind === "power" ? [e.base, valueOf(e.exponent)] : [e, Q.ONE];
    if (this.#style.belowOfSigmoid === undefined || base.kind !== "call" || base.name !== "sigmoid") return undefined;
    if (exponent === undefined || Q.isNegative(exponent) || !Q.isInteger(exponent)) return undefined;
    if (this.#nameOf(e) !== undefined || this.#nameOf(base) !== undefined) return undefined;
    const u = base.args[0]!;
    const name = this.#nameOf(u);
    const below = this.#style.belowOfSigmoid(name === undefined ? this.print(negated(u)).text : `-${name}`);
    return Q.isOne(exponent) ? below : this.#style.power(below, this.#term({ coefficient: exponent }));
  }

  #power(base: Expression, exponent: Rational): Printed {
    if (Q.isOne(exponent)) return this.print(base);
    if (Q.equals(exponent, Q.HALF)) return this.#style.root(this.print(base));
    return this.#style.power(this.print(base), this.#term({ coefficient: exponent }));
  }

  #times(factors: readonly Printed[]): Printed {
    const [only] = factors;
    if (factors.length === 1) return only!;
    return { text: this.#style.times(factors.map((p) => this.#within(p, LEVEL.product))), level: LEVEL.product };
  }

  #within({ text, level }: Printed, least: Level): string {
    return level < least ? this.#style.bracket(text) : text;
  }

  #select(e: Expression): Printed {
    const cases: (readonly [string, string])[] = [];
    let rest = e;
    while (rest.kind === "select" && (rest === e || this.#nameOf(rest) === undefined)) {
      cases.push([this.#condition(rest.condition).text, this.#within(this.print(rest.then), LEVEL.or)]);
      rest = rest.otherwise;
    }
    return this.#style.select(cases, this.print(rest).text);
  }

  #condition(c: Condition): Printed {
    const { signs } = this.#style;
    if (c.kind === "truth") return atom(String(c.value));
    if (c.kind === "compare") return this.#comparison(c, signs[c.comparison]);
    if (c.kind === "not") {
      if (c.of.kind === "compare" && c.of.comparison === "==") return this.#comparison(c.of, signs.differs);
      return atom(`${signs.not}${this.#style.bracket(this.#condition(c.of).text)}`);
    }
    const level = LEVEL[c.kind];
    const sides = [c.left, c.right].map((side) => this.#within(this.#condition(side), level));
    return { text: sides.join(` ${signs[c.kind]} `), level };
  }

  #comparison({ left, right }: CompareCondition, sign: string): Printed {
    const sides = [left, right].map((side) => this.#within(this.print(side), LEVEL.sum));
    return { text: sides.join(` ${sign} `), level: LEVEL.compare };
  }
}

const absolute = (a: Rational): Rational => (Q.isNegative(a) ? Q.negate(a) : a);
