// The words of the BARE schema language: names, numbers and signs. Comments that stand on lines of their own go with
// the word that follows on the next line, as its documentation; other comments are dropped, as is white space.

import { errorAt } from "./errors.ts";
import type { SchemaText } from "./errors.ts";

/** A word of the text. `kind` is the sign itself for signs. */
export interface Token {
  readonly kind: "name" | "number" | "end" | Sign;
  readonly text: string;
  readonly offset: number;
  readonly doc?: string;
}

const SIGNS = "{}<>[]()|=:";
export type Sign = "{" | "}" | "<" | ">" | "[" | "]" | "(" | ")" | "|" | "=" | ":";

/** The largest text that is read, in UTF-16 units. */
export const SCHEMA_LENGTH_MAX = 2 ** 20;

const WORD = /[A-Za-z0-9_]+/y;
const SPACE = /[ \t\r\n]+/y;

/** Splits a schema into words; the last one is of kind `end`. */
export function tokenize(source: SchemaText): Token[] {
  const { text } = source;
  if (text.length > SCHEMA_LENGTH_MAX) {
    throw errorAt(source, 0, "a schema is too long", {
      expected: `at most ${SCHEMA_LENGTH_MAX} characters`,
      got: `${text.length}`,
    });
  }
  const tokens: Token[] = [];
  let comments: string[] = [];
  let isLineStart = true;
  let offset = 0;
  const add = (kind: Token["kind"], word: string): void => {
    const doc = comments.join("\n").trim();
    tokens.push(doc === "" ? { kind, text: word, offset } : { kind, text: word, offset, doc });
    comments = [];
    isLineStart = false;
  };
  while (offset < text.length) {
    const space = match(SPACE, text, offset);
    if (space !== "") {
      const lines = space.split("\n").length - 1;
      if (lines > 0) isLineStart = true;
      if (lines > 1) comments = []; // an empty line parts a comment from what follows
      offset += space.length;
    } else if (text[offset] === "#") {
      const lineEnd = text.indexOf("\n", offset);
      const end = lineEnd < 0 ? text.length : lineEnd;
      if (isLineStart)
        comments.push(
          text
            .slice(offset + 1, end)
            .trimEnd()
            .replace(/^ /, ""),
        );
      offset = end;
    } else {
      const word = match(WORD, text, offset) || text[offset];
      add(kindOf(source, word, offset), word);
      offset += word.length;
    }
  }
  add("end", "");
  return tokens;
}

function match(pattern: RegExp, text: string, offset: number): string {
  pattern.lastIndex = offset;
  return pattern.exec(text)?.[0] ?? "";
}

function kindOf(source: SchemaText, word: string, offset: number): Token["kind"] {
  if (/^[0-9]+$/.test(word)) return "number";
  if (/^[0-9]/.test(word)) {
    throw errorAt(source, offset, "this is neither a name nor a number", {
      expected: "a name starting with a letter, or a number of decimal digits",
      got: word.slice(0, 40),
      hint: /^0[xXbBoO]/.test(word) ? "write the number in decimal" : undefined,
    });
  }
  if (/^[A-Za-z_]/.test(word)) return "name";
  if (SIGNS.includes(word)) return word as Sign;
  throw errorAt(source, offset, "a character that the schema language does not have", {
    expected: `letters, digits, # for comments, and ${[...SIGNS].join(" ")}`,
    got: JSON.stringify(String.fromCodePoint(source.text.codePointAt(offset)!)),
    hint: HINTS[word],
  });
}

const HINTS: Readonly<Record<string, string>> = {
  ",": "fields and members stand one after the other with white space between, members of a union with |",
  ";": "fields and members stand one after the other with white space between",
  "/": "comments start with #",
};
