// The words of a text with their places: what a page that shows the stages of a kernel begins with. A scan, not a
// parser: templates and regular expressions, which kernels do not have, come out as single characters.

import type { Span } from "../diagnostics.ts";

export type TokenKind = "name" | "keyword" | "number" | "string" | "comment" | "punctuator";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly span: Span;
}

const KEYWORDS: ReadonlySet<string> = new Set([
  ...["import", "export", "from", "type", "const", "let", "function", "return", "typeof", "if", "else", "for"],
  ...["while", "do", "switch", "case", "default", "break", "continue", "true", "false", "as", "void", "new"],
]);

const PATTERNS: Readonly<Record<Exclude<TokenKind, "keyword">, string>> = {
  comment: String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`,
  string: String.raw`"(?:[^"\\\n]|\\[^])*"?|'(?:[^'\\\n]|\\[^])*'?`,
  number: String.raw`(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?|0[xXbBoO][\da-fA-F_]+`,
  name: String.raw`[\p{L}$_][\p{L}\p{N}$_]*`,
  punctuator: String.raw`===|!==|>>>=?|\*\*=?|<<=?|>>=?|&&=?|\|\|=?|\?\?=?|=>|\.\.\.|\+\+|--|[-+*\/%&|^<>=!]=?|\S`,
};

const TOKEN = new RegExp(
  Object.entries(PATTERNS)
    .map(([kind, pattern]) => `(?<${kind}>${pattern})`)
    .join("|"),
  "gu",
);

/** The tokens of a text, or of a part of it. */
export function tokensOf(text: string, { start, end }: Span = { start: 0, end: text.length }): Token[] {
  return Array.from(text.slice(start, end).matchAll(TOKEN), ({ 0: word, index, groups = {} }): Token => {
    const kind = (Object.keys(PATTERNS) as Exclude<TokenKind, "keyword">[]).find((name) => groups[name] !== undefined)!;
    const isKeyword = kind === "name" && KEYWORDS.has(word);
    const at = start + index;
    return { kind: isKeyword ? "keyword" : kind, text: word, span: { start: at, end: at + word.length } };
  });
}
