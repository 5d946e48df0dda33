// Lines of a terminal of so many columns: where they break, and what is left as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { columnsOf, hangingLine, refill, wrapDetails } from "./text-width.ts";

test("a line goes on under where it began, and words stay whole", () => {
  assert.equal(hangingLine("  yes  one two three four five", 7, 30), "  yes  one two three four five");
  assert.equal(hangingLine("  yes  one two three four five", 7, 28), "  yes  one two three four\n       five");
  assert.equal(hangingLine(`ab ${"x".repeat(40)}`, 3, 30), `ab ${"x".repeat(40)}`, "a path is not broken");
  const narrow = "  expected: a b c d e f g h i j k l m n";
  assert.equal(hangingLine(narrow, 12, 30), narrow, "nor is a text into a column of a few letters");
});

test("details of an error are wrapped, its code frame is not", () => {
  const frame = "> 4 |   for (let i = 0; i < 8; i++) y[i] = factor * x[i] + z;";
  const text = `fidelity: no\n\n${frame}\n\n  expected: one two three four five six seven`;
  assert.equal(wrapDetails(text, 40), text.replace(" seven", `\n${" ".repeat(12)}seven`));
  assert.equal(wrapDetails(text, Infinity), text);
});

test("paragraphs are filled anew where one of their lines is too long; examples and short ones stay", () => {
  const examples = "Examples:\n  fidelity one --with many --words that go on\n";
  const text = `\nAaaa bbbb cccc dddd eeee ffff\ngggg.\n\nShort\nlines.\n\n${examples}`;
  assert.equal(refill(text, 24), `\nAaaa bbbb cccc dddd eeee\nffff gggg.\n\nShort\nlines.\n\n${examples}`);
  assert.equal(refill(text, 80), text);
});

test("where there is no terminal lines are as long as they are", () => {
  const cases = [{ isTTY: true, columns: 80 }, { isTTY: true, columns: 0 }, { columns: 80 }, {}].map(columnsOf);
  assert.deepEqual(cases, [80, Infinity, Infinity, Infinity]);
});
