import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import fc from "fast-check";

import { SharedArena } from "../arena.ts";
import { crc32c } from "../crc32c.ts";
import { FileError, writeContainerFile } from "../file.node.ts";
import { assertNoCopies } from "../memory/copies.ts";
import { describeMap } from "../layout/describe.ts";
import { changedComponents, readContainer, readHeader, tensorBytes } from "./container.ts";
import {
  ChecksumError,
  ContainerBusyError,
  ContainerConflictError,
  InvalidContainerError,
  MissingVersionError,
  OldContainerError,
} from "./errors.ts";
import { containerMap } from "./memory-map.ts";
import { openContainer, readContainerHeader, readContainerVersions } from "./open.node.ts";
import { ContainerWriter, appendContainer, compactContainer } from "./writer.node.ts";
import type { TensorInput } from "./write.ts";

const folder = mkdtempSync(join(tmpdir(), "barewire-writer-"));
after(() => rmSync(folder, { recursive: true }));

let count = 0;
const freshPath = (): string => join(mkdtempSync(join(folder, "case-")), `model-${count++}.fidelity`);
const expectedHow = process.platform === "linux" ? "mapped" : "read";

function tensor(name: string, component: string, sizeBytes: number, value: number): TensorInput {
  return { name, component, dtype: "u8", shape: [sizeBytes], bytes: new Uint8Array(sizeBytes).fill(value) };
}

/** A file of one version: components "a" (a.x, a.y) and "b" (b.x). */
function saved(): string {
  const path = freshPath();
  writeContainerFile(path, {
    metadata: { step: 1 },
    config: { width: 1 },
    components: ["a", "b"].map((id) => ({ id, kind: "linear" })),
    tensors: [tensor("a.x", "a", 100, 1), tensor("a.y", "a", 3, 2), tensor("b.x", "b", 70, 3)],
  });
  return path;
}

const summary = (file: Uint8Array, version?: number): Record<string, number> => {
  const { tensors } = readHeader(file, file.length, version);
  return Object.fromEntries(tensors.map((entry) => [entry.name, tensorBytes(file, entry)[0]]));
};

test("tensors of several blocks of a file are whole, those of a version behind them, too", () => {
  const path = freshPath();
  const sizes = [2 ** 21 + 1, 70, 2 ** 22];
  using writer = ContainerWriter.create(path, { metadata: {}, config: {} });
  writer.component({ id: "a", kind: "linear" });
  for (const [i, size] of sizes.entries()) writer.add(tensor(`a.${i}`, "a", size, i), new Uint8Array(size).fill(i));
  writer.commit();
  appendContainer(path, { tensors: [tensor("a.1", "a", 2 ** 21 - 1, 9)] });
  using arena = SharedArena.create();
  using opened = openContainer(path, arena);
  const values = [0, 9, 2];
  for (const [i, value] of values.entries())
    assert.ok(
      opened
        .tensor(`a.${i}`)
        .u8()
        .every((byte) => byte === value),
    );
  assert.equal(readContainerVersions(path).length, 2);
});

test("a new version of a component goes behind the old one, and both are there", () => {
  const path = saved();
  const before = readFileSync(path);
  const header = appendContainer(path, {
    metadata: { step: 2 },
    components: [{ id: "a", kind: "gated" }],
    tensors: [tensor("a.x", "a", 50, 9)],
  });
  const after = readFileSync(path);
  assert.deepEqual(readContainer(after), header);
  assert.equal(header.version, 2);
  assert.deepEqual(summary(after), { "b.x": 3, "a.x": 9 }, "a.y went with the old component");
  assert.deepEqual(summary(after, 1), { "a.x": 1, "a.y": 2, "b.x": 3 });
  assert.deepEqual(header.config, { width: 1 });
  const untouched = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes.subarray(8192, before.length));
  assert.deepEqual(untouched(after), untouched(before));
  const versions = readContainerVersions(path);
  assert.deepEqual(
    versions.map(({ version, metadata }) => [version, metadata["step"]]),
    [
      [1, 1],
      [2, 2],
    ],
  );
  assert.deepEqual(readContainerHeader(path, 1), versions[0]);
  assert.throws(() => readContainerHeader(path, 3), MissingVersionError);
  assert.deepEqual(changedComponents(versions[0], versions[1]), ["a"]);
  assert.deepEqual(readdirSync(join(path, "..")).length, 1, "no lock and no temporary file is left");
});

