import assert from "node:assert/strict";
import { test } from "node:test";
import { identityOf, numberOf, readOwnThread, readThread } from "./proc.ts";
import type { ReadText } from "./proc.ts";

function statOf(number: number, start: number, state = "S"): string {
  return `${number} (a) b ) ${state} ${Array.from({ length: 18 }, (_, i) => i).join(" ")} ${start} 0 0`;
}

function reading(files: Readonly<Record<string, string>>): ReadText {
  return (path) => {
    if (path in files) return files[path];
    throw new Error(`no ${path}`);
  };
}

test("a thread is its number and its start, whatever its program is called", () => {
  const readText = reading({ "/proc/77/stat": statOf(77, 1234), "/proc/78/stat": statOf(78, 5, "Z") });
  assert.deepEqual(readThread(readText, 77), { identity: identityOf(77, 1234n), isRunning: true });
  assert.equal(numberOf(identityOf(77, 1234n)), 77);
  assert.equal(readThread(readText, 78)?.isRunning, false);
  assert.equal(readThread(readText, 79), undefined);
  assert.equal(readThread(reading({ "/proc/self/stat": "something else" }), "self"), undefined);
});

test("a thread that others would not find by its number has no identity", () => {
  const own = { "/proc/thread-self/stat": statOf(77, 1234) };
  assert.equal(readOwnThread(reading({})), undefined);
  assert.equal(readOwnThread(reading(own)), undefined);
  assert.equal(readOwnThread(reading({ ...own, "/proc/77/stat": statOf(77, 99) })), undefined);
  assert.equal(readOwnThread(reading({ ...own, "/proc/77/stat": statOf(77, 1234) }))?.identity, identityOf(77, 1234n));
});
