// Every bad input that a user can hand in: the command says what happened, where, what was expected, found and can be
// done, ends with exit code 1, shows no stack trace, and leaves nothing half-written.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { after, before, describe, test } from "node:test";
import { containerToBytes, readHeader } from "@fidelity/barewire";
import { fidelity, LAUNCHER, Scratch, SMALL_TEXT, start, TINY } from "./testing.ts";
import type { Ended } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const text = scratch.write("text.txt", SMALL_TEXT);
const run = scratch.at("run");
const model = `${run}/model.fid`;
let outCount = 0;

before(async () => {
  const { code, stderr } = await train("--data", text, "--out", run, "--steps", "2");
  assert.equal(code, 0, stderr);
});

/** Trains a tiny model in a new folder, unless told otherwise. */
function train(...args: string[]): Promise<Ended> {
  return fidelity("train", "--out", scratch.at(`out${outCount++}`), ...TINY, "--steps", "2", ...args);
}

function assertRefused({ code, stdout, stderr }: Ended, message: RegExp, exitCode = 1): void {
  assert.match(stderr, message);
  assert.equal(code, exitCode, stderr);
  assert.match(stderr, /^fidelity: .*(\n {2}(where|expected|got|try): .*)+\n$/s);
  assert.doesNotMatch(stderr, /\n {4}at |bug/);
  assert.doesNotMatch(stdout, /undefined|NaN/);
}

/** A copy of the model in which one bit is another. */
function flipped(name: string, byteOffset: number): string {
  const path = scratch.copy(model, name);
  const [byte] = readFileSync(path).subarray(byteOffset);
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, Uint8Array.of(byte ^ 0x10), 0, 1, byteOffset);
  closeSync(descriptor);
  return path;
}

/** A copy of the model that says other things of itself. */
function withConfig(name: string, changes: Readonly<Record<string, unknown>>): string {
  const bytes = readFileSync(model);
  const { config, components, tensors } = readHeader(bytes);
  const whole = tensors.map((entry) => {
    return { ...entry, bytes: bytes.subarray(entry.offset, entry.offset + entry.sizeBytes) };
  });
  const changed = { ...(config as object), ...changes };
  return scratch.write(name, containerToBytes({ config: changed, components, tensors: whole }));
}

describe("bad text", { concurrency: 2 }, () => {
  test("no such file", async () => {
    const ended = await train("--data", scratch.at("txet.txt"));
    assertRefused(ended, /^fidelity: there is no file or folder .*txet\.txt\n(.*\n)*.*text\.txt/);
  });

  test("a glob that matches nothing", async () => {
    assertRefused(await train("--data", scratch.at("*.md")), /\n {2}(expected|got): .*\n/);
  });

  test("empty text", async () => {
    assertRefused(
      await train("--data", scratch.write("empty.txt", "")),
      /^fidelity: there is no text in what was given\n/,
    );
  });

  test("text shorter than the context", async () => {
    const ended = await train("--data", scratch.write("short.txt", "a few words"));
    assertRefused(ended, /^fidelity: the text is too short for a context of 8 tokens\n/);
  });

  test("binary data", async () => {
    const data = scratch.write(
      "binary.txt",
      Uint8Array.from({ length: 4096 }, (_, i) => (i * 7) % 256),
    );
    assertRefused(await train("--data", data), /^fidelity: .*binary.*\n {2}where: +.*binary\.txt/);
  });
});

describe("bad sizes", { concurrency: 2 }, () => {
  test("a model of petabytes", async () => {
    const ended = await train("--data", text, "--width", "131072", "--layers", "4096");
    assertRefused(
      ended,
      /^fidelity: the model is too large\n(.*\n)*.*expected: at most 64\.0 GiB of parameters in float32\n/,
    );
  });

  for (const sizes of [
    ["--width", "8192", "--layers", "2"],
    ["--batch", "1000000"],
  ]) {
    test(`more than the memory of the target: ${sizes.join(" ")}`, async () => {
      assertRefused(
        await train("--data", text, ...sizes),
        /^fidelity: the arena is out of memory\n {2}expected: \d+ free/,
      );
    });
  }

  test("a batch of more tokens than any memory holds", async () => {
    const ended = await train("--data", text, "--batch", "1048576", "--context", "1048576");
    assertRefused(ended, /^fidelity: .*batch size.*\n/);
  });

  test("heads that do not divide the width", async () => {
    const ended = await train("--data", text, "--architecture", "transformer", "--heads", "3");
    assertRefused(
      ended,
      /^fidelity: headDim is impossible\n(.*\n)* {2}expected: .*dim \/ headCount.*\n {2}got: +5\.33/,
    );
  });

  test("heads for a model that has none", async () => {
    const { code, stderr } = await train("--data", text, "--heads", "2");
    assert.deepEqual([code, stderr.startsWith("fidelity: a matmul-free model has no heads\n")], [2, true]);
  });

  test("a learning rate that makes the loss overflow", async () => {
    const ended = await train(
      "--data",
      text,
      "--architecture",
      "transformer",
      "--heads",
      "2",
      "--learning-rate",
      "100",
      "--steps",
      "60",
    );
    // AdamW's steps are as long as the rate, whatever the gradient: such weights may overflow, or only be useless.
    if (ended.code === 0) assert.match(ended.stdout, /validation loss \d+/);
    else assertRefused(ended, /^(step.*\n)*fidelity: training diverged: /);
  });
});

