// `fidelity run` as it is used: over a pipe, in a terminal, with a model that is not here yet, and with mistakes.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { TestHub } from "@fidelity/run/testing/hub";
import { fidelity, LAUNCHER, Scratch, startFidelity, writeTinyLlama2c } from "./testing.ts";
import type { Ended } from "./testing.ts";

const scratch = new Scratch();
const hub = await TestHub.start();
after(async () => {
  await hub[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});
const { model, tokenizer } = writeTinyLlama2c(scratch);
const gguf = scratch.at("my tiny model.gguf");
const converted = await fidelity("convert", model, gguf, "--tokenizer", tokenizer);
assert.equal(converted.code, 0, converted.stderr);
hub.add("me/tiny", { "tiny-F32.gguf": readFileSync(gguf) });

const env = {
  ...process.env,
  FIDELITY_MODELS: scratch.at("models"),
  XDG_STATE_HOME: scratch.at("state"),
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: scratch.path,
};
const GREEDY = ["--temperature", "0", "--tokens", "6", "--threads", "1"];
const run = (args: readonly string[], input = "", more: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  startFidelity(["run", ...args, ...GREEDY], { env: { ...env, ...more } }, input).ended;

describe("run", () => {
  test("a question over a pipe, or on the command line, to a file with spaces in its name", async () => {
    const piped = await run([gguf], "ab\n");
    assert.equal(piped.code, 0, piped.stderr);
    const written = await run([gguf, "ab"]);
    assert.equal(written.stdout, piped.stdout);
    assert.match(
      written.stderr,
      /^\[6 tokens, the first after [\d.]+ s, [\d.,]+ tokens\/s, read \d+, ended by tokens\]\n$/,
    );
    const json = JSON.parse((await run([gguf, "a", "b", "--json"], "c")).stdout);
    assert.deepEqual([json.prompt, json.tokens, json.endedBy], ["a b\nc", 6, "tokens"]);
    const halves = await run([gguf, "ab", "--cache-dtype", "f16"]);
    assert.deepEqual([halves.code, halves.stderr.startsWith("[6 tokens, ")], [0, true], halves.stderr);
  });

  test("the model's own chat template is used, and another one where it is named", async () => {
    const folder = scratch.at("folder");
    const converted = await fidelity("convert", model, folder, "--to", "safetensors", "--tokenizer", tokenizer);
    assert.equal(converted.code, 0, converted.stderr);
    scratch.write("folder/chat_template.jinja", "{{ raise_exception('no ' + messages[0].content) }}");
    const own = await run([folder, "hello", "--system", "you are brief"]);
    assert.deepEqual([own.code, /refuses the conversation: no you are brief/.test(own.stderr)], [1, true], own.stderr);
    const named = await run([folder, "ab", "--template", "plain"]);
    assert.equal(named.code, 0, named.stderr);
  });

  test("what is not here is fetched, once", async () => {
    const first = await run(["me/tiny:F32", "ab"]);
    assert.equal(first.code, 0, first.stderr);
    const fetched = hub.requests.length;
    assert.ok(fetched > 0);
    const again = await run(["me/tiny:F32", "ab"], "", { HF_ENDPOINT: "http://127.0.0.1:9" });
    assert.deepEqual([again.code, again.stdout, hub.requests.length], [0, first.stdout, fetched]);
  });

  test("mistakes are met with what can be done", async () => {
    const cases: readonly [readonly string[], RegExp][] = [
      [["no-such"], /there is no such model[\s\S]*fidelity ls/],
      [["no-such", "--cache-type-k", "f16"], /--cache-dtype/],
      [[gguf, "--cache-dtype", "q8_0"], /f32, bf16 or f16/],
      [["models/mistyped.gguf"], /there is no such model/],
      [["me/nothing"], /the hub has no such model/],
      [[scratch.write("notes.txt", "not a model at all")], /not a model/],
    ];
    for (const [args, expected] of cases) {
      const { code, stdout, stderr } = await run(args, "hello");
      assert.ok(code === 1 || code === 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, expected);
      assert.equal(stdout, "");
    }
    assert.match((await run([gguf], "")).stderr, /there is no question/);
  });
});

const whyNoTerminal = process.platform !== "linux" || spawnSync("script", ["--version"]).status !== 0;

describe("run in a terminal", { skip: whyNoTerminal && "needs script of util-linux" }, () => {
  /** A chat in a pseudo-terminal: each line is typed when the prompt has come again. */
  async function chat(args: readonly string[], lines: readonly string[], prompt = ">>> "): Promise<string> {
    const command = [process.execPath, LAUNCHER, "run", ...args, ...GREEDY].map((word) => `'${word}'`).join(" ");
    const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...env, TERM: "dumb" }, timeout: 60_000 });
    let [shown, seen, typed] = ["", 0, 0];
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      shown += piece;
      const at = Math.max(shown.indexOf(prompt, seen), shown.indexOf("... ", seen), shown.indexOf("[Y/n] ", seen));
      if (at < 0 || typed >= lines.length) return;
      seen = shown.length;
      child.stdin.write(lines[typed++]);
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    child.on("close", () => resolve());
    await promise;
    return shown;
  }

  test("turns, several lines, commands, a history, and leaving", async () => {
    const saved = scratch.at("talk.json");
    const shown = await chat([gguf], ["ab\r", '"""c\r', 'd"""\r', "/nonsense\r", `/save ${saved}\r`, "\x03", "\x03"]);
    assert.match(shown, /\[6 tokens, the first after/);
    assert.match(shown, /read \d+ and kept \d+/);
    assert.match(shown, /there is no command \/nonsense/);
    assert.match(shown, /Ctrl-C once more/);
    const { messages } = JSON.parse(readFileSync(saved, "utf8"));
    const said = messages.map(({ role, content }: { role: string; content: string }) =>
      role === "user" ? content : role,
    );
    assert.deepEqual(said, ["ab", "assistant", "c\nd", "assistant"]);
    assert.ok(readFileSync(scratch.at("state", "fidelity", "chat-history"), "utf8").startsWith('ab\n"""c\nd"""\n'));
  });

  test("before it fetches, it asks", async () => {
    hub.add("me/asked", { "m.gguf": readFileSync(gguf) });
    const shown = await chat(["me/asked", "hello"], ["n\r"]);
    assert.match(shown, /me\/asked is not here. Fetch it from the hub\? \[Y\/n\]/);
    assert.ok(!existsSync(scratch.at("models", "me--asked")));
    const fetched = await chat(["me/asked", "hello"], ["\r"]);
    assert.match(fetched, /tokens\/s/);
  });
});
