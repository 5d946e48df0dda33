// Arenas for files: what huge pages are to back has room, however a file is cut.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { appendContainer, ContainerWriter } from "@fidelity/barewire/node";
import { withContainer, withMappedFile } from "./parameter-file.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-parameters-"));
after(() => rmSync(folder, { recursive: true }));

const LARGE_BYTES = 2 ** 21 + 2 ** 18;

test("files of every size have an arena that they can be mapped into", () => {
  for (const sizeBytes of [1, 2 ** 16 + 1, 2 ** 21 - 1, 2 ** 21, LARGE_BYTES]) {
    const path = join(folder, `${sizeBytes}.bin`);
    writeFileSync(path, new Uint8Array(sizeBytes).fill(7));
    withMappedFile(path, ({ region }) => assert.ok(region.u8().every((byte) => byte === 7)));
  }
});

test("a container whose tensors lie far apart has one, too", () => {
  const path = join(folder, "versions.fid");
  const spec = (i: number) => ({
    name: `a.${i}`,
    component: "a",
    dtype: "f32" as const,
    shape: [LARGE_BYTES / 4],
    sizeBytes: LARGE_BYTES,
  });
  using writer = ContainerWriter.create(path, { metadata: {}, config: {} });
  writer.component({ id: "a", kind: "linear" });
  for (let i = 0; i < 7; i++) writer.add(spec(i), new Uint8Array(LARGE_BYTES).fill(i));
  writer.commit();
  for (const i of [1, 3, 5])
    appendContainer(path, { tensors: [{ ...spec(i), bytes: new Uint8Array(LARGE_BYTES).fill(10 + i) }] });
  withContainer(path, (container) => {
    for (let i = 0; i < 7; i++) {
      const expected = i % 2 === 1 ? 10 + i : i;
      assert.ok(
        container
          .tensor(`a.${i}`)
          .u8()
          .every((byte) => byte === expected),
        `tensor ${i}`,
      );
    }
  });
});
