// Every example runs, and prints what its comment `Output:` says, if it has one.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const folder = new URL("../examples/", import.meta.url);

for (const name of readdirSync(folder).filter((file) => file.endsWith(".ts"))) {
  const text = readFileSync(new URL(name, folder), "utf8");
  const expected = /^\/\/ Output:\n((?:\/\/.*\n)+)/m.exec(text)?.[1].replaceAll(/^\/\/ ?/gm, "");
  test(`examples/${name} runs and prints what it says`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(new URL(name, folder))], {
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    if (expected !== undefined) assert.equal(stdout, expected);
  });
}