describe("bad model files", { concurrency: 2 }, () => {
  test("no such model, and a folder without one", async () => {
    assertRefused(await fidelity("generate", "--model", scratch.at("none.fid")), /there is no such file or folder\n/);
    const folder = scratch.copy(model, "downloads/my model.fid").replace("/my model.fid", "");
    const named =
      /^fidelity: there is no model in this folder\n[^]*try: {6}give its path: .*downloads\/my model\.fid\n/;
    assertRefused(await fidelity("generate", "--model", folder), named);
  });

  test("truncated: in its tensors, in its header, in its first bytes", async () => {
    const { length } = readFileSync(model);
    for (const sizeBytes of [length - 1, 100, 10]) {
      const path = scratch.copy(model, `truncated-${sizeBytes}.fid`);
      truncateSync(path, sizeBytes);
      const ended = await fidelity("generate", "--model", path);
      assertRefused(ended, /^fidelity: the model file is truncated\n {2}where: +.*truncated-\d+\.fid, in its /);
    }
  });

  test("a flipped bit in the header, and in a tensor, which is named", async () => {
    const damage = /^fidelity: the model file is damaged: a checksum does not match\n {2}where: +/;
    const { root, tensors } = readHeader(readFileSync(model));
    const header = await fidelity("eval", "--data", text, "--model", flipped("header.fid", root.headerOffset + 9));
    assertRefused(header, new RegExp(`${damage.source}.*header\\.fid, its header, \\d+ bytes from \\d+ on\n`));
    const { name, offset } = tensors[3];
    const tensor = await fidelity("generate", "--model", flipped("tensor.fid", offset + 5));
    assertRefused(
      tensor,
      new RegExp(`${damage.source}.*tensor\\.fid, tensor "${name}", \\d+ bytes from ${offset} on\n`),
    );
  });

  test("a checkpoint with a flipped bit is not resumed from, and the one before it is", async () => {
    const out = scratch.copy(run, "damaged");
    const checkpoint = `${out}/checkpoint.fid`;
    const descriptor = openSync(checkpoint, "r+");
    writeSync(descriptor, Uint8Array.of(1, 2, 3, 4), 0, 4, readHeader(readFileSync(checkpoint)).tensors[0].offset);
    closeSync(descriptor);
    assertRefused(
      await fidelity("train", "--resume", "--out", out),
      /^fidelity: the model file is damaged: a checksum/,
    );
    scratch.copy(`${run}/checkpoint.fid`, "damaged/checkpoint-previous.fid");
    const { code, stdout, stderr } = await fidelity("train", "--resume", "--out", out);
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^the model file is damaged: a checksum does not match; going on from the checkpoint before it$/m,
    );
  });

  test("a model of an architecture that does not exist here", async () => {
    const config = { model: { architecture: "mamba3", dim: 16 }, tokenizer: null };
    const path = scratch.write("mamba3.fid", containerToBytes({ config, components: [], tensors: [] }));
    const message =
      /^fidelity: unknown architecture\n(.*\n)* {2}expected: matmul-free, llama, .*\n {2}got: +"mamba3"\n/;
    assertRefused(await fidelity("generate", "--model", path), message);
  });

  test("a model without its tokenizer", async () => {
    const path = withConfig("wordless.fid", { tokenizer: null });
    assertRefused(
      await fidelity("generate", "--model", path),
      /^fidelity: this model needs its tokenizer\n.*wordless\.fid\n {2}expected: --tokenizer FILE/,
      2,
    );
  });

  test("a model whose tensors are another architecture's", async () => {
    const llama = { architecture: "llama", dim: 16, headCount: 2, layerCount: 1, vocabSize: 256, contextLength: 8 };
    const path = withConfig("mixed.fid", { model: llama });
    assertRefused(
      await fidelity("generate", "--model", path),
      /^fidelity: a tensor of the model is missing\n.*mixed\.fid\n/,
    );
  });

  test("sizes in a configuration that no memory holds", async () => {
    const config = {
      model: { architecture: "matmul-free", dim: 1e5, layerCount: 4000, vocabSize: 256 },
      tokenizer: null,
    };
    const path = scratch.write("huge.fid", containerToBytes({ config, components: [], tensors: [] }));
    assertRefused(await fidelity("generate", "--model", path), /^fidelity: the model is too large\n/);
  });

  test("a llama2.c file that is cut short", async () => {
    const header = new Int32Array([64, 172, 5, 8, 4, 512, 512]);
    const path = scratch.write("cut.bin", new Uint8Array(header.buffer));
    for (const command of ["show", "generate"]) {
      const ended = await fidelity(command, "--model", path);
      assertRefused(
        ended,
        /is shorter than its header says\n(.*\n)* {2}expected: 1056540 bytes for .*\n {2}got: +28 bytes\n/,
      );
    }
  });
});

