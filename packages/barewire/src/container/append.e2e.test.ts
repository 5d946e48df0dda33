// An append that stops at any moment leaves the version before: files torn at every interesting byte, and writers that
// are killed at each of their system calls. And several processes that append to one file.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { writeContainerFile } from "../file.node.ts";
import { readContainer, readVersions, tensorBytes } from "./container.ts";
import type { ContainerHeader } from "./container.ts";
import { appendContainer } from "./writer.node.ts";

const folder = mkdtempSync(join(tmpdir(), "barewire-append-"));
after(() => rmSync(folder, { recursive: true }));

/** A child that hangs must not outlive its test; none comes near this. */
const CHILD_MS_MAX = 120_000;

const tensorOf = (value: number) => {
  const bytes = new Uint8Array(5000).fill(value);
  return { name: "w", component: "c", dtype: "u8", shape: [5000], bytes };
};

function saved(name: string, versions: number): string {
  const path = join(mkdtempSync(join(folder, "case-")), name);
  writeContainerFile(path, { config: {}, components: [{ id: "c", kind: "k" }], tensors: [tensorOf(1)] });
  for (let version = 2; version <= versions; version++) appendContainer(path, { tensors: [tensorOf(version)] });
  return path;
}

/** All is whole, and the newest version's tensor is its number. */
function newestOf(file: Uint8Array): ContainerHeader {
  const header = readContainer(file);
  assert.ok(tensorBytes(file, header.tensors[0]).every((byte) => byte === header.version));
  assert.equal(readVersions(file).length, header.version);
  return header;
}

for (const versions of [1, 2, 3]) {
  test(`version ${versions} is read whatever part of the next one came to the disk`, () => {
    const path = saved("torn", versions);
    const before = new Uint8Array(readFileSync(path));
    const appended = appendContainer(path, { tensors: [tensorOf(versions + 1)] });
    const after = new Uint8Array(readFileSync(path));
    const { root } = appended;
    const slot = versions % 2 === 1 ? 4096 : 0;
    const [tensor] = appended.tensors;
    const edges = [before.length, tensor.offset, tensor.offset + tensor.sizeBytes, root.headerOffset, after.length];
    const sizes = new Set(edges.flatMap((edge) => [edge - 1, edge, edge + 1, edge + 63]));
    for (let sizeBytes = before.length; sizeBytes < after.length; sizeBytes += 499) sizes.add(sizeBytes);
    for (const sizeBytes of sizes) {
      if (sizeBytes < before.length || sizeBytes > after.length) continue;
      // Nothing says that blocks come to the disk in order: with what was appended, with zeros and with rubbish there.
      for (const fill of [undefined, 0, 0xa5]) {
        const torn = after.slice(0, sizeBytes);
        torn.set(before.subarray(slot, slot + 64), slot);
        if (fill !== undefined) torn.fill(fill, before.length);
        assert.equal(newestOf(torn).version, versions, `${sizeBytes} bytes`);
      }
    }
    for (let written = 0; written <= 64; written++) {
      const torn = after.slice();
      torn.set(before.subarray(slot + written, slot + 64), slot + written);
      // A root ends with zeros, so it may be the new one before all of it is written.
      const isNew = torn.subarray(slot, slot + 64).every((byte, i) => byte === after[slot + i]);
      const { version } = newestOf(torn);
      assert.equal(version, isNew ? versions + 1 : versions, `${written} bytes of the root`);
      if (written % 16 !== 5) continue;
      writeFileSync(path, torn);
      assert.equal(appendContainer(path, { tensors: [tensorOf(version + 1)] }).version, version + 1);
      newestOf(readFileSync(path));
    }
  });
}

// Appends a version and dies at the given one of the calls that change a file; says what it has committed.
const WRITER = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const [path, fatal] = process.argv.slice(1);
  let left = Number(fatal);
  for (const name of ["writeSync", "fsyncSync", "ftruncateSync", "linkSync", "rmSync", "writeFileSync", "renameSync"]) {
    const call = fs[name];
    fs[name] = (...rest) => {
      if (--left === 0) process.kill(process.pid, "SIGKILL");
      return call(...rest);
    };
  }
  syncBuiltinESMExports();
  const { appendContainer } = await import(${JSON.stringify(new URL("writer.node.ts", import.meta.url).href)});
  const bytes = new Uint8Array(5000).fill(2);
  appendContainer(path, { tensors: [{ name: "w", component: "c", dtype: "u8", shape: [5000], bytes }] });
  console.log(2);
  console.log("calls", Number(fatal) - left);
`;

function runWriter(path: string, fatal: number): { readonly signal: string | null; readonly stdout: string } {
  const args = ["--input-type=module", "-e", WRITER, path, `${fatal}`];
  return spawnSync(process.execPath, args, { encoding: "utf8", timeout: CHILD_MS_MAX });
}

test("a writer that is killed at any of its calls leaves the last committed version, and the next goes on", () => {
  const calls = Number(/calls (\d+)/.exec(runWriter(saved("counted", 1), 1e9).stdout)?.[1]);
  assert.ok(calls >= 8 && calls < 20, `${calls} calls`);
  const path = saved("killed", 1);
  const fresh = readFileSync(path);
  for (let fatal = 1; fatal <= calls; fatal++) {
    writeFileSync(path, fresh);
    const { signal, stdout } = runWriter(path, fatal);
    assert.equal(signal, "SIGKILL");
    const committed = Math.max(1, ...stdout.split("\n").map(Number));
    const { version } = newestOf(readFileSync(path));
    // The root may be there before the writer could say so.
    assert.ok(version === committed || version === committed + 1, `call ${fatal}: ${version}, said ${committed}`);
    const next = appendContainer(path, { tensors: [tensorOf(version + 1)] });
    assert.equal(next.version, version + 1, "the dead writer's lock is taken over");
    newestOf(readFileSync(path));
    assert.equal(readdirSync(join(path, "..")).length, 1, "and nothing of it is left");
  }
});

// Appends ten versions, each with the number that it will have, as soon as nobody else does.
const CROWD = `
  const { ContainerWriter } = await import(${JSON.stringify(new URL("writer.node.ts", import.meta.url).href)});
  const path = process.argv[1];
  for (let done = 0; done < 10;) {
    try {
      using writer = ContainerWriter.append(path);
      const bytes = new Uint8Array(5000).fill(writer.base.version + 1);
      writer.add({ name: "w", component: "c", dtype: "u8", shape: [5000] }, bytes);
      writer.commit();
      done++;
    } catch (error) {
      if (error.name !== "ContainerBusyError") throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
`;

test("three processes append to one file, one at a time, and none of their versions is lost", async () => {
  const path = saved("crowd", 1);
  const children = Array.from({ length: 3 }, () =>
    spawn(process.execPath, ["--input-type=module", "-e", CROWD, path], { timeout: CHILD_MS_MAX }),
  );
  const said = await Promise.all(
    children.map(async ({ stderr }) => (await stderr.setEncoding("utf8").toArray()).join("")),
  );
  assert.deepEqual(said, ["", "", ""]);
  const file = readFileSync(path);
  assert.equal(newestOf(file).version, 31);
  for (const { version, tensors } of readVersions(file)) {
    assert.ok(tensorBytes(file, tensors[0]).every((byte) => byte === version));
  }
  assert.equal(readdirSync(join(path, "..")).length, 1);
});
