// Checks that run in every place where BAREWire does: Node, the main thread of a page, a worker of a page. A suite is a
// table of named functions that throw; what one of them returns is text that must be the same in every place, such as
// the bytes of messages. node:test and node:assert are for Node only, so the few comparisons needed are here.

import { FidelityError } from "@fidelity/units";

import type { Crew } from "./crew.ts";

/** Where suites run, and the workers that can be had there. */
export interface Place {
  readonly name: "node" | "page" | "worker";
  readonly crew: Crew;
}

/** One check. It throws where something is wrong; the text it may return is compared between places. */
export type Case = (place: Place) => string | void | Promise<string | void>;

/** Cases by their names. */
export interface Suite {
  readonly name: string;
  /** Such a suite needs a page that is cross-origin isolated. */
  readonly sharesMemory: boolean;
  readonly cases: Readonly<Record<string, Case>>;
}

/** What became of a case: `text` is what it returned, `error` why it failed. */
export interface Outcome {
  readonly suite: string;
  readonly name: string;
  readonly text?: string;
  readonly error?: string;
}

/** Something is not as it should be. */
export class CheckError extends FidelityError {}

/** No case takes so long, however busy the machine is. */
const CASE_MS_MAX = 30_000;

/** Runs all cases, one after the other. */
export async function runSuites(suites: readonly Suite[], place: Place): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const suite of suites) {
    for (const [name, run] of Object.entries(suite.cases)) {
      outcomes.push({ suite: suite.name, name, ...(await outcomeOf(run, place)) });
    }
  }
  return outcomes;
}

async function outcomeOf(run: Case, place: Place): Promise<{ text?: string; error?: string }> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new CheckError("the case did not end")), CASE_MS_MAX);
  });
  try {
    return { text: (await Promise.race([run(place), late])) ?? undefined };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** Throws unless the values are equal: classes, keys, order of maps, and the sign of zero included. */
export function same(actual: unknown, expected: unknown, what = "a value"): void {
  const path = difference(actual, expected, "");
  if (path === undefined) return;
  const where = path === "" ? undefined : path;
  throw new CheckError(`${what} is another one`, { where, expected: show(expected), got: show(actual) });
}

/** Throws unless it holds. */
export function holds(condition: boolean, what: string): asserts condition {
  if (!condition) throw new CheckError(`does not hold: ${what}`);
}

type ErrorClass = abstract new (...args: never[]) => Error;

/** Throws unless the action, or the promise it gives, fails with an error of the class. Gives its message. */
export async function refused(action: () => unknown, errorClass: ErrorClass): Promise<string> {
  let result: unknown;
  try {
    result = await action();
  } catch (error) {
    if (error instanceof errorClass) return error.message;
    throw error;
  }
  throw new CheckError("nothing was refused", { expected: errorClass.name, got: show(result) });
}

/** Bytes as text, to be compared between places. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The path of the first part that differs; undefined where none does.
function difference(a: unknown, b: unknown, path: string): string | undefined {
  if (Object.is(a, b)) return undefined;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return path;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return path;
  if (a instanceof Map && b instanceof Map) return difference([...a], [...b], `${path}(map)`);
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return path;
  for (const key of keys) {
    const found = difference(a[key as keyof object], b[key as keyof object], `${path}.${key}`);
    if (found !== undefined || !(key in b)) return found ?? `${path}.${key}`;
  }
  return undefined;
}

function show(value: unknown): string {
  const text: string | undefined = JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === "bigint") return `${part}n`;
    if (part instanceof Map) return { map: [...part] };
    return ArrayBuffer.isView(part) ? Object.values(part) : part;
  });
  return (text ?? "undefined").slice(0, 400);
}
