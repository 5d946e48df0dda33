// Text for people within the columns of their terminal: broken between words, and continued under where it began.

import { WordWrap } from "./chat/word-wrap.ts";

/** The columns of a stream's terminal; Infinity where it goes somewhere else, whose reader may break lines. */
export function columnsOf(stream: { readonly isTTY?: boolean; readonly columns?: number }): number {
  return stream.isTTY === true && stream.columns ? stream.columns : Infinity;
}

/** A line whose continuations begin `indent` columns in. */
export function hangingLine(line: string, indent: number, columns: number): string {
  const room = columns - indent;
  if (line.length <= columns || room < ROOM_MIN) return line;
  const wrap = new WordWrap(room);
  const text = wrap.push(line.slice(indent)) + wrap.end();
  return line.slice(0, indent) + text.replaceAll("\n", `\n${" ".repeat(indent)}`);
}

/** Narrower columns are read worse than lines that the terminal breaks. */
const ROOM_MIN = 20;

/** An error's details (where, expected, got, try) under one another; code frames stay as they are. */
export function wrapDetails(text: string, columns: number): string {
  return text.replaceAll(/^( {2}(?:where|expected|got|try): +).*$/gm, (line, head: string) =>
    hangingLine(line, head.length, columns),
  );
}

/** Paragraphs with a line that is too long, filled anew; what is indented, such as examples, stays as it is. */
export function refill(text: string, columns: number): string {
  return text.replaceAll(/^[^\s].*(?:\n[^\s].*)*/gm, (paragraph) =>
    paragraph.split("\n").every((line) => line.length <= columns)
      ? paragraph
      : hangingLine(paragraph.replaceAll("\n", " "), 0, columns),
  );
}