test("single tensors are replaced, added and removed, and components too", () => {
  const path = saved();
  appendContainer(path, { tensors: [tensor("a.y", "a", 4, 8)] });
  assert.deepEqual(summary(readFileSync(path)), { "a.x": 1, "a.y": 8, "b.x": 3 });
  appendContainer(path, { components: [{ id: "c", kind: "k" }], tensors: [tensor("c.x", "c", 4, 7)], removed: ["b"] });
  assert.deepEqual(summary(readFileSync(path)), { "a.x": 1, "a.y": 8, "c.x": 7 });
  using writer = ContainerWriter.append(path);
  writer.remove("a.x");
  writer.config = { width: 2 };
  assert.deepEqual(writer.commit().config, { width: 2 });
  assert.deepEqual(summary(readFileSync(path)), { "a.y": 8, "c.x": 7 });
  assert.equal(readContainerVersions(path).length, 4);
});

test("tensors are streamed, with sizes and shapes that are known at their end", async () => {
  const path = freshPath();
  const rows = Float32Array.from({ length: 12 }, (_, i) => i);
  {
    using writer = ContainerWriter.create(path, { config: { a: 1 } });
    writer.component({ id: "body", kind: "linear" });
    const open = writer.begin({ name: "w", component: "body", dtype: "f32" });
    for (let row = 0; row < 3; row++) open.write(new Uint8Array(rows.buffer, 16 * row, 16));
    assert.equal(existsSync(path), false, "nothing is there before the commit");
    assert.throws(() => writer.begin({ name: "v", component: "body", dtype: "u8" }), /begun and not ended/);
    assert.throws(() => writer.commit(), /begun and not ended/);
    assert.throws(() => open.end(), /has no shape/);
    open.end([3, 4]);
    assert.throws(() => open.write(new Uint8Array(1)), /after its end/);
    const slow = async function* (): AsyncGenerator<Uint8Array> {
      yield Uint8Array.of(1, 2);
      await Promise.resolve();
      yield Uint8Array.of(3);
    };
    await writer.addStream({ name: "s", component: "body", dtype: "u8", shape: [3], sizeBytes: 3 }, slow());
    writer.commit();
    assert.throws(() => writer.commit(), /the writer is done/);
  }
  const file = readFileSync(path);
  const { tensors } = readContainer(file);
  assert.deepEqual(Uint8Array.from(tensorBytes(file, tensors[0])), new Uint8Array(rows.buffer));
  assert.deepEqual([...tensorBytes(file, tensors[1])], [1, 2, 3]);
});

test("what is refused or not committed leaves the file as it was, and nothing beside it", () => {
  const path = saved();
  const before = readFileSync(path);
  const spec = { name: "n", component: "a", dtype: "u8", shape: [4] };
  const attempts: [(writer: ContainerWriter) => void, RegExp | undefined][] = [
    [(writer) => void writer.add(spec, new Uint8Array(4)), undefined],
    [(writer) => void writer.add({ ...spec, sizeBytes: 3 }, new Uint8Array(4)), /another size/],
    [(writer) => void writer.add({ ...spec, sizeBytes: 5 }, [new Uint8Array(4)]), /another size/],
    [(writer) => (writer.add(spec, new Uint8Array(3)), void writer.commit()), /4 bytes for u8/],
    [(writer) => (writer.add({ ...spec, component: "z" }, new Uint8Array(4)), void writer.commit()), /no component/],
    [(writer) => ((writer.config = 1n), void writer.commit()), /no JSON form/],
  ];
  for (const [attempt, expected] of attempts) {
    for (const begin of [() => ContainerWriter.append(path), () => ContainerWriter.create(path, { config: {} })]) {
      const run = (): void => {
        using writer = begin();
        if (writer.base === undefined) writer.component({ id: "a", kind: "k" });
        attempt(writer);
      };
      if (expected === undefined) run();
      else assert.throws(run, (error) => error instanceof InvalidContainerError && expected.test(error.message));
      assert.deepEqual(readFileSync(path), before);
      assert.equal(readdirSync(join(path, "..")).length, 1);
    }
  }
});

