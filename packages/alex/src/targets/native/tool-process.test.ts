// Ctrl-C while a tool works: the process decides what it means, and nothing is left of the tool when it ends.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";

const base = mkdtempSync(path.join(os.tmpdir(), "fidelity-tool-"));
after(() => rmSync(base, { recursive: true }));

/** Runs a tool in a process with a listener, ended by Ctrl-C or then by the tool; gives what came of it. */
async function interrupted(name: string, listener = "", goesOn = false) {
  const place = path.join(base, name);
  mkdirSync(place);
  const [started, ending] = [path.join(place, "started"), path.join(place, "ending")];
  const code = `
    import { openDirectory, runProcess } from ${JSON.stringify(new URL("tool-process.node.ts", import.meta.url).href)};
    ${listener}
    const directory = await openDirectory();
    const tool = 'echo $$ > "$1.part"; mv "$1.part" "$1"; while [ ! -e "$2" ]; do sleep 0.01; done';
    const { code } = await runProcess("/bin/sh", ["-c", tool, "sh", ...process.argv.slice(1)], 60_000);
    console.log("the tool ended with", code);
    directory.remove();`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code, started, ending], {
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: place },
  });
  const said = text(child.stdout);
  const ended = new Promise<NodeJS.Signals | number>((resolve) =>
    child.on("exit", (exitCode, signal) => resolve(signal ?? exitCode ?? -1)),
  );
  while (!existsSync(started)) await sleep(5);
  assert.ok(readdirSync(place).some((entry) => entry.startsWith("fidelity-native-")));
  process.kill(-child.pid!, "SIGINT");
  if (goesOn) mkdirSync(ending);
  const end = await ended;
  const tool = Number(readFileSync(started, "utf8"));
  while (isRunning(tool)) await sleep(5);
  return { end, said: await said, left: readdirSync(place).filter((entry) => entry.startsWith("fidelity-native-")) };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // One that has ended, and that nobody asked how.
    return !/\) Z /.test(existsSync("/proc/self/stat") ? readFileSync(`/proc/${pid}/stat`, "utf8") : "");
  } catch {
    return false;
  }
}

const skip = process.platform === "win32" && "processes have no groups here";

test("where nobody listens the process ends by the signal, with its tool and its files", { skip }, async () => {
  assert.deepEqual(await interrupted("default"), { end: "SIGINT", said: "", left: [] });
});

test("a listener decides: the tool goes on", { skip }, async () => {
  const heard = await interrupted("heard", `process.once("SIGINT", () => console.log("heard"));`, true);
  assert.deepEqual(heard, { end: 0, said: "heard\nthe tool ended with 0\n", left: [] });
});

test("a listener that exits ends the tool", { skip }, async () => {
  const exits = await interrupted("exits", `process.once("SIGINT", () => process.exit(130));`);
  assert.deepEqual(exits, { end: 130, said: "", left: [] });
});
