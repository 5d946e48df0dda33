// Native code ahead of time: built here, run where there are no tools, with the same text.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { promisify } from "node:util";
import { hostMachine, searchTools } from "@fidelity/alex/node";
import { fidelity, Scratch, SMALL_TEXT, startFidelity, TINY, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const { model, tokenizer } = writeTinyLlama2c(scratch);
const folder = `${model}.native`;

/** A machine without LLVM whose caches are empty. */
const bare = { ...process.env, FIDELITY_LLVM_BIN: scratch.at("none"), FIDELITY_CACHE_DIR: scratch.at("empty") };
const env = { ...process.env, FIDELITY_CACHE_DIR: scratch.at("cache") };
const greedy = ["generate", "--model", model, "--temperature", "0", "--tokens", "12", "--prompt", "ab"];

describe("build", { skip: searchTools().missing.length > 0 && "needs LLVM 19 (tools/setup.sh)" }, () => {
  test("a model that was built writes the same text without tools", async () => {
    const host = hostMachine().name;
    const other = host.startsWith("aarch64") ? "x86-64-v3" : "aarch64";
    const built = await startFidelity(["build", model, "--cpu", `${other},${host}`, "--json"], { env }).ended;
    assert.equal(built.code, 0, built.stderr);
    const { programs } = JSON.parse(built.stdout) as { programs: { machine: string; name: string }[] };
    assert.deepEqual(
      programs.map(({ machine, name }) => `${machine} ${name}`),
      [other, host].flatMap((machine) => [`${machine} step`, `${machine} prefill 4`]),
      "the context is shorter than a long chunk of a prompt, so that there is a program for short ones alone",
    );
    assert.ok(existsSync(join(folder, "manifest.json")));
    const { stdout: expected } = await startFidelity(greedy, { env }).ended;
    const options = { env: { ...bare, FIDELITY_DEBUG: "1" } };
    for (const args of [["--prebuilt"], ["--prebuilt", folder, "--threads", "2", "--pin"]]) {
      const { code, stdout, stderr } = await startFidelity([...greedy, "--target", "native", ...args], options).ended;
      assert.equal(code, 0, stderr);
      assert.equal(stdout, expected);
      assert.match(stderr, /step: found compiled in .*, native \d+ B/);
    }
    const named = { env: { ...bare, FIDELITY_PREBUILT: folder } };
    assert.equal((await startFidelity([...greedy, "--target", "native"], named).ended).stdout, expected);
  });

  test("generations at the same time share steps where that was built, and take turns elsewhere", async () => {
    const shared = scratch.at("shared");
    const args = ["build", model, "--out", shared, "--parallel", "2", "--programs", "step", "--json"];
    const built = await startFidelity(args, { env }).ended;
    assert.equal(built.code, 0, built.stderr);
    const { programs } = JSON.parse(built.stdout) as { programs: { name: string }[] };
    assert.deepEqual(
      programs.map(({ name }) => name),
      ["step", "prefill 32 of 1", "prefill 4 of 1", "step of 2"],
    );
    const run = `
      import { createDevice } from "@fidelity/alex/node";
      import { open } from "@fidelity/run/node";
      const [path, tokenizer, prebuilt] = process.argv.slice(1);
      const device = createDevice({ target: "native", threads: 1, prebuilt });
      for (const parallel of [2, 3]) {
        const model = await open(path, { device, tokenizer, parallel });
        const ask = (prompt) => model.generate(prompt, { maxTokens: 5 }).result();
        const lengths = (await Promise.all(["a", "b"].map(ask))).map(({ tokens }) => tokens.length);
        console.log(...lengths, model.sharedMemory === undefined, model.sharingError?.name);
        await model.close();
      }
      await device.close();`;
    const words = ["--input-type=module", "--eval", run, model, tokenizer, shared];
    const { stdout } = await promisify(execFile)(process.execPath, words, { env: bare, cwd: import.meta.dirname });
    assert.equal(stdout, "5 5 false undefined\n5 5 true ProgramMissingError\n");
  });

  test("kernels of a file that was built run without tools", async () => {
    const file = scratch.write(
      "kernels.ts",
      `import { kernel } from "@fidelity/alex/kernels";
import type { Vector } from "@fidelity/alex/kernels";
export const scaled = kernel(function scaled(x: Vector<8>, y: Vector<8>, factor: number): void {
  for (let i = 0; i < 8; i++) y[i] = factor * x[i] + 1;
});
`,
    );
    const built = await startFidelity(["build", file, "--json"], { env }).ended;
    assert.equal(built.code, 0, built.stderr);
    const { folder: kernels, programs } = JSON.parse(built.stdout) as { folder: string; programs: { name: string }[] };
    assert.deepEqual([kernels, ...programs.map(({ name }) => name)], [`${file}.native`, "scaled"]);
    const run = `
      import { createDevice } from "@fidelity/alex/node";
      import { compileKernel } from "@fidelity/alex/kernels/compile";
      import { loadKernels } from "@fidelity/alex/kernels/node";
      const [file, prebuilt, ...words] = process.argv.slice(1);
      const device = createDevice({ target: "native", threads: 1, prebuilt });
      const library = await loadKernels(file, words.length > 0 ? { arithmetic: "f64" } : {});
      const y = new Float32Array(8);
      (await compileKernel(device, library.get("scaled")))(Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7), y, 3);
      console.log(y.join(" "));
      await device.close();`;
    const node = (...words: string[]) =>
      promisify(execFile)(process.execPath, ["--input-type=module", "--eval", run, file, kernels, ...words], {
        env: bare,
        cwd: import.meta.dirname,
      });
    assert.equal((await node()).stdout, "1 4 7 10 13 16 19 22\n");
    await assert.rejects(node("f64"), /a program was not built ahead of time/, "another program has another key");
  });

  test("the programs of a run were built: a run like it needs no tools", async () => {
    const data = scratch.write("text.txt", SMALL_TEXT);
    const like = ["--data", data, "--estimator", "stretched-elastic", "--optimizer", "schedule-free", ...TINY];
    const [first, second] = [scratch.at("first"), scratch.at("second")];
    const trained = await startFidelity(["train", "--out", first, "--steps", "4", ...like], { env }).ended;
    assert.equal(trained.code, 0, trained.stderr);
    const built = await startFidelity(["build", first, "--programs", "train", "--json"], { env }).ended;
    assert.equal(built.code, 0, built.stderr);
    const { folder: native, programs } = JSON.parse(built.stdout) as { folder: string; programs: { name: string }[] };
    assert.deepEqual(
      programs.map(({ name }) => name),
      ["train_step", "finish_weights", "evaluate", "pack"],
    );
    const without = ["train", "--out", second, "--steps", "4", "--target", "native", "--prebuilt", native, ...like];
    const { code, stderr } = await startFidelity(without, { env: bare }).ended;
    assert.equal(code, 0, stderr);
    assert.ok(existsSync(join(second, "model.fid")));
  });

  test("what is missing or damaged has a name", async () => {
    const native = [...greedy, "--target", "native"];
    const without = await startFidelity(native, { env: bare }).ended;
    assert.equal(without.code, 1);
    assert.match(without.stderr, /^fidelity: the native target needs LLVM 19/);
    for (const machine of readdirSync(folder).filter((name) => name !== "manifest.json")) {
      for (const name of readdirSync(join(folder, machine))) {
        const library = join(folder, machine, name);
        if (!name.endsWith(".so")) continue;
        const bytes = readFileSync(library);
        bytes[bytes.length >> 1] ^= 1;
        rmSync(library);
        writeFileSync(library, bytes);
      }
    }
    const damaged = await startFidelity([...native, "--prebuilt"], { env: bare }).ended;
    assert.equal(damaged.code, 1);
    assert.match(damaged.stderr, /^fidelity: a program was not built ahead of time, or its files are damaged\n/);
    const none = await startFidelity([...native, "--prebuilt", scratch.at("nowhere")], { env: bare }).ended;
    assert.match(none.stderr, /^fidelity: cannot read a file: there is no such file/);
    const wasm = await startFidelity([...greedy, "--prebuilt"], { env: bare }).ended;
    assert.equal(wasm.code, 2);
    assert.match(wasm.stderr, /^fidelity: --prebuilt holds native code\n/);
  });

  test("mistakes on the command line are named", async () => {
    const wrong: [args: string[], message: RegExp][] = [
      [["build", model, "--cpu", "x86-65"], /^fidelity: there is no such machine\n/],
      [["build", model, "--programs", "stop"], /^fidelity: there is no such program\n/],
      [["build", scratch.at("none.fid")], /^fidelity: cannot read a file: there is no such file/],
      [["build", scratch.at("none.ts")], /^fidelity: cannot read a file: there is no such file/],
      [["build", scratch.write("empty.ts", "export {};")], /^fidelity: the file has no kernels\n/],
      [[...greedy, "--pin", "first"], /^fidelity: --pin cannot take this value\n/],
    ];
    for (const [args, message] of wrong) assert.match((await fidelity(...args)).stderr, message);
  });
});