test("two writers at once: the second is refused by name, and may come later", () => {
  const path = saved();
  {
    using first = ContainerWriter.append(path);
    assert.throws(
      () => ContainerWriter.append(path),
      (error) => error instanceof ContainerBusyError && error.message.includes(`process ${process.pid}`),
    );
    assert.throws(() => compactContainer(path), ContainerBusyError);
    first.remove("a.x");
    first.commit();
  }
  appendContainer(path, { removed: ["a"] });
  assert.equal(readContainerHeader(path).version, 3);
});

test("a lock of another host, or of nobody, is left alone and named", () => {
  const path = saved();
  const lock = join(path, "..", `.${path.slice(path.lastIndexOf("/") + 1)}.lock`);
  for (const [text, got] of [
    ["elsewhere 12345678901234 0123456789abcdef\n", /on elsewhere/],
    ["?", /no writer of this version/],
  ] as const) {
    writeFileSync(lock, text);
    assert.throws(
      () => ContainerWriter.append(path),
      (error) => error instanceof ContainerBusyError && got.test(error.message) && error.message.includes(lock),
    );
    assert.equal(readFileSync(lock, "utf8"), text);
  }
});

test("a file that someone else replaced or wrote is noticed before the commit", () => {
  const path = saved();
  const whole = readFileSync(path);
  const attempt = (disturb: () => void): void => {
    using writer = ContainerWriter.append(path);
    writer.remove("a.x");
    disturb();
    assert.throws(() => writer.commit(), ContainerConflictError);
  };
  attempt(() => writeContainerFile(path, { config: {}, components: [], tensors: [] }));
  assert.deepEqual(readContainer(readFileSync(path)).tensors, []);
  writeFileSync(path, whole);
  attempt(() => {
    const other = join(path, "..", "other");
    writeFileSync(other, whole);
    appendContainer(other, { metadata: { step: 7 } });
    writeFileSync(path, readFileSync(other)); // in place, without the lock
    rmSync(other);
  });
});

test("format 1 is not appended to, and compaction makes it format 2", () => {
  const path = saved();
  const old = format1Of();
  writeFileSync(path, old);
  assert.throws(() => ContainerWriter.append(path), OldContainerError);
  const header = compactContainer(path);
  assert.deepEqual([header.formatVersion, header.version, header.tensors[0].name], [2, 1, "t"]);
  assert.equal(appendContainer(path, { metadata: { now: true } }).version, 2);
});

test("compaction drops what older versions left, keeps version and mode, and verifies on the way", () => {
  const path = saved();
  chmodSync(path, 0o640);
  for (let i = 0; i < 5; i++) appendContainer(path, { tensors: [tensor("b.x", "b", 70_000, i)] });
  const before = readFileSync(path);
  const seen: number[] = [];
  const header = compactContainer(path, { onProgress: (doneBytes) => seen.push(doneBytes) });
  assert.deepEqual([header.version, header.previous, header.metadata], [6, undefined, { step: 1 }]);
  assert.equal(seen.at(-1), 100 + 3 + 70_000);
  const file = readFileSync(path);
  assert.ok(file.length < before.length / 3);
  assert.deepEqual(summary(file), summary(before));
  assert.deepEqual(readContainer(file), header);
  if (process.platform !== "win32") assert.equal(statSync(path).mode & 0o777, 0o640);
  assert.equal(appendContainer(path, {}).version, 7);

  const damaged = readFileSync(path);
  damaged[header.tensors[0].offset] ^= 1;
  writeFileSync(path, damaged);
  assert.throws(() => compactContainer(path), ChecksumError);
  assert.deepEqual(readFileSync(path), damaged);
  const stopped = new Error("stopped");
  assert.throws(() => compactContainer(path, { signal: AbortSignal.abort(stopped) }), stopped);
  assert.equal(readdirSync(join(path, "..")).length, 1);
});

