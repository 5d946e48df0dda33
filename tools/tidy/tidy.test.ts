// Each rule on a repository of a few lines: what it finds, where, and what it lets pass.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bannedCalls, fileSizes, functionSizes, headers, lineLengths, marks } from "./code.ts";
import { lineAt, makeRepo } from "./repo.ts";
import type { Finding, Repo } from "./repo.ts";
import { deadFiles, floors, nodeOnly, roomFiles, undeclared } from "./rooms.ts";
import { deadLinks, lockComplete, machinePaths } from "./texts.ts";

function repoOf(files: Record<string, string>): Repo {
  return makeRepo(Object.entries(files).map(([path, text]) => ({ path, text })));
}

/** What a rule finds, as `path:line: message`. */
function find(rule: (repo: Repo) => Finding[], files: Record<string, string>): string[] {
  return rule(repoOf(files)).map(({ path, line, message }) => `${path}:${line}: ${message}`);
}

test("floors: imports go down, through the front door", () => {
  const files = {
    "packages/core/src/a.ts": 'import { x } from "@fidelity/units";\n\nimport type { Y } from "@fidelity/alex";\n',
    "packages/train/src/b.ts":
      'export * from "@fidelity/barewire/node";\nimport "../../core/src/a.ts";\nimport "./c.ts";\n',
    "packages/serve/src/d.ts": 'import "./e.ts";\n',
  };
  assert.deepEqual(find(floors, files), [
    "packages/core/src/a.ts:3: core imports alex",
    "packages/train/src/b.ts:2: reaches into another room: ../../core/src/a.ts",
    "packages/serve/src/d.ts:1: no floor for the room serve",
  ]);
});

test("node-only: Node's modules and globals stay in *.node.ts", () => {
  const files = {
    "packages/alex/src/a.ts": [
      'import { open } from "node:fs/promises";',
      'import type { Worker } from "node:worker_threads";',
      'import { b } from "./b.node.ts";',
      "const debug = process.env.FIDELITY_DEBUG;",
      "const there = globalThis.process?.env;",
      "const copy = Buffer.from(b);",
    ].join("\n"),
    "packages/alex/src/b.node.ts": 'import "node:fs";\n',
    "packages/alex/src/a.test.ts": 'import "node:test";\n',
    "packages/cli/src/main.ts": 'import "node:fs";\nprocess.exit(0);\n',
  };
  assert.deepEqual(find(nodeOnly, files), [
    "packages/alex/src/a.ts:1: imports node:fs/promises in a room that runs in browsers",
    "packages/alex/src/a.ts:3: imports ./b.node.ts in a room that runs in browsers",
    "packages/alex/src/a.ts:4: uses Node's global process in a room that runs in browsers",
    "packages/alex/src/a.ts:6: uses Node's global Buffer in a room that runs in browsers",
  ]);
});

test("undeclared: a room imports what its package.json names", () => {
  const files = {
    "package.json": '{ "devDependencies": { "fast-check": "1.0.0" } }',
    "packages/cli/package.json": '{ "dependencies": { "commander": "1.0.0", "@fidelity/core": "1.0.0" } }',
    "packages/cli/src/a.ts":
      'import "commander";\nimport "@fidelity/core";\nimport "hono/tiny";\nimport "fast-check";\n',
    "packages/cli/src/a.test.ts": 'import "fast-check";\n',
  };
  assert.deepEqual(find(undeclared, files), [
    "packages/cli/src/a.ts:3: imports hono, which the room does not declare",
    "packages/cli/src/a.ts:4: imports fast-check, which the room does not declare",
  ]);
});

test("dead-file: every source is imported, named as a worker or by a page, or started", () => {
  const files = {
    "packages/alex/package.json": "{}",
    "packages/alex/src/index.ts": 'export * from "./used.ts";\n',
    "packages/alex/src/used.ts": 'new Worker(new URL("./worker.ts", import.meta.url));\n',
    "packages/alex/src/worker.ts": "",
    "packages/alex/src/page/index.html": '<script type="module" src="./page.ts"></script>',
    "packages/alex/src/page/page.ts": "",
    "packages/alex/src/lost.ts": "",
    "packages/alex/src/lost.test.ts": "",
    "packages/cli/bin/fidelity.js": 'import("../src/main.ts")',
    "packages/cli/src/main.ts": "",
  };
  assert.deepEqual(find(deadFiles, files), ["packages/alex/src/lost.ts:1: no file imports it"]);
});

