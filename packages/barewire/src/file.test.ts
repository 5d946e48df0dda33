import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { SpawnSyncReturns } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { FileError, makeFolder, writeContainerFile, writeFileAtomic, writeFileGradually } from "./file.node.ts";
import { readContainer } from "./container/container.ts";

const folder = mkdtempSync(join(tmpdir(), "barewire-file-"));
after(() => rmSync(folder, { recursive: true }));

const isLinux = process.platform === "linux";
const onLinux = { skip: isLinux ? false : "needs Linux" };

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function freshFolder(): string {
  return mkdtempSync(join(folder, "case-"));
}

function fileErrorOf(action: () => unknown): FileError {
  try {
    action();
  } catch (error) {
    if (error instanceof FileError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

// Runs statements in another process that has the writer, for what only an own process can have: limits, mounts, death.
function runChild(shell: string, statements: string, args: readonly string[] = []): SpawnSyncReturns<string> {
  const module = JSON.stringify(new URL("file.node.ts", import.meta.url).href);
  const source = `import { writeFileAtomic } from ${module}; import fs from "node:fs"; ${statements}`;
  const command = [shell, "child", process.execPath, "--input-type=module", "-e", source, ...args];
  return spawnSync("sh", ["-c", ...command], { encoding: "utf8" });
}

/** Pieces around the blocks of 2 MiB that files are written by: empty, small, whole, and beyond. */
function largePieces(): Uint8Array[] {
  const sizes = [5, 0, 2 ** 21 - 5, 2 ** 21, 3, 2 ** 22 + 7, 1, 2 ** 21 - 11, 100];
  return sizes.map((size, piece) => new Uint8Array(size).fill(piece + 1));
}

test("pieces of any size come to the file in order", async () => {
  const inside = freshFolder();
  const whole = Buffer.concat(largePieces());
  assert.equal(writeFileAtomic(join(inside, "atomic"), largePieces()), whole.length);
  assert.equal(await writeFileGradually(join(inside, "gradual"), largePieces()), whole.length);
  for (const name of ["atomic", "gradual"]) assert.ok(whole.equals(readFileSync(join(inside, name))), name);
});

test("a file is replaced as a whole, keeps its mode, and leaves nothing beside it", () => {
  const inside = freshFolder();
  const path = join(inside, "model.bin");
  assert.equal(writeFileAtomic(path, [bytesOf("old")]), 3);
  chmodSync(path, 0o600);
  assert.equal(writeFileAtomic(path, [bytesOf("new "), new Uint8Array(0), bytesOf("text")]), 8);
  assert.equal(readFileSync(path, "utf8"), "new text");
  if (process.platform !== "win32") assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(inside), ["model.bin"]);
});

test("a link stays a link, and its target is replaced", onLinux, () => {
  const inside = freshFolder();
  writeFileSync(join(inside, "real.bin"), "old");
  symlinkSync("real.bin", join(inside, "latest.bin"));
  writeFileAtomic(join(inside, "latest.bin"), [bytesOf("new")]);
  assert.equal(readFileSync(join(inside, "real.bin"), "utf8"), "new");
  assert.deepEqual(readdirSync(inside).toSorted(), ["latest.bin", "real.bin"]);
});

test("a source that fails leaves the old file and nothing else", () => {
  const inside = freshFolder();
  const path = join(inside, "model.bin");
  writeFileSync(path, "old");
  const failing = function* (): Generator<Uint8Array> {
    yield new Uint8Array(1000);
    throw new RangeError("the source broke");
  };
  assert.throws(() => writeFileAtomic(path, failing()), RangeError);
  assert.equal(readFileSync(path, "utf8"), "old");
  assert.deepEqual(readdirSync(inside), ["model.bin"]);
});

test("a container is streamed to a file", () => {
  const path = join(freshFolder(), "model.fidelity");
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const tensors = [{ name: "w", component: "c", dtype: "i8", shape: [2, 2], bytes: () => bytes }];
  const sizeBytes = writeContainerFile(path, { config: {}, components: [{ id: "c", kind: "linear" }], tensors });
  assert.equal(statSync(path).size, sizeBytes);
  assert.equal(readContainer(readFileSync(path)).tensors[0].name, "w");
});

test("paths that cannot be written are refused in words", () => {
  const inside = freshFolder();
  writeFileSync(join(inside, "file"), "");
  mkdirSync(join(inside, "sub"));
  const codeOf = (path: string): string => fileErrorOf(() => writeFileAtomic(path, [])).code;
  assert.equal(codeOf(join(inside, "missing", "model.bin")), "ENOENT");
  assert.equal(codeOf(join(inside, "sub")), "EISDIR");
  assert.equal(codeOf(join(inside, "file", "model.bin")), "ENOTDIR");
  const error = fileErrorOf(() => writeFileAtomic(join(inside, "sub"), []));
  assert.match(
    error.message,
    /cannot write a file: the path is a folder\n {2}where: {4}.*sub\n {2}try: {6}give the path/,
  );
  assert.equal(existsSync(join(inside, "missing")), false);
});

test("folders are made where there are none, and what cannot be made is refused by its reason", () => {
  const inside = freshFolder();
  const deep = join(inside, "a", "b");
  assert.deepEqual([makeFolder(deep), makeFolder(deep), statSync(deep).isDirectory()], [true, false, true]);
  writeFileSync(join(inside, "file"), "");
  assert.equal(fileErrorOf(() => makeFolder(join(inside, "file", "sub"))).code, "ENOTDIR");
  assert.equal(fileErrorOf(() => makeFolder(join(inside, "file"))).code, "EEXIST");
  // Node has "no such folder" for a file system that takes none.
  if (isLinux) assert.match(fileErrorOf(() => makeFolder("/sys/none/at/all")).code, /^(EACCES|EPERM|EROFS)$/);
});

test("what is read is not told to be written", () => {
  const hints = (["read", "write"] as const).map((operation) => new FileError(operation, "x", "ENOENT").message);
  assert.match(hints[0], /try: {6}check the path$/);
  assert.match(hints[1], /try: {6}create the folder before writing to it$/);
});

test("a folder that cannot be written to is refused, for root too", onLinux, () => {
  // Mode bits do not stop root; sysfs takes new files from nobody.
  const error = fileErrorOf(() => writeFileAtomic("/sys/model.bin", [bytesOf("x")]));
  assert.match(error.code, /^(EACCES|EPERM|EROFS)$/);
  assert.match(error.message, /permission is denied|does not permit|read-only/);
});

test("a full disk is named, and devices are written to and not replaced", onLinux, () => {
  const error = fileErrorOf(() => writeFileAtomic("/dev/full", [bytesOf("x")]));
  assert.equal(error.code, "ENOSPC");
  assert.match(error.message, /the disk is full/);
  assert.ok(statSync("/dev/full").isCharacterDevice());
});

test("a write that is refused half-way leaves the old file and nothing else", onLinux, () => {
  const inside = freshFolder();
  const path = join(inside, "model.bin");
  writeFileSync(path, "old");
  const child = runChild(
    'ulimit -f 16; exec "$@"',
    `try { writeFileAtomic(process.argv[1], [new Uint8Array(4096), new Uint8Array(1 << 20)]); }
     catch (error) { console.log(error.name, error.code); }`,
    [path],
  );
  assert.equal(child.stdout.trim(), "FileError EFBIG", child.stderr);
  assert.equal(readFileSync(path, "utf8"), "old");
  assert.deepEqual(readdirSync(inside), ["model.bin"]);
});

const canMount = isLinux && spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", folder]).status === 0;

test("a disk that fills up while writing keeps the old file", { skip: canMount ? false : "may not mount here" }, () => {
  const inside = freshFolder();
  const child = runChild(
    `exec unshare -m sh -c 'mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"' "${inside}" "$@"`,
    `const path = process.argv[1] + "/model.bin";
     writeFileAtomic(path, [Buffer.from("old")]);
     try { writeFileAtomic(path, [new Uint8Array(4096), new Uint8Array(1 << 20)]); }
     catch (error) { console.log(error.name, error.code, fs.readFileSync(path, "utf8")); }
     console.log(fs.readdirSync(process.argv[1]));`,
    [inside],
  );
  assert.equal(child.stdout.trim(), "FileError ENOSPC old\n[ 'model.bin' ]", child.stderr);
});

test("what a killed writer left is taken away by the next one", onLinux, () => {
  const inside = freshFolder();
  const path = join(inside, "model.bin");
  writeFileSync(path, "old");
  const child = runChild(
    'exec "$@"',
    `function* pieces() { yield new Uint8Array(1000); process.kill(process.pid, "SIGKILL"); yield new Uint8Array(9); }
     writeFileAtomic(process.argv[1], pieces());`,
    [path],
  );
  assert.equal(child.signal, "SIGKILL", child.stderr);
  assert.equal(readFileSync(path, "utf8"), "old");
  assert.equal(readdirSync(inside).length, 2, "the temporary file of the dead process");
  writeFileAtomic(path, [bytesOf("new")]);
  assert.deepEqual(readdirSync(inside), ["model.bin"]);
});
