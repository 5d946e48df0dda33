// Pulling from a hub on this machine, and the commands of the store.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, test } from "node:test";
import { TestHub } from "@fidelity/run/testing/hub";
import { PullMeter } from "./pull-model.ts";
import { fidelity, Scratch, startFidelity, writeTinyLlama2c } from "./testing.ts";
import type { Ended } from "./testing.ts";

const scratch = new Scratch();
const hub = await TestHub.start();
after(async () => {
  await hub[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});
const { model: tiny, tokenizer } = writeTinyLlama2c(scratch);
const gguf = scratch.at("tiny-F32.gguf");
const converted = await fidelity("convert", tiny, gguf, "--tokenizer", tokenizer);
assert.equal(converted.code, 0, converted.stderr);
hub.add("me/tiny", { "tiny-F32.gguf": readFileSync(gguf), "bad-Q8_0.gguf": new Uint8Array(1000) });

const env = {
  ...process.env,
  FIDELITY_MODELS: scratch.at("my models"),
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: scratch.path,
};
const run = (...args: readonly string[]): Promise<Ended> => startFidelity(args, { env }).ended;

test("pull, ls, generate, cp, rm", async () => {
  const empty = await run("ls");
  assert.match(empty.stdout, /No models in .*my models/);
  const pulled = await run("pull", "me/tiny:F32", "--json");
  assert.equal(pulled.code, 0, pulled.stderr);
  const { name, architecture, format, files, path } = JSON.parse(pulled.stdout);
  assert.deepEqual([name, architecture, format, files.length], ["me/tiny:F32", "llama", "gguf", 1]);
  assert.ok(existsSync(path));

  assert.equal((await run("cp", "me/tiny:F32", "mine")).code, 0);
  const listed = await run("ls");
  assert.match(listed.stdout, /^name +format +architecture +size +modified\nme\/tiny:F32 +gguf +llama +[\d.]+ KiB +20/);
  assert.match(listed.stdout, /^mine /m);
  const options = ["--prompt", "ab", "--tokens", "8", "--temperature", "0"];
  const [byName, byPath] = [
    await run("generate", "--model", "mine", ...options),
    await run("generate", "--model", gguf, ...options),
  ];
  assert.equal(byName.code, 0, byName.stderr);
  assert.equal(byName.stdout, byPath.stdout);

  assert.match((await run("rm", "me/tiny:F32")).stdout, /removed/);
  const { models } = JSON.parse((await run("ls", "--json")).stdout);
  assert.deepEqual(
    models.map((model: { name: string }) => model.name),
    ["mine"],
  );
  const missing = await run("rm", "me/tiny:F32");
  assert.deepEqual([missing.code, /expected: mine/.test(missing.stderr)], [1, true], missing.stderr);
});

test("what cannot be opened is said after the pull, what cannot be had before", async () => {
  const { code, stdout, stderr } = await run("pull", "me/tiny:Q8_0");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /cannot open it/);
  assert.doesNotMatch(stdout, /Next/);
  assert.match((await run("ls")).stdout, /cannot be opened/);
  const unknown = await run("pull", "me/nothing");
  assert.deepEqual([unknown.code, /no such model/.test(unknown.stderr)], [1, true], unknown.stderr);
});

test("Ctrl-C keeps what has arrived", async () => {
  hub.add("me/large", { "m.gguf": new Uint8Array(100_000) });
  hub.mishaps.push({ kind: "silent", after: 1000 });
  const { child, ended } = startFidelity(["pull", "me/large"], { env });
  const isAsked = (): boolean => hub.requests.includes("m.gguf 0") || child.exitCode !== null;
  while (!isAsked()) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill("SIGINT");
  const { code, stderr } = await ended;
  assert.equal(code, 130, stderr);
  assert.match(stderr, /What has arrived is kept/);
  assert.equal((await run("pull", "me/large")).code, 0);
});

test("the meter tells share, rate and time left", () => {
  let now = 0;
  const meter = new PullMeter(() => now);
  const at = (doneBytes: number): string => meter.line({ doneBytes, totalBytes: 10 * 2 ** 20, file: "m" });
  assert.equal(at(0), "  0 %  0 B of 10.0 MiB");
  now = 1000;
  assert.equal(at(2 ** 20), " 10 %  1.00 MiB of 10.0 MiB  1.00 MiB/s  9.0 s left");
  now = 2000;
  assert.equal(at(0), "  0 %  0 B of 10.0 MiB", "after a start from the beginning there is no rate yet");
});