// A mount of one's own needs root or user namespaces. Where neither is to be had, permissions and /dev/full stand in.
const unshare = process.getuid?.() === 0 ? ["-m"] : ["-rm"];
const canMount = spawnSync("unshare", [...unshare, "mount", "-t", "tmpfs", "tmpfs", scratch.path]).status === 0;

/** Runs the command with a small file system of its own mounted at `folder`, and lists it afterwards. */
function withMount(folder: string, options: string, ...args: string[]): Promise<Ended> {
  const script = `mount -t tmpfs -o ${options} tmpfs "$0" && { "$@"; code=$?; ls -A "$0"; exit $code; }`;
  return start("unshare", [...unshare, "sh", "-c", script, folder, process.execPath, LAUNCHER, ...args]).ended;
}

describe("bad disks", { concurrency: 2 }, () => {
  const needsMount = { skip: canMount ? false : "may not mount a file system here" };
  test("a full disk while training: an error in words, and no file in pieces", needsMount, async () => {
    const out = scratch.copy(scratch.write("marker", ""), "full/marker").replace("/marker", "");
    const ended = await withMount(out, "size=64k", "train", "--data", text, "--out", out, "--steps", "2", ...TINY);
    assertRefused(ended, /^fidelity: cannot write a file: the disk is full\n {2}where: .*checkpoint\.fid\n/);
    const left = ended.stdout.split("\n").filter((name) => name.endsWith(".fid") || name.endsWith(".tmp"));
    assert.deepEqual(left, []);
  });

  const needsFullDevice = { skip: existsSync("/dev/full") ? false : "there is no /dev/full here" };
  test("a full disk under standard output", needsFullDevice, async () => {
    const command = `"${process.execPath}" "${LAUNCHER}" show "${run}" > /dev/full`;
    const ended = await start("sh", ["-c", command]).ended;
    assertRefused(ended, /^fidelity: cannot write a file: the disk is full\n {2}where: +standard output\n/);
  });

  test("a read-only folder", async () => {
    const out = scratch.copy(scratch.write("marker", ""), "readonly/marker").replace("/marker", "");
    const args = ["train", "--data", text, "--out", out, "--steps", "2", ...TINY];
    chmodSync(out, 0o555); // which root may ignore
    const ended = await (canMount ? withMount(out, "ro", ...args) : fidelity(...args));
    assertRefused(
      ended,
      /^fidelity: cannot write a file: (the file system is read-only|permission is denied)\n {2}where: /,
    );
    chmodSync(out, 0o755);
    assert.deepEqual(readdirSync(out), ["marker"]);
  });
});

describe("bugs", () => {
  test("what nobody foresaw is called a bug, with the stack only for who asks", async () => {
    const script = scratch.write(
      "bug.ts",
      `import { describeFailure } from ${JSON.stringify(new URL("errors.ts", import.meta.url).href)};
       const { text, exitCode } = describeFailure(new TypeError("x is not a function"), process.argv[2] === "stack");
       console.error(text);
       process.exitCode = exitCode;`,
    );
    const [plain, withStack] = await Promise.all([
      start(process.execPath, [script]).ended,
      start(process.execPath, [script, "stack"]).ended,
    ]);
    assert.deepEqual([plain.code, withStack.code], [70, 70]);
    assert.match(
      plain.stderr,
      /^fidelity: something went wrong that is a bug in Fidelity.*\n {2}got: +TypeError: x is not/,
    );
    assert.doesNotMatch(plain.stderr, /\n {4}at /);
    assert.match(withStack.stderr, /\n {4}at .*bug\.ts/);
  });
});
