// The command explains itself, and what is typed wrong is met with what was meant.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { LAUNCHER, Scratch, fidelity, start, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());

const COMMANDS = [
  "quickstart",
  "train",
  "generate",
  "run",
  "pull",
  "eval",
  "show",
  "compile",
  "tune",
  "doctor",
] as const;

describe("help", { concurrency: 2 }, () => {
  test("without arguments the command shows what it can do", async () => {
    const { code, stdout, stderr } = await fidelity();
    assert.equal(code, 0);
    assert.equal(stderr, "");
    for (const command of [...COMMANDS, "bench"]) assert.match(stdout, new RegExp(`^  ${command} `, "m"));
  });

  for (const command of COMMANDS) {
    test(`${command} --help describes, gives examples and names defaults`, async () => {
      const { code, stdout } = await fidelity(command, "--help");
      assert.equal(code, 0);
      assert.match(stdout, new RegExp(`^Usage: fidelity ${command} `));
      assert.match(stdout, new RegExp(`^Examples:\n  fidelity ${command}`, "m"));
      if (command !== "show" && command !== "doctor") assert.match(stdout, /\(default: /);
    });
  }

  test("--version prints the version", async () => {
    const { code, stdout } = await fidelity("--version");
    assert.deepEqual([code, /^\d+\.\d+\.\d+\n$/.test(stdout)], [0, true]);
  });

  test("bench hands everything to the benchmarks, --help included", async () => {
    const { code, stdout } = await fidelity("bench", "--help");
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: npm run bench /);
  });

  const mistakes: [args: string[], summary: string, hint: string][] = [
    [["trian"], "unknown command 'trian'", "train, or see fidelity --help"],
    [["help", "trian"], "unknown command 'trian'", "train, or see fidelity --help"],
    [["generate", "--modle", "x"], "unknown option '--modle'", "--model, or see fidelity generate --help"],
    [["run", "m", "--max-tokens", "5"], "unknown option '--max-tokens'", "--tokens, or see fidelity run --help"],
    [["show", "a", "b"], "too many arguments for 'show'. Expected 1 argument but got 2: a, b.", "fidelity show --help"],
    [["train", "--steps"], "option '--steps <count>' argument missing", "fidelity train --help"],
  ];
  for (const [args, summary, hint] of mistakes) {
    test(`fidelity ${args.join(" ")}: ${summary}`, async () => {
      const { code, stdout, stderr } = await fidelity(...args);
      assert.equal(code, 2);
      assert.equal(stdout, "");
      assert.ok(stderr.startsWith(`fidelity: ${summary}`), stderr);
      assert.ok(stderr.endsWith(`  try:      ${hint}\n`), stderr);
    });
  }

  const values: [args: string[], flag: string, expected: string][] = [
    [["train", "--steps", "0"], "--steps", "a whole number from 1 to 1000000000"],
    [["train", "--layers", "2.5"], "--layers", "a whole number from 1 to 4096"],
    [["train", "--learning-rate", "fast"], "--learning-rate", "a number from 0 up to 100"],
    [["train", "--architecture", "rnn"], "--architecture", "matmul-free, llama, qwen2"],
    [["train", "--emit-after", "magic"], "--emit-after", "trace, expand, canonicalise"],
    [["generate", "--threads", "1000"], "--threads", "a whole number from 1 to 256"],
  ];
  for (const [args, flag, expected] of values) {
    test(`${args.join(" ")} says what ${flag} takes`, async () => {
      const { code, stderr } = await fidelity(...args);
      assert.equal(code, 2);
      assert.match(
        stderr,
        new RegExp(`^fidelity: ${flag} cannot take this value\n  where: .*\n  expected: ${expected}`),
      );
      assert.ok(stderr.includes(`got:      "${args.at(-1)}"`), stderr);
    });
  }

  for (const [args, flag] of [
    [["generate"], "--model"],
    [["eval", "--data", "x"], "--model"],
    [["train"], "--data"],
  ] as const) {
    test(`${args[0]} without ${flag} asks for it`, async () => {
      const { code, stderr } = await fidelity(...args);
      assert.equal(code, 2);
      assert.match(stderr, new RegExp(`^fidelity: ${flag} is missing\n`));
    });
  }

  test("a reader that closes the pipe ends the command quietly", async () => {
    const { model } = writeTinyLlama2c(scratch);
    const command = `"${process.execPath}" "${LAUNCHER}" show "${model}" --json | head -c 1`;
    const { code, stdout, stderr } = await start("bash", ["-o", "pipefail", "-c", command]).ended;
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "{", stderr: "" });
  });
});