test("missing files and folders are refused in words", () => {
  const isFileError = (code: string) => (error: unknown) => error instanceof FileError && error.code === code;
  assert.throws(() => ContainerWriter.append(join(folder, "missing")), isFileError("ENOENT"));
  assert.throws(() => ContainerWriter.create(folder, { config: {} }), isFileError("EISDIR"));
  assert.throws(() => ContainerWriter.create(join(folder, "missing", "x"), { config: {} }), isFileError("ENOENT"));
  assert.throws(() => compactContainer(join(folder, "missing")), isFileError("ENOENT"));
});

test("a reader goes on reading its version while others append and compact, and opens the new one without a copy", () => {
  const path = saved();
  using arena = SharedArena.create();
  const check = (): void => {
    using old = openContainer(path, arena);
    assert.equal(old.refresh(), undefined);
    appendContainer(path, { components: [{ id: "a", kind: "linear" }], tensors: [tensor("a.x", "a", 200_000, 9)] });
    assert.equal(old.tensor("a.x").u8()[99], 1);
    {
      using next = old.refresh();
      assert.deepEqual([next?.header.version, next?.how], [2, expectedHow]);
      assert.equal(next?.tensor("a.x").u8()[199_999], 9);
      assert.deepEqual(changedComponents(old.header, next!.header), ["a"]);
      assert.equal(next?.refresh(), undefined);
    }
    using part = old.refresh({ components: ["b"] });
    assert.equal(part?.tensor("b.x").u8()[69], 3);
    assert.throws(() => part?.tensor("a.x"), InvalidContainerError);
    compactContainer(path);
    using compacted = part?.refresh({ components: ["a"] });
    assert.equal(compacted?.tensor("a.x").u8()[0], 9);
    assert.deepEqual([old.tensor("a.x").u8()[0], old.tensor("a.y").u8()[2], old.tensor("b.x").u8()[0]], [1, 2, 3]);
  };
  if (process.platform === "linux") assertNoCopies(check);
  else check();
  assert.equal(arena.liveCount, 0);
});

test("only what is wanted is mapped, and any version can be opened", () => {
  const path = saved();
  for (let i = 1; i <= 4; i++) appendContainer(path, { tensors: [tensor("b.x", "b", 2 ** 20, i)] });
  using arena = SharedArena.create({ maximumBytes: 2 ** 21 });
  for (let version = 2; version <= 5; version++) {
    using container = openContainer(path, arena, { version });
    assert.equal(container.tensor("b.x").u8()[2 ** 20 - 1], version - 1);
    assert.equal(container.tensor("a.x").u8()[0], 1);
  }
  assert.throws(() => openContainer(path, arena, { components: ["z"] }), /component "z"/);
  const empty = freshPath();
  writeContainerFile(empty, { config: 0, components: [{ id: "a", kind: "k" }], tensors: [tensor("none", "a", 0, 0)] });
  {
    using container = openContainer(empty, arena);
    assert.deepEqual([container.tensor("none").sizeBytes, container.how], [0, expectedHow]);
  }
  assert.equal(arena.liveCount, 0);
});

test("checksums are verified on opening, when first asked for, or on demand with progress", () => {
  const path = saved();
  const damaged = readFileSync(path);
  const [, y] = readHeader(damaged).tensors;
  damaged[y.offset] ^= 1;
  writeFileSync(path, damaged);
  using arena = SharedArena.create();
  const isDamage = (error: unknown): boolean =>
    error instanceof ChecksumError && error.tensor === "a.y" && error.message.includes(`3 bytes from ${y.offset} on`);
  assert.throws(() => openContainer(path, arena), isDamage);
  using lazy = openContainer(path, arena, { verify: "lazy" });
  assert.equal(lazy.tensor("a.x").u8()[0], 1);
  assert.throws(() => lazy.tensor("a.y"), isDamage);
  using unverified = openContainer(path, arena, { verify: false });
  unverified.tensor("a.y");
  const seen: [number, number][] = [];
  const onProgress = (doneBytes: number, totalBytes: number): void => void seen.push([doneBytes, totalBytes]);
  assert.throws(() => unverified.verify({ onProgress }), isDamage);
  assert.deepEqual(seen, [
    [100, 173],
    [103, 173],
  ]);
  const stopped = new Error("stopped");
  assert.throws(() => unverified.verify({ names: ["b.x"], signal: AbortSignal.abort(stopped) }), stopped);
  unverified.verify({ names: ["b.x"] });
});

