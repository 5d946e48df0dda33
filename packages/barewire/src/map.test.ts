import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { SpawnSyncReturns } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";

import { OutOfMemoryError, SharedArena } from "./arena.ts";
import {
  ChecksumError,
  InvalidContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./container/errors.ts";
import { crc32c } from "./crc32c.ts";
import { FileError, writeContainerFile } from "./file.node.ts";
import { openContainer, readContainerHeader } from "./container/open.node.ts";
import { mapFile } from "./map.node.ts";
import { addressOf, libc } from "./memory/libc.node.ts";
import { RegionError } from "./region.ts";

const folder = mkdtempSync(join(tmpdir(), "barewire-map-"));
after(() => rmSync(folder, { recursive: true }));

const expectedHow = process.platform === "linux" ? "mapped" : "read";
const onLinux = { skip: process.platform === "linux" ? false : "needs Linux" };

// 100,003 bytes: not a multiple of any page.
const contents = Uint8Array.from({ length: 100_003 }, (_, i) => (i * 7919) >>> 3);
const path = join(folder, "contents.bin");
writeFileSync(path, contents);

// (module (import "env" "mem" (memory 1 65536 shared))
//   (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0))))
const LOAD_MODULE = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f],
  ...[0x02, 0x0f, 0x01, 0x03, 0x65, 0x6e, 0x76, 0x03, 0x6d, 0x65, 0x6d, 0x02, 0x03, 0x01, 0x80, 0x80, 0x04],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x07, 0x08, 0x01, 0x04, 0x6c, 0x6f, 0x61, 0x64, 0x00, 0x00],
  ...[0x0a, 0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x2d, 0x00, 0x00, 0x0b],
]);

const WORKER_SOURCE = `
  const { parentPort, workerData } = require("node:worker_threads");
  const { memory, byteOffset, sizeBytes, code } = workerData;
  const { load } = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { mem: memory } }).exports;
  parentPort.postMessage(Uint8Array.from({ length: sizeBytes }, (_, i) => load(byteOffset + i)));
`;

async function readByWasmInWorker(
  memory: WebAssembly.Memory,
  byteOffset: number,
  sizeBytes: number,
): Promise<Uint8Array> {
  const workerData = { memory, byteOffset, sizeBytes, code: LOAD_MODULE };
  const worker = new Worker(WORKER_SOURCE, { eval: true, workerData });
  return await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

test("wasm in another thread reads a mapped file where it lies", async () => {
  using arena = SharedArena.create();
  using file = mapFile(path, arena);
  assert.equal(file.how, expectedHow, `${file.reason}`);
  assert.equal(file.region.sizeBytes, contents.length);
  const { byteOffset, sizeBytes } = file.region;
  assert.deepEqual(await readByWasmInWorker(arena.memory, byteOffset, sizeBytes), contents);
});

test("a mapping is the file's pages, survives growth, and never writes to the file", onLinux, () => {
  using arena = SharedArena.create({ initialBytes: 2 ** 20, maximumBytes: 2 ** 26 });
  using file = mapFile(path, arena);
  assert.ok(readFileSync("/proc/self/maps", "utf8").includes(path));
  using large = arena.alloc(2 ** 24);
  assert.ok(large.byteOffset > file.region.byteOffset);
  assert.deepEqual(Uint8Array.from(file.region.u8()), contents);
  new Uint8Array(arena.memory.buffer)[file.region.byteOffset] ^= 255;
  assert.deepEqual(Uint8Array.from(readFileSync(path)), contents);
});

test("disposing takes the file out, leaves zeros, and gives the range back", onLinux, () => {
  using arena = SharedArena.create();
  const file = mapFile(path, arena);
  const { region } = file;
  const { byteOffset } = region;
  file[Symbol.dispose]();
  file[Symbol.dispose]();
  assert.equal(arena.liveCount, 0);
  assert.ok(!readFileSync("/proc/self/maps", "utf8").includes(path));
  assert.throws(() => region.u8(), RegionError);
  using again = arena.alloc(contents.length, 65536);
  assert.equal(again.byteOffset, byteOffset);
  assert.ok(again.u8().every((byte) => byte === 0));
  again.u8().fill(1);
  assert.deepEqual(Uint8Array.from(readFileSync(path)), contents);
});

test("neighbours of a mapping are not touched", () => {
  using arena = SharedArena.create();
  using before = arena.alloc(65536 - 64);
  before.u8().fill(1);
  const file = mapFile(path, arena);
  using behind = arena.alloc(65536);
  behind.u8().fill(2);
  file[Symbol.dispose]();
  assert.ok(before.u8().every((byte) => byte === 1));
  assert.ok(behind.u8().every((byte) => byte === 2));
});

test("any part of a file can be had, mapped and read alike", () => {
  using arena = SharedArena.create();
  for (const how of ["mapped", "read"] as const) {
    for (const [offset, sizeBytes] of [
      [0, 1],
      [4096, 5000],
      [65535, 2],
      [70_001, 30_002],
      [100_003, 0],
    ] as const) {
      using file = mapFile(path, arena, { offset, sizeBytes, how });
      if (sizeBytes > 0) assert.equal(file.how, how === "read" ? "read" : expectedHow);
      assert.equal(file.how === "mapped", file.reason === undefined);
      assert.deepEqual(Uint8Array.from(file.region.u8()), contents.subarray(offset, offset + sizeBytes));
    }
  }
});

test("large parts lie as their pages do in the file, for huge ones to back them", () => {
  using arena = SharedArena.create();
  const large = join(folder, "several-huge-pages.bin");
  const bytes = Uint8Array.from({ length: 5 * 2 ** 20 + 3 }, (_, i) => (i * 7919) >>> 7);
  writeFileSync(large, bytes);
  using before = arena.alloc(100);
  before.u8().fill(1);
  const calls = libc();
  for (const [offset, sizeBytes] of [
    [0, bytes.length],
    [4096, 2 ** 21],
    [2 ** 21 + 70_001, bytes.length - 2 ** 21 - 70_001],
  ] as const) {
    using file = mapFile(large, arena, { offset, sizeBytes });
    if (typeof calls !== "string") {
      assert.equal(Number(addressOf(file.region, calls) % BigInt(2 ** 21)), offset % 2 ** 21);
    }
    assert.equal(crc32c(file.region.u8()), crc32c(bytes.subarray(offset, offset + sizeBytes)));
  }
  assert.ok(before.u8().every((byte) => byte === 1));
});

test("files that cannot be mapped are refused in words, and the arena keeps nothing", () => {
  using arena = SharedArena.create({ maximumBytes: 2 ** 20 });
  const isFileError = (code: string) => (error: unknown) => error instanceof FileError && error.code === code;
  assert.throws(() => mapFile(join(folder, "missing"), arena), isFileError("ENOENT"));
  assert.throws(() => mapFile(folder, arena), isFileError("EISDIR"));
  assert.throws(() => mapFile(path, arena, { sizeBytes: 100_004 }), isFileError("TRUNCATED"));
  assert.throws(() => mapFile(path, arena, { offset: 100_000, sizeBytes: 4 }), isFileError("TRUNCATED"));
  if (process.platform === "linux") assert.throws(() => mapFile("/dev/zero", arena), isFileError("NOT_REGULAR"));
  const large = join(folder, "large.bin");
  writeFileSync(large, "");
  truncateSync(large, 2 ** 40);
  assert.throws(() => mapFile(large, arena), OutOfMemoryError);
  assert.equal(arena.liveCount, 0);
});

function saveModel(name: string): string {
  const file = join(folder, name);
  const weights = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i));
  const tensors = [
    { name: "bias", component: "body", dtype: "f32", shape: [16], bytes: new Uint8Array(64).fill(1) },
    { name: "weights", component: "body", dtype: "f32", shape: [50, 100], bytes: new Uint8Array(weights.buffer) },
  ];
  writeContainerFile(file, { config: { width: 100 }, components: [{ id: "body", kind: "linear" }], tensors });
  return file;
}

