// Libraries on disk: what is whole is found, what is not is made again, and what was used longest ago goes first.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { FileError } from "@fidelity/barewire/node";
import { CHAIN_SIGNATURE, chainProgram, f32Type } from "../../runtime/testing.ts";
import { CpuDevice } from "../../runtime/device.ts";
import { spawnWorkerThread } from "../../runtime/team.node.ts";
import { LibraryCache, cacheDirectory, cacheKey } from "./cache.node.ts";
import { createNativeTarget } from "./index.node.ts";
import { whyNoNative } from "./testing.node.ts";

const base = mkdtempSync(path.join(os.tmpdir(), "fidelity-cache-"));
after(() => rmSync(base, { recursive: true }));
let folders = 0;
const freshFolder = (): string => path.join(base, `cache-${folders++}`);

const bytesOf = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

test("keys tell texts apart, and where one ends and the next begins", () => {
  const keys = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], []].map(cacheKey);
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(cacheKey(["a", "b"]), cacheKey(["a", "b"]));
});

test("a library is found as it was kept, and not when it or its manifest was damaged", () => {
  const cache = new LibraryCache(freshFolder());
  assert.equal(cache.find("one"), undefined);
  const file = cache.keep("one", bytesOf(100, 1));
  const found = cache.find("one");
  assert.deepEqual([found?.path, found?.bytes.length], [file, 100]);
  const manifest = file.replace(/so$/, "json");
  const damages: (() => void)[] = [
    () => writeFileSync(file, bytesOf(99, 1)),
    () => writeFileSync(file, bytesOf(100, 2)),
    () => writeFileSync(manifest, "{"),
    () => writeFileSync(manifest, "null"),
    () => rmSync(manifest),
    () => rmSync(file),
  ];
  for (const damage of damages) {
    cache.keep("one", bytesOf(100, 1));
    damage();
    assert.equal(cache.find("one"), undefined, String(damage));
  }
});

test("what was used longest ago goes when there is too much, but never the newest", () => {
  const folder = freshFolder();
  const cache = new LibraryCache(folder, 250);
  ["a", "b"].forEach((key, i) => utimesSync(cache.keep(key, bytesOf(100, i)), new Date(i), new Date(i)));
  assert.ok(cache.find("a"), "which makes it newer than b");
  cache.keep("c", bytesOf(100, 3));
  assert.deepEqual(
    ["a", "b", "c"].map((key) => cache.find(key) !== undefined),
    [true, false, true],
  );
  const ahead = new Date(Date.now() + 60_000);
  ["a", "c"].forEach((key) => utimesSync(path.join(folder, `${key}.so`), ahead, ahead));
  cache.keep("large", bytesOf(1000, 4));
  assert.deepEqual(readdirSync(folder).sort(), ["large.json", "large.so"]);
});

test("the directory is the user's, unless the environment names another", () => {
  assert.equal(cacheDirectory({ FIDELITY_CACHE_DIR: "/x" }), "/x/native");
  assert.equal(cacheDirectory({ XDG_CACHE_HOME: "/y" }), "/y/fidelity/native");
  assert.equal(cacheDirectory({ XDG_CACHE_HOME: "relative" }), path.join(os.homedir(), ".cache/fidelity/native"));
});

/** Loads and runs a program on a device of its own; gives the sum of its output. */
async function totalOf(folder: string, length = 64): Promise<{ total: number; made: number; found: number }> {
  const target = createNativeTarget({ cache: new LibraryCache(folder) });
  const compileGraph = (): never => assert.fail("this test loads a program");
  const options = { threads: 1, maximumBytes: 2 ** 22, target, compileGraph, spawn: spawnWorkerThread };
  const device = new CpuDevice(options);
  const executable = await device.load(chainProgram("chain", length, 3), CHAIN_SIGNATURE(length));
  const [input, output] = [device.tensor(f32Type(length)), device.tensor(f32Type(length))];
  const total = device.tensor(f32Type(1));
  executable.bind([input], [output, total]);
  input.f32().fill(2);
  executable.run();
  const sum = total.f32()[0];
  await device.close();
  const { made, found } = target.statistics;
  return { total: sum, made, found };
}

const skip = whyNoNative();

test("a program is made once, found after that, and made again when its library was damaged", { skip }, async () => {
  const folder = freshFolder();
  const total = 64 * ((2 * 3 + 1) * 2 + 0.5);
  assert.deepEqual(await totalOf(folder), { total, made: 1, found: 0 });
  assert.deepEqual(await totalOf(folder), { total, made: 0, found: 1 });
  const library = path.join(folder, readdirSync(folder).find((name) => name.endsWith(".so")) ?? "");
  const bytes = readFileSync(library);
  for (const poisoned of [bytes.subarray(0, 1000), Buffer.concat([bytes.subarray(0, -1), Buffer.of(7)])]) {
    // Beside its place and renamed: a loaded library must not change under a process.
    rmSync(library);
    writeFileSync(library, poisoned);
    assert.deepEqual(await totalOf(folder), { total, made: 1, found: 0 });
    assert.ok(readFileSync(library).equals(bytes), "the same program gives the same library");
  }
});

test("a place that cannot be written to is refused, with where to name another", { skip }, async () => {
  const file = path.join(base, "file");
  writeFileSync(file, "");
  await assert.rejects(totalOf(path.join(file, "cache"), 32), (error: unknown) => {
    assert.ok(error instanceof FileError);
    assert.equal(error.code, "ENOTDIR");
    assert.match(error.message, /FIDELITY_CACHE_DIR/);
    return true;
  });
});

test("two processes that make the same library at once both run it", { skip }, async () => {
  const folder = freshFolder();
  const script = `
    const { createDevice } = await import("./device.node.ts");
    const { CHAIN_SIGNATURE, chainProgram } = await import("./testing.ts");
    const device = createDevice({ threads: 2, target: "native", maximumBytes: 2 ** 22 });
    await device.load(chainProgram("chain", 128, 3), CHAIN_SIGNATURE(128));
    await device.close();
  `;
  const processes = [1, 2].map(() =>
    spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
      cwd: path.join(import.meta.dirname, "../../runtime"),
      env: { ...process.env, FIDELITY_CACHE_DIR: folder },
      stdio: ["ignore", "ignore", "inherit"],
    }),
  );
  const codes = await Promise.all(processes.map(async (child) => (await once(child, "exit"))[0] as number));
  assert.deepEqual(codes, [0, 0]);
  const left = readdirSync(path.join(folder, "native"));
  assert.deepEqual(left.map((name) => path.extname(name)).sort(), [".json", ".so"]);
  assert.ok(existsSync(path.join(folder, "native", left[0])));
});