test("room-files: README, index, tsconfig, references and the common version", () => {
  const files = {
    "package.json": '{ "version": "0.1.0" }',
    "packages/core/package.json": '{ "version": "0.2.0", "dependencies": { "@fidelity/units": "0.1.0" } }',
    "packages/core/README.md": "",
    "packages/core/tsconfig.json": "{}",
  };
  assert.deepEqual(find(roomFiles, files), [
    "packages/core/src/index.ts:1: is missing",
    "packages/core/package.json:1: version 0.2.0, not 0.1.0",
    "packages/core/tsconfig.json:1: has no reference to ../units",
  ]);
});

test("banned-call: chance, clocks and code from text", () => {
  const text = [
    "Math.random();",
    'new Function("return 1");',
    "const now = Date.now();",
    "const text = new Date(now).toISOString();",
    "const today = new Date();",
  ].join("\n");
  assert.deepEqual(find(bannedCalls, { "packages/core/src/a.ts": text, "packages/train/src/b.ts": text }), [
    "packages/core/src/a.ts:1: calls Math.random",
    "packages/core/src/a.ts:2: calls Function",
    "packages/core/src/a.ts:3: calls Date.now",
    "packages/core/src/a.ts:5: calls Date",
    "packages/train/src/b.ts:1: calls Math.random",
    "packages/train/src/b.ts:2: calls Function",
  ]);
});

test("file-size: 800 lines at most, 500 at the ninetieth percentile", () => {
  assert.deepEqual(find(fileSizes, { "a.ts": "\n".repeat(500), "a.test.ts": "\n".repeat(800) }), []);
  assert.deepEqual(find(fileSizes, { "a.ts": "\n".repeat(501), "a.test.ts": "\n".repeat(801) }), [
    "a.test.ts:1: 801 lines, at most 800",
    "a.ts:1: a tenth of all files has 501 lines or more, at most 500",
  ]);
});

test("function-size: nested functions count for themselves", () => {
  const body = "f();\n".repeat(69);
  const inner = `const inner = () => {\n${body}};\n`;
  assert.deepEqual(find(functionSizes, { "a.ts": `function outer() {\n${inner}${inner}}\n` }), [
    "a.ts:2: a function has 71 lines, at most 70",
    "a.ts:73: a function has 71 lines, at most 70",
  ]);
  assert.deepEqual(find(functionSizes, { "a.ts": `function outer() {\n${body}}\n` }), [
    "a.ts:1: outer has 71 lines, at most 70",
  ]);
  assert.deepEqual(find(functionSizes, { "a.test.ts": `function outer() {\n${body}}\n` }), []);
});

test("mark, type-escape, line-length and header", () => {
  const todo = ["TO", "DO"].join("");
  const ignore = ["@ts-", "ignore"].join("");
  assert.deepEqual(find(marks, { "a.ts": `// ${todo}: later\n// ${ignore}\n` }), [
    `a.ts:1: ${todo} in the code`,
    `a.ts:2: ${ignore}`,
  ]);
  assert.deepEqual(find(lineLengths, { "a.ts": `${"x".repeat(120)}\n${"y".repeat(121)}\n` }), [
    "a.ts:2: 121 columns, at most 120",
  ]);
  assert.deepEqual(find(headers, { "a.ts": "// What it is.\n", "b.ts": 'import "./a.ts";\n', "c.test.ts": "f();\n" }), [
    "b.ts:1: opens without a comment",
  ]);
});

test("dead-link, machine-path and lock", () => {
  const page = "[one](docs/one.md)\n[two](docs/two.md#part)\n[three](https://example.org)\n[docs](docs)\n";
  assert.deepEqual(find(deadLinks, { "README.md": page, "docs/one.md": "[up](../README.md)" }), [
    "README.md:2: docs/two.md is not there",
  ]);
  const home = ["", "home", "me"].join("/");
  assert.deepEqual(find(machinePaths, { "a.ts": `const a = "./home/x";\nconst b = "${home}/x";\n` }), [
    `a.ts:2: ${home} is a path of one machine`,
  ]);
  const lock = '{ "packages": { "node_modules/a": { "optionalDependencies": { "b": "1.0.0" } } } }';
  assert.deepEqual(find(lockComplete, { "package-lock.json": lock }), ["package-lock.json:1: has no entry for b"]);
});

test("lines count from 1", () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((offset) => lineAt("a\nb\n", offset)),
    [1, 1, 2, 2],
  );
});