test("a container's tensors lie in the arena, aligned, with no copy", () => {
  using arena = SharedArena.create();
  const file = saveModel("model.fidelity");
  using container = openContainer(file, arena);
  assert.equal(container.how, expectedHow);
  assert.deepEqual(readContainerHeader(file), container.header);
  const weights = container.tensor("weights");
  assert.equal(weights.byteOffset % 64, 0);
  assert.equal(weights.f32()[99], Math.fround(Math.sin(99)));
  assert.equal(weights.buffer, arena.memory.buffer);
  assert.throws(() => container.tensor("head"), InvalidContainerError);
});

test("damaged container files are refused with their path, and the arena keeps nothing", () => {
  using arena = SharedArena.create();
  const file = saveModel("damaged.fidelity");
  const whole = readFileSync(file);
  const refused = (change: () => void, kind: abstract new (...rest: never[]) => Error): void => {
    change();
    assert.throws(
      () => openContainer(file, arena),
      (error) => error instanceof kind && error.message.includes(file),
    );
    writeFileSync(file, whole);
  };
  const flipped = Buffer.from(whole);
  flipped[flipped.length - 9] ^= 16;
  refused(() => writeFileSync(file, flipped), ChecksumError);
  refused(() => truncateSync(file, whole.length - 1), TruncatedContainerError);
  refused(() => truncateSync(file, 100), TruncatedContainerError);
  refused(() => truncateSync(file, 0), TruncatedContainerError);
  refused(() => writeFileSync(file, "not a model at all, but a text of some length"), NotAContainerError);
  writeFileSync(file, flipped);
  using unverified = openContainer(file, arena, { verify: false });
  assert.notEqual(crc32c(unverified.tensor("weights").u8()), unverified.header.tensors[1].checksum);
  assert.equal(arena.liveCount, 1);
  assert.equal(statSync(file).size, unverified.header.fileSizeBytes);
});

// Runs statements in a process of its own, for what only another process can show.
function runChild(flags: readonly string[], statements: string): SpawnSyncReturns<string> {
  const source = `
    import { SharedArena } from ${moduleUrl("arena.ts")};
    import { loadFfi } from ${moduleUrl("ffi.node.ts")};
    import { mapFile } from ${moduleUrl("map.node.ts")};
    ${statements}`;
  return spawnSync(process.execPath, [...flags, "--input-type=module", "-e", source, path], { encoding: "utf8" });
}

function moduleUrl(name: string): string {
  return JSON.stringify(new URL(name, import.meta.url).href);
}

test("loading native calls is silent, and silences no other warning", onLinux, () => {
  const child = runChild([], `console.log(typeof loadFfi().ffi.dlopen); process.emitWarning("heard");`);
  assert.equal(child.stdout.trim(), "function");
  assert.match(child.stderr, /^\(node:\d+\) Warning: heard\n/);
});

test("where native calls are forbidden a file is read, and the reason is told", () => {
  const child = runChild(
    ["--permission", "--allow-fs-read=*"],
    `const file = mapFile(process.argv[1], SharedArena.create());
     console.log(file.how, file.region.u8()[100_002], file.reason);`,
  );
  assert.match(child.stdout, new RegExp(`^read ${contents[100_002]} \\S+`), child.stderr);
  if (process.platform === "linux") assert.match(child.stdout, /node:ffi cannot be used: .*restricted/);
});
