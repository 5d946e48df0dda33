// The launcher under an old Node: a copy of it in a package of its own, run with process.versions overridden, so that
// it hands over to the bundled binary as it does on a machine that has Node 20.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "fidelity-launcher-"));
after(() => rmSync(folder, { recursive: true }));

const launcher = join(folder, "cli/bin/fidelity.js");
const oldNode = join(folder, "old-node.cjs");
mkdirSync(join(folder, "cli/bin"), { recursive: true });
mkdirSync(join(folder, "cli/src"));
copyFileSync(join(root, "packages/cli/bin/fidelity.js"), launcher);
copyFileSync(join(root, "packages/cli/bin/package.json"), join(folder, "cli/bin/package.json"));
writeFileSync(oldNode, 'Object.defineProperty(process.versions, "node", { value: "20.1.0" });\n');
writeFileSync(
  join(folder, "cli/src/main.ts"),
  `
const [command, value]: string[] = process.argv.slice(2);
if (command === "exit") process.exit(Number(value));
if (command === "ffi") {
  await import("node:ffi");
  process.emitWarning("another warning");
}
if (command === "wait") {
  process.on("SIGINT", () => {
    console.log("interrupted");
    process.exit(130);
  });
  setInterval(() => {}, 1000);
}
console.log(process.versions.node.split(".")[0], JSON.stringify(process.argv.slice(2)));
`,
);

function launch(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const child = spawnSync(process.execPath, ["--require", oldNode, launcher, ...args], { encoding: "utf8" });
  return { status: child.status, stdout: child.stdout, stderr: child.stderr };
}

test("without a bundled Node it says what to do", () => {
  const { status, stderr } = launch("show");
  assert.equal(status, 69);
  assert.match(
    stderr,
    /^fidelity needs Node 26 or later\n {2}expected: .*\n {2}got: {6}Node 20\.1\.0 on .*\n {2}try: /,
  );
});

test("with a bundled Node it hands over arguments and exit code", () => {
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  assert.deepEqual(launch("show", "a b"), { status: 0, stdout: '26 ["show","a b"]\n', stderr: "" });
  assert.equal(launch("exit", "3").status, 3);
});

test("it silences the warning of node:ffi and no other", () => {
  const { stderr } = launch("ffi");
  assert.doesNotMatch(stderr, /FFI/);
  assert.match(stderr, /another warning/);
});

test("it passes signals on and ends as the command ended", async () => {
  for (const [signal, ending] of [
    ["SIGINT", { code: 130, signal: null, text: "interrupted" }],
    ["SIGTERM", { code: null, signal: "SIGTERM", text: "" }],
  ] as const) {
    const child = spawn(process.execPath, ["--require", oldNode, launcher, "wait"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (chunk: string) => {
      text += chunk;
      if (chunk.startsWith("26")) child.kill(signal);
    });
    const ended = await new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.on("close", (code, by) => resolve({ code, signal: by }));
    });
    assert.deepEqual({ ...ended, text: text.split("\n")[1] }, ending);
  }
});
