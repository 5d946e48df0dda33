// Compilers are told apart by their files: whatever is written to one of them shows.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { compilerDigest, compilerFingerprint, digestOf, fingerprintOf } from "./compiler-version.node.ts";

const base = mkdtempSync(path.join(os.tmpdir(), "fidelity-version-"));
after(() => rmSync(base, { recursive: true }));

function sources(name: string): string {
  const directory = path.join(base, name);
  mkdirSync(path.join(directory, "passes"), { recursive: true });
  writeFileSync(path.join(directory, "compile.ts"), "let a = 1;");
  writeFileSync(path.join(directory, "passes/fuse.ts"), "let b = 1;");
  return directory;
}

/** Writes a file until the system's clock, which has steps of some milliseconds, shows that. */
function rewrite(file: string, text: string): void {
  const { ctimeMs } = statSync(file);
  do writeFileSync(file, text);
  while (statSync(file).ctimeMs === ctimeMs);
}

test("a change that keeps size and time of a file shows", () => {
  const directory = sources("changed");
  const file = path.join(directory, "passes/fuse.ts");
  const { atime, mtime } = statSync(file);
  const before = [fingerprintOf([directory]), digestOf([directory])];
  rewrite(file, "let b = 2;");
  utimesSync(file, atime, mtime);
  assert.notEqual(fingerprintOf([directory]), before[0]);
  assert.notEqual(digestOf([directory]), before[1]);
  rewrite(file, "let b = 1;");
  assert.equal(digestOf([directory]), before[1], "equal files are one compiler to a digest");
});

test("files that come, go or are renamed show, and tests do not", () => {
  const [directory, copy] = [sources("one"), sources("two")];
  const before = digestOf([directory]);
  assert.equal(digestOf([copy]), before);
  writeFileSync(path.join(copy, "compile.test.ts"), "assert();");
  writeFileSync(path.join(copy, "notes.md"), "# Notes");
  assert.equal(digestOf([copy]), before);
  writeFileSync(path.join(copy, "new.ts"), "");
  assert.notEqual(digestOf([copy]), before);
  rmSync(path.join(copy, "new.ts"));
  rmSync(path.join(copy, "compile.ts"));
  writeFileSync(path.join(copy, "compiler.ts"), "let a = 1;");
  assert.notEqual(digestOf([copy]), before);
});

test("this compiler has both", () => {
  assert.match(compilerFingerprint(), /^[0-9a-f]{64}$/);
  assert.match(compilerDigest(), /^[0-9a-f]{64}$/);
});
