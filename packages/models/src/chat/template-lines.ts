// Lines of a template, for errors. The engine's tree has no places in it, so that a marker goes before every tag: an
// expression of one text that says the line and renders as nothing.

import type { JinjaToken } from "./jinja.ts";

const MARK = "\0line ";

/** The line that a marker says; undefined for any other text. */
export function markedLine(text: string): number | undefined {
  return text.startsWith(MARK) ? Number(text.slice(MARK.length)) : undefined;
}

export interface MarkedTokens {
  readonly tokens: readonly JinjaToken[];
  /** The line of each token; 0 where it is not known. */
  readonly lines: readonly number[];
}

/** Tokens with a marker before every tag; `source` is the template that they come from. */
export function markLines(tokens: readonly JinjaToken[], source: string): MarkedTokens {
  const found = tagLines(source);
  const isOpening = ({ type }: JinjaToken): boolean => type === "OpenStatement" || type === "OpenExpression";
  // Where the two disagree about what a tag is, no line is better than a wrong one.
  if (tokens.filter(isOpening).length !== found.length) return { tokens, lines: tokens.map(() => 0) };
  const marked: JinjaToken[] = [];
  const lines: number[] = [];
  let tag = 0;
  for (const token of tokens) {
    if (isOpening(token)) {
      const line = found[tag++];
      marked.push(
        { value: "{{", type: "OpenExpression" },
        { value: `${MARK}${line}`, type: "StringLiteral" },
        { value: "}}", type: "CloseExpression" },
      );
      lines.push(line, line, line);
    }
    marked.push(token);
    lines.push(found[tag - 1] ?? 1);
  }
  return { tokens: marked, lines };
}

/** The line of each tag, those of comments left out. */
export function tagLines(source: string): number[] {
  const lines: number[] = [];
  let [line, counted] = [1, 0];
  for (let at = source.indexOf("{"); at >= 0; at = source.indexOf("{", at)) {
    const kind = source[at + 1];
    if (kind === "#") {
      const end = source.indexOf("#}", at + 2);
      if (end < 0) break;
      at = end + 2;
    } else if (kind === "%" || kind === "{") {
      for (; counted < at; counted++) if (source[counted] === "\n") line++;
      lines.push(line);
      at = tagEnd(source, at + 2, kind === "%" ? "%}" : "}}");
    } else {
      at++;
    }
  }
  return lines;
}

/** Where a tag that begins before `at` ends; quoted texts and objects may hold what looks like its end. */
function tagEnd(source: string, from: number, close: string): number {
  let depth = 0;
  for (let at = from; at < source.length; at++) {
    const character = source[at];
    if (character === '"' || character === "'") {
      for (at++; at < source.length && source[at] !== character; at++) if (source[at] === "\\") at++;
    } else if ((depth === 0 || close === "%}") && source.startsWith(close, at)) {
      return at + 2;
    } else if (character === "{") depth++;
    else if (character === "}") depth--;
  }
  return source.length;
}
