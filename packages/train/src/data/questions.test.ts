import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { QuestionError, readQuestions, UnreadableFileError } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-questions-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function write(...lines: readonly (object | string)[]): string {
  const path = join(folder, "questions.jsonl");
  writeFileSync(path, lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"));
  return path;
}

test("questions and contexts, answers as an index, a letter and a text; empty lines do not count", () => {
  const choices = ["red", "B", "blue"];
  const read = readQuestions(
    write(
      { question: "Which?", choices, answer: 2 },
      "",
      { context: "The sky is", choices, answer: "blue" },
      { context: "A text.", question: "Which?", choices, answer: "A" },
      { question: "Which?", choices, answer: "B", source: "fields that nobody asked for" },
    ),
  );
  assert.deepEqual(read, [
    { prompt: "Question: Which?\nAnswer:", choices, answer: 2, line: 1 },
    { prompt: "The sky is", choices, answer: 2, line: 3 },
    { prompt: "A text.\nQuestion: Which?\nAnswer:", choices, answer: 0, line: 4 },
    { prompt: "Question: Which?\nAnswer:", choices, answer: 1, line: 5 },
  ]);
});

test("a line that is no question is refused with its number and with what is wrong", () => {
  const right = { question: "Which?", choices: ["red", "blue"], answer: 0 };
  const cases: readonly (readonly [object | string, RegExp])[] = [
    ["{", /line 2 (.|\n)*one JSON object/],
    ["[1]", /line 2 (.|\n)*one JSON object/],
    [{ choices: ["a", "b"], answer: 0 }, /line 2 (.|\n)*question or context/],
    [{ ...right, question: 3 }, /question: a text/],
    [{ ...right, choices: ["red"] }, /choices: 2 to/],
    [{ ...right, choices: ["red", " "] }, /choices: 2 to/],
    [{ ...right, choices: "red" }, /choices: 2 to/],
    [{ ...right, answer: 2 }, /answer: an index from 0/],
    [{ ...right, answer: -1 }, /answer: an index from 0/],
    [{ ...right, answer: "C" }, /answer: an index from 0/],
    [{ question: "Which?", choices: ["red", "blue"] }, /answer: an index from 0/],
  ];
  for (const [line, message] of cases) {
    assert.throws(
      () => readQuestions(write(right, line)),
      (error) => error instanceof QuestionError && message.test(error.message),
      JSON.stringify(line),
    );
  }
  assert.throws(() => readQuestions(write("", "")), /there are no questions/);
  assert.throws(() => readQuestions(join(folder, "nowhere.jsonl")), UnreadableFileError);
});
