// A reporter of node:test: one JSON line for each test that ran or was skipped. Suites are counted only when they are
// skipped or fail by themselves, because their tests have lines of their own.

import { relative } from "node:path";
import type { TestEvent } from "node:test/reporters";

/** What became of one test. `reason` says why it failed or was skipped; it is empty for one that passed. */
export interface TestRecord {
  readonly name: string;
  readonly file: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly reason: string;
}

/** The record of an event, or undefined for an event that tells of no test. */
export function recordOf(event: TestEvent): TestRecord | undefined {
  if (event.type !== "test:pass" && event.type !== "test:fail") return undefined;
  const { name, file = "", details, skip, todo } = event.data;
  const at = { name, file: relative(process.cwd(), file) };
  const left = skip ?? todo;
  if (left !== undefined && left !== false) {
    return { ...at, outcome: "skipped", reason: left === true ? "no reason given" : left };
  }
  if (event.type === "test:pass") {
    const isFile = file.endsWith(name);
    return details.type === "suite" || isFile ? undefined : { ...at, outcome: "passed", reason: "" };
  }
  const error = event.data.details.error;
  const inSubtests = "failureType" in error && error.failureType === "subtestsFailed";
  if (inSubtests) return undefined;
  return { ...at, outcome: "failed", reason: firstLine(error.cause) };
}

function firstLine(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : cause;
  return typeof text === "string" ? text.split("\n", 1)[0] : "";
}

// node:test takes a reporter as the default export of its module.
// oxlint-disable-next-line import/no-default-export
export default async function* records(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const record = recordOf(event);
    if (record !== undefined) yield `${JSON.stringify(record)}\n`;
  }
}
