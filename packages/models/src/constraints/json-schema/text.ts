// JSON as a grammar: values of any kind, strings with what must be escaped, white space as models write it.

import { charactersOf, codePoints, intersect } from "../code-points.ts";
import type { CodePoints } from "../code-points.ts";
import { choice, optional, repeat, rule, sequence, set, text } from "../grammar.ts";
import type { GrammarNode } from "../grammar.ts";

const digit = set([[0x30, 0x39]]);
/** What a string holds as it is. */
const plain: CodePoints = codePoints([
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x10ffff],
]);
const escaped: CodePoints = codePoints([[0, 0x1f], ...charactersOf('"\\')]);

/** The characters of a set as a string of JSON has them, each in one way. */
function jsonSet(characters: CodePoints): GrammarNode {
  const options = [set(intersect(characters, plain))];
  for (const [first, last] of intersect(characters, escaped)) {
    for (let codePoint = first; codePoint <= last; codePoint++)
      options.push(text(inString(String.fromCodePoint(codePoint))));
  }
  return choice(options);
}

/** A text as it stands between the quotes of JSON. */
export function inString(value: string): string {
  return JSON.stringify(value).slice(1, -1);
}

/** A grammar of texts as one of what stands between the quotes of JSON. It must not refer to rules. */
export function jsonCharacters(node: GrammarNode): GrammarNode {
  switch (node.type) {
    case "set":
      return jsonSet(node.set);
    case "text":
      return text(inString(node.text));
    case "sequence":
      return { type: "sequence", parts: node.parts.map(jsonCharacters) };
    case "choice":
      return { type: "choice", options: node.options.map(jsonCharacters) };
    case "repeat":
      return { ...node, body: jsonCharacters(node.body) };
    case "rule":
      return node;
  }
}

/** A value that is always the same. */
export const literal = (value: unknown): GrammarNode => text(JSON.stringify(value));

export const space = rule("space");
export const character = rule("character");
export const anyValue = rule("value");
export const comma = sequence(text(","), space);

export const quoted = (body: GrammarNode): GrammarNode => sequence(text('"'), body, text('"'));

/** Integers of up to 16 digits. */
export const anyInteger = sequence(
  optional(text("-")),
  choice([text("0"), sequence(set([[0x31, 0x39]]), repeat(digit, 0, 15))]),
);

/** Numbers that are finite as float64. */
export const anyNumber = sequence(
  anyInteger,
  optional(sequence(text("."), repeat(digit, 1, 15))),
  optional(sequence(set(charactersOf("eE")), optional(set(charactersOf("+-"))), repeat(digit, 1, 2))),
);

/** A list in brackets or braces; `members` is undefined where it is empty. */
export function enclosed(open: string, members: GrammarNode | undefined, close: string): GrammarNode {
  if (members === undefined) return sequence(text(open), space, text(close));
  return sequence(text(open), space, members, space, text(close));
}

/** From `min` to `max` of an item, with commas between; undefined for none at all. */
export function list(item: GrammarNode, min: number, max: number): GrammarNode | undefined {
  if (max === 0) return undefined;
  const more = repeat(sequence(comma, item), Math.max(0, min - 1), max - 1);
  return min === 0 ? optional(sequence(item, more)) : sequence(item, more);
}

export const member = (name: GrammarNode, value: GrammarNode): GrammarNode => sequence(name, text(":"), space, value);

/** The rules that the nodes above refer to. */
export const jsonRules: ReadonlyMap<string, GrammarNode> = new Map([
  // As much as lays a value out, and so little that no text is made of it.
  ["space", choice([text(""), text(" "), sequence(text("\n"), repeat(set(charactersOf(" \t")), 0, 20))])],
  ["character", jsonSet(codePoints([[0, 0x10ffff]]))],
  ["string", quoted(repeat(character, 0, Infinity))],
  ["number", anyNumber],
  ["object", enclosed("{", list(member(rule("string"), anyValue), 0, Infinity), "}")],
  ["array", enclosed("[", list(anyValue, 0, Infinity), "]")],
  [
    "value",
    choice([
      rule("object"),
      rule("array"),
      rule("string"),
      rule("number"),
      choice([text("true"), text("false"), text("null")]),
    ]),
  ],
]);
