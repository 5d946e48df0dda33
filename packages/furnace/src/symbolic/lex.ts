// The words of an arrow function's text, and errors that point into it.

import { SymbolicError } from "./expression.ts";

export interface Token {
  readonly kind: "number" | "name" | "sign" | "end";
  readonly text: string;
  /** Where it starts, in UTF-16 units. */
  readonly at: number;
}

// The longest signs come first. Assignment is there to be refused by name.
const SIGNS = /^(?:=>|===|!==|\*\*|<=|>=|==|!=|&&|\|\||[-+*/%()<>!?:,.;{}=[\]&|^~])/;
const NUMBER = /^(?:0[xXbBoO][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)/;
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/u;
const SPACE = /^(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/;

/** More than any formula has. */
const TEXT_LENGTH_MAX = 20_000;

export function tokenize(text: string): Token[] {
  if (text.length > TEXT_LENGTH_MAX) {
    throw new SymbolicError("the text of a function is too long", {
      expected: `at most ${TEXT_LENGTH_MAX} characters`,
      got: `${text.length}`,
    });
  }
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    at += SPACE.exec(text.slice(at))?.[0].length ?? 0;
    if (at >= text.length) return [...tokens, { kind: "end", text: "the end of the text", at }];
    const rest = text.slice(at);
    const [kind, found] = matchWord(rest);
    if (found === undefined) {
      throw errorAt(text, at, `this character has no meaning here: ${JSON.stringify(rest.slice(0, 1))}`);
    }
    tokens.push({ kind, text: found, at });
    at += found.length;
  }
}

function matchWord(rest: string): [Token["kind"], string | undefined] {
  const number = NUMBER.exec(rest)?.[0];
  if (number !== undefined) return ["number", number];
  const name = NAME.exec(rest)?.[0];
  if (name !== undefined) return ["name", name];
  return ["sign", SIGNS.exec(rest)?.[0]];
}

/** An error with line, column and the line itself with a caret below the place. */
export function errorAt(text: string, at: number, message: string, hint?: string): SymbolicError {
  const before = text.slice(0, at).split("\n");
  const column = before.at(-1)!.length;
  const line = text.split("\n")[before.length - 1]!;
  // A long line is cut around the place.
  const from = Math.max(0, column - 60);
  const frame = `\n${line.slice(from, from + 100)}\n${" ".repeat(column - from)}^`;
  return new SymbolicError(message, {
    where: `line ${before.length}, column ${column + 1}${frame}`,
    ...(hint !== undefined && { hint }),
  });
}
