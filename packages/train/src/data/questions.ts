// Questions with several answers to choose from, one JSON object a line:
//
//   {"question": "Which planet has rings?", "choices": ["Mars", "Saturn"], "answer": 1}
//   {"context": "She put the kettle on to", "choices": ["make tea.", "fly a kite."], "answer": "make tea."}
//
// What a model reads is put together as EleutherAI's lm-evaluation-harness does for its tasks of these forms: a
// question stands between "Question: " and "Answer:", a context stands as it is, and one space joins them with a
// choice.

import { readFileSync, statSync } from "node:fs";
import { DataError } from "./errors.ts";
import { unreadable } from "./find-files.ts";

/** A line of a file of questions that is no question, or a file without any. */
export class QuestionError extends DataError {}

/** A question as a model reads it. */
export interface Question {
  /** What comes before every choice; may be empty. */
  readonly prompt: string;
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly answer: number;
  /** The line that it stands in, counted from 1. */
  readonly line: number;
}

const LARGEST_FILE_BYTES = 2 ** 30;
const MOST_CHOICES = 1024;
const EXAMPLE = '{"question": "...", "choices": ["...", "..."], "answer": 0}';

/**
 * The questions of a file, in its order. `answer` is an index from 0, the text of a choice, or its letter. Throws
 * `QuestionError` that names the line, and `UnreadableFileError`.
 */
export function readQuestions(path: string): Question[] {
  const lines = readLines(path);
  const questions = lines.flatMap((text, i) => (text.trim() === "" ? [] : [readQuestion(text, i + 1, path)]));
  if (questions.length > 0) return questions;
  throw new QuestionError("there are no questions", { where: path, expected: `lines such as ${EXAMPLE}`, got: "none" });
}

function readLines(path: string): string[] {
  try {
    const { size } = statSync(path);
    if (size > LARGEST_FILE_BYTES) {
      throw new QuestionError("the file of questions is too large", {
        where: path,
        expected: `at most ${LARGEST_FILE_BYTES} bytes`,
        got: `${size} bytes`,
        hint: "split it",
      });
    }
    return readFileSync(path, "utf8").split("\n");
  } catch (cause) {
    if (cause instanceof QuestionError) throw cause;
    throw unreadable(path, cause);
  }
}

function readQuestion(text: string, line: number, path: string): Question {
  const refuse = (expected: string, got: unknown): never => {
    throw new QuestionError(`line ${line} is no question with choices`, {
      where: path,
      expected,
      got: (JSON.stringify(got) ?? "nothing").slice(0, 120),
      hint: `a line is like ${EXAMPLE}`,
    });
  };
  const value = parse(text);
  if (value === undefined) return refuse("one JSON object a line", text.slice(0, 80));
  const { question, context, choices, answer } = value;
  if (question !== undefined && typeof question !== "string") return refuse("question: a text", question);
  if (context !== undefined && typeof context !== "string") return refuse("context: a text", context);
  if (question === undefined && context === undefined) return refuse("question or context", Object.keys(value));
  if (!isListOfTexts(choices)) return refuse(`choices: 2 to ${MOST_CHOICES} texts that are not empty`, choices);
  const index = indexOf(answer, choices);
  if (index === undefined) return refuse("answer: an index from 0, one of the choices, or a letter", answer);
  return { prompt: promptOf(context, question), choices, answer: index, line };
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

function isListOfTexts(value: unknown): value is readonly string[] {
  if (!Array.isArray(value) || value.length < 2 || value.length > MOST_CHOICES) return false;
  return value.every((choice: unknown) => typeof choice === "string" && choice.trim() !== "");
}

function indexOf(answer: unknown, choices: readonly string[]): number | undefined {
  if (typeof answer === "number") return Number.isInteger(answer) && answer in choices ? answer : undefined;
  if (typeof answer !== "string") return undefined;
  const text = choices.indexOf(answer);
  if (text >= 0) return text;
  const letter = /^[A-Z]$/.test(answer) ? answer.charCodeAt(0) - "A".charCodeAt(0) : -1;
  return letter >= 0 && letter < choices.length ? letter : undefined;
}

function promptOf(context: string | undefined, question: string | undefined): string {
  if (question === undefined) return context ?? "";
  const asked = `Question: ${question}\nAnswer:`;
  return context === undefined ? asked : `${context}\n${asked}`;
}
