import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

function run(...args: string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  return spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", main, ...args], { encoding: "utf8" });
}

test("a run tells what came of its cases, and how to go on", () => {
  const { status, stdout } = run("messages", "--cases", "200", "--seed", "4", "--from", "100");
  assert.equal(status, 0);
  assert.match(stdout, /^messages, seed 4, cases 100 to 299: no rule was broken\n {2}200 cases/);
});

test("an argument that cannot be used is refused", () => {
  const { status, stderr } = run("nothing");
  assert.equal(status, 1);
  assert.match(stderr, /there is no such target/);
  assert.match(run("views", "--cases", "-1").stderr, /--cases/);
});
