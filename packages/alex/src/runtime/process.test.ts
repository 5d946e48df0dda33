// What a process that uses a device does at its end, and what the environment sets. Each case is a process of its own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";

/** Runs a module's text with the device and the test programs in scope; gives what it printed. */
function runScript(body: string, env: Record<string, string> = {}) {
  const script = `
    const { createDevice } = await import("./device.node.ts");
    const { CHAIN_SIGNATURE, chainProgram, f32Type } = await import("./testing.ts");
    const device = createDevice({ threads: 2, maximumBytes: 2 ** 26 });
    const executable = await device.load(chainProgram("chain", 256, 3), CHAIN_SIGNATURE(256));
    const total = device.tensor(f32Type(1));
    executable.bind([device.tensor(f32Type(256))], [device.tensor(f32Type(256)), total]);
    ${body}
  `;
  const args = ["--input-type=module-typescript", "--eval", script];
  // The limit is for a process that hangs: it fails the test with a signal.
  const options = {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, ...env },
  } as const;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, options);
  assert.equal(signal, null, `${stdout}${stderr}`);
  return { status, stdout, stderr };
}

test("a process with an open device exits by itself, after synchronous and asynchronous runs", () => {
  const { status, stdout, stderr } = runScript(`
    executable.run();
    await executable.runAsync();
    console.log(total.f32()[0]);
  `);
  assert.equal(stdout, "640\n");
  assert.equal(stderr, "");
  assert.equal(status, 0);
});

test("a process waits for an asynchronous run, though nothing else keeps it alive", () => {
  const { status, stdout } = runScript(`
    for (let run = 0; run < 100; run++) await executable.runAsync();
    await device.close();
    console.log("closed");
  `);
  assert.equal(stdout, "closed\n");
  assert.equal(status, 0);
});

test("process.exit ends a run in progress", () => {
  const { status } = runScript(`
    const { trapProgram, signatureOf } = await import("./testing.ts");
    const long = await device.load(trapProgram("long", 64, 100_000_000), signatureOf(1, 1, 64));
    const input = device.tensor(f32Type(64));
    input.f32().fill(-1);
    long.bind([input], [device.tensor(f32Type(64))]);
    void long.runAsync();
    setTimeout(() => process.exit(7), 50);
  `);
  assert.equal(status, 7);
});

test("members keep compiled modules where the process does", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "fidelity-members-"));
  try {
    const { stdout } = runScript(
      `
      (await import("node:module")).enableCompileCache(process.env.MODULES);
      executable.run();
      await executable.runAsync();
      await device.close();
      console.log((await import("node:fs")).readdirSync(process.env.MODULES, { recursive: true }).length > 1);
    `,
      { MODULES: folder },
    );
    // This process itself has loaded nothing since; it would write at its exit anyway.
    assert.equal(stdout, "true\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("FIDELITY_DEBUG tells of compilations, runs and schedule items on standard error", () => {
  const body = `for (let run = 0; run < 100; run++) executable.run(); executable.free(); await device.close();`;
  const quiet = runScript(body);
  assert.equal(quiet.stderr, "");
  const compiles = runScript(body, { FIDELITY_DEBUG: "1" });
  assert.match(compiles.stderr, /^\[alex\] chain: 4 kernels, 4 schedule items, 6 buffers, arena 2048 B.*\n$/);
  const runs = runScript(body, { FIDELITY_DEBUG: "2" });
  assert.match(runs.stderr, /\[alex\] chain: 100 runs, min .* median .*\n$/);
  const items = runScript(body, { FIDELITY_DEBUG: "3" });
  for (const label of ["parallel first", "parallel second", "parallel add", "serial sum"]) {
    assert.match(items.stderr, new RegExp(`\\[alex\\] chain: ${label}: 100 runs`));
  }
  const programs = runScript(body, { FIDELITY_DEBUG: "4" });
  assert.ok(programs.stderr.split("\n").length > 40, "the program is printed");
});

test("FIDELITY_V8_FLAGS=off leaves the engine as it is, with the same results", () => {
  const body = `executable.run(); console.log(total.f32()[0]); await device.close();`;
  assert.equal(runScript(body, { FIDELITY_V8_FLAGS: "off" }).stdout, "640\n");
});
