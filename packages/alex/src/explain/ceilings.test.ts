// The programs of the ceilings are valid, and those that move data move all of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ceilingName, ceilingProgram, createDevice } from "../index.node.ts";
import type { Ceiling } from "../index.node.ts";
import { tensorType, verifyProgram } from "@fidelity/core";

const KIB = 1024;
const ceilings: readonly Ceiling[] = [
  { kind: "f32" },
  { kind: "int8" },
  { kind: "tiles" },
  { kind: "read", sizeBytes: 100 * KIB },
  { kind: "triad", sizeBytes: 96 * KIB },
];

for (const ceiling of ceilings) {
  test(`the program of ${ceilingName(ceiling)} is valid`, () => {
    const { program, work } = ceilingProgram(ceiling);
    verifyProgram(program);
    assert.ok(work > 0);
    if ("sizeBytes" in ceiling) assert.ok(work >= ceiling.sizeBytes && work < ceiling.sizeBytes * 1.1);
  });
}

test("a triad is b + 3 c everywhere, and a sum reads every vector once", async () => {
  const device = createDevice({ threads: 2 });
  const run = async (ceiling: Ceiling) => {
    const { program } = ceilingProgram(ceiling);
    const types = program.buffers.map(({ sizeBytes }) => tensorType("i32", [sizeBytes / 4]));
    const executable = await device.load(program, { parameterTypes: types, resultTypes: [], donations: [] });
    const tensors = types.map((type) => device.tensor(type));
    executable.bind(tensors, []);
    return { executable, tensors };
  };
  const triad = await run({ kind: "triad", sizeBytes: 96 * KIB });
  const [a, b, c] = triad.tensors.map((tensor) => tensor.f32());
  for (let i = 0; i < b.length; i++) [b[i], c[i]] = [i, i % 17];
  triad.executable.run();
  assert.ok(a.every((value, i) => value === i + 3 * (i % 17)));

  const read = await run({ kind: "read", sizeBytes: 100 * KIB });
  const [source, sums] = read.tensors.map((tensor) => tensor.i32());
  source.fill(1);
  read.executable.run();
  assert.equal(
    sums.reduce((sum, value) => sum + value, 0),
    source.length,
  );
  await device.close();
});
