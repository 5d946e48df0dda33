// Sessions of GradBench with the real tool, and an evaluator of a few lines: what is noted of runs, of the evaluator's
// judgement, and of tools that refuse or end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runSession } from "./session.ts";
import type { CommandLine } from "./session.ts";

const cwd = fileURLToPath(new URL(".", import.meta.url));
const FIDELITY = fileURLToPath(new URL("../../../packages/cli/src/main.ts", import.meta.url));
const fidelity: CommandLine = { program: process.execPath, args: [FIDELITY, "gradbench", "--target", "wasm"], cwd };
const LIMIT_MS = 60_000;

/** An evaluator that sends these messages, whatever the answers are. */
function evaluator(...messages: readonly object[]): CommandLine {
  const script = `const messages = ${JSON.stringify(messages)};
    const next = () => messages.length ? console.log(JSON.stringify(messages.shift())) : process.exit();
    require("readline").createInterface({ input: process.stdin }).on("line", next); next();`;
  return { program: process.execPath, args: ["-e", script], cwd };
}

test("runs, times and judgements are noted by function and input", async () => {
  const evaluate = { kind: "evaluate", module: "lse", function: "primal" };
  const { measured, failure } = await runSession(
    evaluator(
      { id: 0, kind: "start" },
      { id: 1, kind: "define", module: "lse" },
      { ...evaluate, id: 2, description: "n=1", input: { x: [3], min_runs: 4, min_seconds: 0 } },
      { id: 3, kind: "analysis", of: 2, valid: true },
      { ...evaluate, id: 4, description: "n=2", input: { x: [3, 4] } },
      { id: 5, kind: "analysis", of: 4, valid: false, error: "too large" },
      { ...evaluate, id: 6, description: "n=?", input: { x: 3 } },
    ),
    fidelity,
    LIMIT_MS,
  );
  assert.equal(failure, undefined);
  assert.deepEqual(
    measured.map(({ function: name, input, isRight, runsMs }) => [name, input, isRight, runsMs.length]),
    [
      ["primal", "n=1", true, 4],
      ["primal", "n=2", false, 1],
      ["primal", "n=?", false, 0],
    ],
  );
  assert.ok(measured[0]!.prepareMs! > 0);
  assert.equal(measured[1]!.error, "too large");
  assert.match(measured[2]!.error!, /^GradBenchInputError/);
});

test("a tool that does not know an evaluation, or ends, is told of", async () => {
  const asking = evaluator({ id: 0, kind: "start" }, { id: 1, kind: "define", module: "nonesuch" });
  const refused = await runSession(asking, fidelity, LIMIT_MS);
  assert.match(refused.failure!, /there is no such module/);
  const gone: CommandLine = { program: process.execPath, args: ["-e", "console.error('no'); process.exit(3)"], cwd };
  assert.equal((await runSession(asking, gone, LIMIT_MS)).failure, "the tool ended: no");
});
