// Programs made ahead of time: used without tools, refused when they are not of this compiler or for this processor.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { matmul, ProgramMissingError, softmax, tensorType, trace } from "@fidelity/core";
import type { Graph } from "@fidelity/core";
import { FileError } from "@fidelity/barewire/node";
import { compileGraph } from "../../compile.ts";
import { CpuDevice } from "../../runtime/device.ts";
import { graphCode } from "../../runtime/graph-code.ts";
import { spawnWorkerThread } from "../../runtime/team.node.ts";
import { hostMachine } from "./machine.node.ts";
import { machineOf, vectorsOf } from "./machine.ts";
import type { NativeMachine } from "./machine.ts";
import { canRun, PrebuiltError, PrebuiltPrograms, PrebuiltWriter } from "./prebuilt.node.ts";
import { whyNoNative } from "./testing.node.ts";
import { ToolMissingError, findToolchain } from "./toolchain.node.ts";

const folder = mkdtempSync(path.join(os.tmpdir(), "fidelity-prebuilt-"));
after(() => rmSync(folder, { recursive: true }));
const missing = new ToolMissingError(["llc"], "nowhere");

function example(columns: number): Graph {
  const types = [tensorType("f32", [4, 8]), tensorType("f32", [8, columns])] as const;
  return trace("example", (x, w) => softmax(matmul(x, w)), types).graph;
}

/** Runs the example with what is in the folder and nothing else; gives the sum of the results. */
async function totalOf(programs: PrebuiltPrograms, machine: NativeMachine, columns: number): Promise<number> {
  const device = new CpuDevice({
    threads: 1,
    maximumBytes: 2 ** 22,
    target: programs.target(missing),
    compileGraph: (graph, options) => compileGraph(graph, { ...options, target: vectorsOf(machine) }),
    stores: [programs],
    spawn: spawnWorkerThread,
  });
  try {
    const executable = await device.compile(example(columns));
    const [x, w] = executable.parameterTypes.map((type) => device.tensor(type));
    const y = device.tensor(executable.resultTypes[0]);
    executable.bind([x, w], [y]);
    executable.run();
    return y.f32().reduce((sum, value) => sum + value, 0);
  } finally {
    await device.close();
  }
}

test("what a processor can run is what it has all features of", () => {
  const [v3, v4] = ["x86-64-v3", "x86-64-v4+avx512vnni"].map(machineOf);
  assert.deepEqual([canRun(v4, v3), canRun(v3, v4), canRun(v3, machineOf("aarch64"))], [true, false, false]);
});

describe("a folder of programs", { skip: whyNoNative() }, () => {
  const host = hostMachine();
  const base = machineOf(host.name.split("+")[0]);
  const foreign = machineOf(host.architecture === "aarch64" ? "x86-64-v3" : "aarch64");

  before(async () => {
    const writer = new PrebuiltWriter(folder, findToolchain());
    for (const machine of [foreign, base]) await writer.add(example(3), {}, machine);
    assert.throws(() => new PrebuiltPrograms(folder, host), FileError, "it is of no use before it is finished");
    const { machines, programs } = writer.finish();
    assert.deepEqual(machines, [foreign.name, base.name]);
    assert.ok(programs.every(({ name, sizeBytes }) => name === "example" && sizeBytes > 0));
  });

  test("programs in it run without tools, and others are missed by name", async () => {
    const programs = new PrebuiltPrograms(folder, host);
    assert.equal(programs.machine.name, base.name);
    assert.ok(Math.abs((await totalOf(programs, host, 3)) - 4) < 1e-5);
    await assert.rejects(totalOf(programs, host, 5), (error: unknown) => {
      assert.ok(error instanceof ProgramMissingError);
      assert.match(error.message, /example/);
      return true;
    });
  });

  test("a library that was damaged is not used", async () => {
    const programs = new PrebuiltPrograms(folder, host);
    const directory = path.join(folder, base.name);
    const library = path.join(directory, readdirSync(directory).find((name) => name.endsWith(".so")) ?? "");
    const bytes = readFileSync(library);
    const code = graphCode(example(3), {})!;
    rmSync(library);
    assert.equal(await programs.find(code), undefined);
    writeFileSync(library, Buffer.concat([bytes.subarray(0, -1), Buffer.of(7)]));
    assert.equal(await programs.find(code), undefined);
    rmSync(library);
    writeFileSync(library, bytes);
    assert.ok(await programs.find(code));
  });

  test("a folder for other processors, of another compiler, or without a manifest is refused", () => {
    assert.throws(() => new PrebuiltPrograms(folder, machineOf("riscv64")), PrebuiltError);
    const manifest = path.join(folder, "manifest.json");
    const text = readFileSync(manifest, "utf8");
    for (const wrong of ["{", "null", "{}", text.replace(/"compiler": "./, '"compiler": "-')]) {
      writeFileSync(manifest, wrong);
      assert.throws(() => new PrebuiltPrograms(folder, host), PrebuiltError);
    }
    writeFileSync(manifest, text);
    assert.throws(() => new PrebuiltPrograms(path.join(folder, "none"), host), FileError);
  });

  test("building again leaves nothing of what was there", async () => {
    const writer = new PrebuiltWriter(folder, findToolchain());
    await writer.add(example(4), {}, base);
    writer.finish();
    assert.equal(readdirSync(path.join(folder, base.name)).length, 4);
    assert.ok(Math.abs((await totalOf(new PrebuiltPrograms(folder, host), host, 4)) - 4) < 1e-5);
  });
});
