import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { SharedArena } from "../arena.ts";
import { FileError } from "../file.node.ts";
import { mapFile } from "../map.node.ts";
import { assertNoCopies, copyTotals } from "../memory/copies.ts";
import { ChecksumError, InvalidContainerError, TruncatedContainerError } from "./errors.ts";
import { fileSource } from "./file-source.node.ts";
import { ContainerReader } from "./reader.ts";
import { SourceError } from "./source-errors.ts";
import { memorySource, readRange } from "./source.ts";
import type { ByteSource } from "./source.ts";
import { containerToBytes } from "./write.ts";
import { appendContainer } from "./writer.node.ts";

const folder = mkdtempSync(join(tmpdir(), "barewire-reader-"));
after(() => rmSync(folder, { recursive: true }));

const path = join(folder, "model.fidelity");
const values = Uint8Array.from({ length: 1000 }, (_, i) => i * 3);
const tensorOf = (name: string, bytes: Uint8Array) => {
  return { name, component: "c", dtype: "u8", shape: [bytes.length], bytes };
};
writeFileSync(
  path,
  containerToBytes({ config: 5, components: [{ id: "c", kind: "k" }], tensors: [tensorOf("x", values)] }),
);
appendContainer(path, { tensors: [tensorOf("y", values.slice(500))] });

test("memory, mapped files and files that are read give the same, by one interface", async () => {
  using arena = SharedArena.create();
  using file = mapFile(path, arena);
  using read = fileSource(path);
  const sources: ByteSource[] = [memorySource(readFileSync(path)), memorySource(file.region.u8(), path), read];
  for (const source of sources) {
    const reader = await ContainerReader.open(source);
    assert.deepEqual([reader.header.version, reader.header.config], [2, 5]);
    const found = await reader.component("c");
    assert.deepEqual(Uint8Array.from(found.get("x")!), values);
    assert.deepEqual(Uint8Array.from(found.get("y")!), values.slice(500));
    assert.equal((await reader.versions()).length, 2);
    assert.equal((await ContainerReader.open(source, { version: 1 })).header.tensors.length, 1);
    await assert.rejects(reader.tensor("z"), InvalidContainerError);
    const room = new Uint8Array(1000);
    assert.equal(await reader.tensor("x", { into: () => room }), room);
    assert.deepEqual(room, values);
    await assert.rejects(reader.tensor("x", { into: () => new Uint8Array(999) }), /room for a tensor/);
    const seen: number[] = [];
    await reader.verify({ onProgress: (doneBytes, totalBytes) => void seen.push(doneBytes / totalBytes) });
    assert.equal(seen.at(-1), 1);
    const stopped = new Error("stopped");
    await assert.rejects(reader.verify({ signal: AbortSignal.abort(stopped) }), stopped);
    await assert.rejects(source.readInto([{ offset: source.sizeBytes, into: new Uint8Array(1) }]), SourceError);
  }
});

test("what lies in memory is used in place: no copy is made, and it is verified once", async () => {
  using arena = SharedArena.create();
  using file = mapFile(path, arena);
  const reader = await assertNoCopies(() => ContainerReader.open(memorySource(file.region.u8(), path)));
  const before = copyTotals();
  const bytes = await reader.tensor("x");
  assert.deepEqual(copyTotals(), before);
  assert.equal(bytes.byteOffset, file.region.byteOffset + reader.entry("x").offset);
  assert.equal((bytes as Uint8Array).buffer, arena.memory.buffer);

  const memory = Uint8Array.from(readFileSync(path));
  const over = await ContainerReader.open(memorySource(memory));
  const { offset } = over.entry("x");
  memory[offset] ^= 1;
  await assert.rejects(over.tensor("x"), (error) => error instanceof ChecksumError && error.offset === offset);
  memory[offset] ^= 1;
  assert.equal((await over.tensor("x")).byteOffset, memory.byteOffset + offset);
  memory[offset] ^= 1;
  await over.tensor("x");
  await assert.rejects(over.verify(), ChecksumError);
});

test("sources that are no container, or end too early, are refused", async () => {
  const bytes = readFileSync(path);
  for (const length of [0, 10, 64, 5000, 8192, bytes.length - 1]) {
    await assert.rejects(ContainerReader.open(memorySource(bytes.subarray(0, length))), TruncatedContainerError);
  }
  assert.throws(() => fileSource(join(folder, "missing")), FileError);
  assert.throws(() => fileSource(folder), FileError);
});

test("a range that no memory can hold is refused by name", async () => {
  const source: ByteSource = { name: "huge", sizeBytes: 2 ** 52, readInto: async () => {} };
  await assert.rejects(readRange(source, { offset: 0, sizeBytes: 2 ** 51 }), /no memory for a part of a source/);
});