test("a container's map has every byte once: roots, headers, tensors of all versions and padding", () => {
  const path = saved();
  appendContainer(path, { tensors: [tensor("b.x", "b", 10, 4)] });
  const map = containerMap(readContainerVersions(path));
  let end = 0;
  for (const { offsetBytes, sizeBytes } of map.cells) {
    assert.equal(offsetBytes, end);
    end += sizeBytes;
  }
  assert.equal(end, statSync(path).size);
  const text = describeMap(map);
  assert.match(text, /^container of 2 versions: /);
  assert.match(text, /^ +0 +64 +root A +root$/m);
  assert.match(text, /^ +\d+ +70 +b\.x +u8\[70\], of version 1$/m);
  assert.match(text, /^ +\d+ +10 +b\.x +u8\[10\]$/m);
  assert.match(text, /padding$/m);
});

test("any sequence of appends and compactions gives what a list of maps gives", () => {
  const id = fc.constantFrom("a", "b", "c");
  const step = fc.oneof(
    fc.record({ kind: fc.constant("replace" as const), id, sizes: fc.array(fc.nat(200), { maxLength: 3 }) }),
    fc.record({ kind: fc.constant("add" as const), id, sizes: fc.array(fc.nat(200), { minLength: 1, maxLength: 2 }) }),
    fc.record({ kind: fc.constant("remove" as const), id, sizes: fc.constant<number[]>([]) }),
    fc.record({ kind: fc.constant("compact" as const), id, sizes: fc.constant<number[]>([]) }),
  );
  const property = fc.property(fc.array(step, { maxLength: 6 }), (steps) => {
    const path = freshPath();
    writeContainerFile(path, {
      config: 0,
      components: ["a", "b", "c"].map((name) => ({ id: name, kind: "k" })),
      tensors: [],
    });
    let versions = [new Map<string, number[]>()]; // of each version: tensor to its bytes
    let first = 1;
    for (const [i, { kind, id: component, sizes }] of steps.entries()) {
      if (kind === "compact") {
        compactContainer(path);
        first += versions.length - 1;
        versions = versions.slice(-1);
        continue;
      }
      const next = new Map(versions.at(-1));
      const tensors = sizes.map((size, k) => tensor(`${component}.${k}`, component, size, i + 1));
      // An id that was removed comes back with its component.
      if (kind !== "add") for (const name of [...next.keys()]) if (name.startsWith(component)) next.delete(name);
      for (const { name, bytes } of tensors) next.set(name, [...(bytes as Uint8Array)]);
      const isThere = readContainerHeader(path).components.some((part) => part.id === component);
      const components = kind === "replace" || (kind === "add" && !isThere) ? [{ id: component, kind: "k" }] : [];
      appendContainer(path, { components, tensors, removed: kind === "remove" ? [component] : [] });
      versions.push(next);
    }
    const file = readFileSync(path);
    const headers = readContainerVersions(path);
    assert.deepEqual(
      headers.map(({ version }) => version),
      versions.map((_, i) => first + i),
    );
    for (const [i, { tensors }] of headers.entries()) {
      const found = tensors.map((entry) => [entry.name, [...tensorBytes(file, entry)]] as const);
      assert.deepEqual(new Map(found), versions[i]);
    }
  });
  fc.assert(property, { numRuns: 25 });
});

// Format 1: one tensor "t" of a byte, made by hand.
function format1Of(): Uint8Array {
  const text = (value: string): number[] => [value.length, ...new TextEncoder().encode(value)];
  const header = [
    ...[0, ...text("null"), 1, ...text("c"), ...text("k")],
    ...[1, ...text("t"), ...text("c"), ...text("u8"), 1, 1, ...text("dense")],
    ...[0, 0x10, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x51, 0x53, 0x7d, 0x52],
  ];
  const bytes = new Uint8Array(4097);
  bytes.set(new TextEncoder().encode("FIDELITY"));
  bytes.set(header, 24);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 1, true);
  view.setUint32(12, crc32c(bytes.subarray(24, 24 + header.length)), true);
  view.setUint32(16, header.length, true);
  return bytes;
}
