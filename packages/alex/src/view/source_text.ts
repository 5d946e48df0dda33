// The text of kernels with its tokens coloured, one element a line.

import { escapeHtml } from "./html.ts";

export type TokenKind = "comment" | "string" | "number" | "keyword" | "name" | "punctuation";

/** A token of TypeScript text; `start` counts UTF-16 units. */
export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly start: number;
}

const KEYWORDS = new Set(
  (
    "as async await break case catch class const continue default delete do else enum export extends false finally " +
    "for from function if implements import in instanceof interface let new null of return satisfies static super " +
    "switch this throw true try type typeof undefined var void while yield"
  ).split(" "),
);

/** Comments, strings, numbers, names, operators of several characters, or one character. */
const TOKEN = new RegExp(
  [
    String.raw`(\/\/[^\n]*|\/\*[^]*?(?:\*\/|$))`,
    String.raw`("(?:[^"\\\n]|\\[^])*"?|'(?:[^'\\\n]|\\[^])*'?|` + "`(?:[^`\\\\]|\\\\[^])*`?)",
    String.raw`((?:\d|\.\d)[\w.]*)`,
    String.raw`([\p{L}$_][\p{L}\p{N}$_]*)`,
    String.raw`(=>|\.\.\.|[=!]==?|[<>]=|&&=?|\|\|=?|\?\?=?|\*\*=?|[-+*/%&|^]=|\+\+|--|<<=?|>>>?=?|\?\.|\S)`,
  ].join("|"),
  "gu",
);

/** The tokens of a text, in order. Regular expressions are not told from divisions, which colours do not mind. */
export function tokenize(text: string): Token[] {
  return Array.from(text.matchAll(TOKEN), (match): Token => {
    const [token, comment, string, number, name] = match;
    const kind = comment ? "comment" : string ? "string" : number ? "number" : name ? nameKind(name) : "punctuation";
    return { kind, text: token, start: match.index };
  });
}

function nameKind(name: string): TokenKind {
  return KEYWORDS.has(name) ? "keyword" : "name";
}

const CLASSES: Readonly<Partial<Record<TokenKind, string>>> = {
  comment: "tc",
  string: "ts",
  number: "tn",
  keyword: "tk",
};

/** Lines as HTML, each with its number in `data-line`. */
export function highlightSource(text: string): string {
  let html = "";
  let at = 0;
  for (const { kind, text: token, start } of tokenize(text)) {
    html += escapeHtml(text.slice(at, start));
    const name = CLASSES[kind];
    // A token of several lines is several elements: lines are taken apart below.
    const parts = token
      .split("\n")
      .map((part) => (name === undefined ? escapeHtml(part) : `<span class="${name}">${escapeHtml(part)}</span>`));
    html += parts.join("\n");
    at = start + token.length;
  }
  html += escapeHtml(text.slice(at));
  const lines = html.replace(/\n$/, "").split("\n");
  return lines.map((line, i) => `<div class="line" data-line="${i + 1}">${line || " "}</div>`).join("");
}
