// The device with real threads and real programs: results, reuse, traps, memory, and the end of it all.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import v8 from "node:v8";
import { OutOfMemoryError } from "@fidelity/barewire";
import type { Program } from "@fidelity/core";
import type { Signature } from "./binding.ts";
import { CpuDevice } from "./device.ts";
import { BindError, DeviceBusyError, DeviceClosedError, DeviceOptionError, ProgramTrapError } from "./errors.ts";
import { spawnWorkerThread } from "./team.node.ts";
import type { MemberSpawner } from "./team.ts";
import { CHAIN_SIGNATURE, chainProgram, decayProgram, f32Type, signatureOf, trapProgram } from "./testing.ts";

const LENGTH = 256;
/** Fewer for a team larger than a small machine: its members take turns. */
const runsOf = (threads: number): number => (threads > 2 ? 2_000 : 10_000);

function makeDevice(threads: number, maximumBytes = 2 ** 26): CpuDevice {
  const compileGraph = (): Program => assert.fail("these tests load programs");
  return new CpuDevice({ threads, maximumBytes, compileGraph, spawn: spawnWorkerThread });
}

/** A chain program with its tensors; `check` sets the input, and compares the outputs after `run`. */
async function makeChain(device: CpuDevice, name: string, factor: number, length = LENGTH) {
  const executable = await device.load(chainProgram(name, length, factor), CHAIN_SIGNATURE(length));
  const [input, output, total] = [
    device.tensor(f32Type(length)),
    device.tensor(f32Type(length)),
    device.tensor(f32Type(1)),
  ];
  executable.bind([input], [output, total]);
  const data = input.f32();
  data.forEach((_, i) => (data[i] = i % 17));
  // Small integers and halves: float32 holds them exactly, whatever the order.
  const expected = data.map((value) => (value * factor + 1) * 2 + 0.5);
  const expectedTotal = expected.reduce((sum, value) => sum + value, 0);
  const views = { output: output.f32(), total: total.f32() };
  return {
    executable,
    clear(): void {
      views.output.fill(-1);
      views.total.fill(-1);
    },
    check(): void {
      assert.deepEqual(views.output, expected);
      assert.equal(views.total[0], expectedTotal);
    },
    /** The cheap check for many runs. */
    checkTotal(): void {
      if (views.total[0] !== expectedTotal) assert.fail(`total ${views.total[0]}, expected ${expectedTotal}`);
      views.total[0] = -1;
    },
    free(): void {
      executable.free();
      for (const tensor of [input, output, total]) tensor.free();
    },
  };
}

for (const threads of [1, 2, 4]) {
  test(`${threads} threads: ${runsOf(threads)} synchronous and asynchronous runs give the right results`, async () => {
    const device = makeDevice(threads);
    const baseBytes = device.arena.liveBytes;
    const chain = await makeChain(device, "chain", 3);
    for (let run = 0; run < runsOf(threads); run++) {
      chain.executable.run();
      chain.checkTotal();
    }
    chain.clear();
    chain.executable.run();
    chain.check();
    for (let run = 0; run < runsOf(threads); run++) {
      await chain.executable.runAsync();
      chain.checkTotal();
    }
    chain.clear();
    await chain.executable.runAsync();
    chain.check();
    chain.free();
    assert.equal(device.arena.liveCount, 2, "the team's block and the programs' arena are all that is left");
    assert.ok(device.arena.liveBytes > baseBytes);
    await device.close();
    assert.equal(device.arena.liveBytes, 0);
  });
}

test("two executables alternate, one larger than the other, synchronously and asynchronously", async () => {
  const device = makeDevice(2);
  const small = await makeChain(device, "small", 3);
  small.executable.run();
  small.check();
  const large = await makeChain(device, "large", 5, 64 * LENGTH);
  for (let run = 0; run < 50; run++) {
    for (const chain of [small, large]) {
      chain.clear();
      if (run % 3 === 0) await chain.executable.runAsync();
      else chain.executable.run();
      chain.check();
    }
  }
  small.clear();
  large.clear();
  const queued = [small, large, small, large].map((chain) => chain.executable.runAsync());
  assert.throws(() => small.executable.run(), DeviceBusyError);
  assert.throws(() => small.executable.free(), DeviceBusyError);
  await Promise.all(queued);
  small.check();
  large.check();
  await device.close();
});

test("a program that is loaded while another one runs may enlarge the arena", async () => {
  const device = makeDevice(2);
  const small = await makeChain(device, "small", 3);
  small.clear();
  const running = Promise.all(Array.from({ length: 20 }, () => small.executable.runAsync()));
  const large = await makeChain(device, "large", 5, 64 * LENGTH);
  await running;
  small.check();
  const largeRun = large.executable.runAsync();
  await largeRun;
  large.check();
  await device.close();
});

test("a donated result is its parameter, updated in place by every run", async () => {
  const device = makeDevice(2);
  const signature: Signature = { ...signatureOf(1, 1, LENGTH), donations: [{ parameter: 0, result: 0 }] };
  const executable = await device.load(decayProgram("decay", LENGTH), signature);
  const state = device.tensor(f32Type(LENGTH));
  executable.bind([state], [state]);
  for (let run = 0; run < 3; run++) executable.run();
  assert.deepEqual(state.f32(), new Float32Array(LENGTH).fill(1.75));
  await executable.runAsync();
  assert.deepEqual(state.f32(), new Float32Array(LENGTH).fill(1.875));
  await device.close();
});

const CLEAR_WINDOWS = 5;

/**
 * Whether calls leave less than half an object on the heap. Windows in which code is compiled or a collection takes
 * place are blurred, on a busy machine most of them: a few clear ones tell.
 */
function allocatesNothing(call: () => void): boolean {
  const calls = 2_000;
  let clear = 0;
  for (let window = 0; window < 100 && clear < CLEAR_WINDOWS; window++) {
    const before = v8.getHeapStatistics().used_heap_size;
    for (let i = 0; i < calls; i++) call();
    const perCallBytes = (v8.getHeapStatistics().used_heap_size - before) / calls;
    // The smallest object takes 16 bytes; reading the statistics takes a few hundred in all.
    if (perCallBytes >= 0 && perCallBytes < 8) clear++;
  }
  return clear === CLEAR_WINDOWS;
}

for (const threads of [1, 2]) {
  test(`${threads} threads: synchronous runs allocate nothing`, async () => {
    const device = makeDevice(threads);
    const { executable } = await makeChain(device, "chain", 3);
    const kept: object[] = [{}];
    assert.ok(!allocatesNothing(() => void (kept[0] = { kept })), "an object is seen");
    assert.ok(allocatesNothing(() => executable.run()));
    await device.close();
  });
}

test("a device that is prepared has its workers before there is a program, once", async () => {
  const members: number[] = [];
  const spawn: MemberSpawner = (init, onExit) => {
    members.push(init.member);
    return spawnWorkerThread(init, onExit);
  };
  const device = new CpuDevice({ threads: 3, maximumBytes: 2 ** 26, compileGraph: () => assert.fail(), spawn });
  assert.deepEqual(members, []);
  device.prepare();
  device.prepare();
  assert.deepEqual(members, [1, 2]);
  const chain = await makeChain(device, "chain", 3);
  chain.executable.run();
  chain.check();
  assert.deepEqual(members, [1, 2]);
  await device.close();
  device.prepare();
  assert.deepEqual(members, [1, 2]);
});

test("a worker thread that ends fails its run, and is replaced for the next", async () => {
  const members: { readonly end: () => Promise<void>; readonly onExit: (reason: string) => void }[] = [];
  const spawn: MemberSpawner = (init, onExit) => {
    const handle = spawnWorkerThread(init, onExit);
    members.push({ end: handle.end, onExit });
    return handle;
  };
  const device = new CpuDevice({ threads: 2, maximumBytes: 2 ** 26, compileGraph: () => assert.fail(), spawn });
  const chunks = 64;
  const executable = await device.load(trapProgram("slow", chunks, 200_000), signatureOf(1, 1, chunks));
  const [input, output] = [device.tensor(f32Type(chunks)), device.tensor(f32Type(chunks))];
  executable.bind([input], [output]);
  input.f32().fill(-1);
  const chain = await makeChain(device, "chain", 3);
  await chain.executable.runAsync();
  const running = executable.runAsync();
  await setImmediate();
  await members[1].end();
  members[1].onExit("killed by the test");
  await assert.rejects(running, (error) => error instanceof ProgramTrapError && /killed by the test/.test(error.trap));
  chain.clear();
  await chain.executable.runAsync();
  chain.check();
  assert.equal(members.length, 3);
  await device.close();
});

for (const threads of [1, 2, 4]) {
  test(`${threads} threads: a trap is reported by name and the device goes on`, async () => {
    const device = makeDevice(threads);
    const chunks = 64;
    const executable = await device.load(trapProgram("poke", chunks, 50), signatureOf(1, 1, chunks));
    const [input, output] = [device.tensor(f32Type(chunks)), device.tensor(f32Type(chunks))];
    executable.bind([input], [output]);
    const chain = await makeChain(device, "chain", 3);
    const isTrap = (error: unknown): boolean => {
      assert.ok(error instanceof ProgramTrapError, String(error));
      assert.equal(error.program, "poke");
      assert.ok(error.member >= 0 && error.member < threads);
      assert.match(error.trap, /out of bounds/);
      return true;
    };
    for (let fatal = 0; fatal < chunks; fatal += 7) {
      input.f32()[0] = fatal;
      assert.throws(() => executable.run(), isTrap);
      chain.clear();
      chain.executable.run();
      chain.check();
      input.f32()[0] = fatal;
      await assert.rejects(() => executable.runAsync(), isTrap);
      chain.clear();
      await chain.executable.runAsync();
      chain.check();
    }
    executable.run();
    assert.deepEqual(output.f32(), new Float32Array(chunks).fill(1));
    await device.close();
  });
}

test("bind refuses what does not fit, by name", async () => {
  const device = makeDevice(1);
  const other = makeDevice(1);
  const executable = await device.load(chainProgram("chain", LENGTH, 3), CHAIN_SIGNATURE(LENGTH));
  const [input, output, total] = [
    device.tensor(f32Type(LENGTH)),
    device.tensor(f32Type(LENGTH)),
    device.tensor(f32Type(1)),
  ];
  assert.throws(() => executable.run(), BindError, "nothing is bound");
  await assert.rejects(() => executable.runAsync(), BindError);
  assert.throws(() => executable.bind([], [output, total]), /number of parameters/);
  assert.throws(() => executable.bind([total], [output, total]), /wrong type/);
  assert.throws(() => executable.bind([other.tensor(f32Type(LENGTH))], [output, total]), /another device/);
  assert.throws(() => executable.bind([input], [input, total]), /shares memory/);
  const part = device.tensorAt(output.region.sub(64, 4), f32Type(1));
  assert.throws(() => executable.bind([input], [output, part]), /shares memory/);
  const mapped = device.tensorAt(output.region.asReadonly(), f32Type(LENGTH));
  assert.throws(() => executable.bind([input], [mapped, total]), /read-only/);
  executable.bind([mapped], [input, total]);
  executable.run();
  executable.bind([input], [output, total]);
  input.free();
  input.free();
  assert.throws(() => executable.run(), /freed/);
  assert.throws(() => executable.bind([input], [output, total]), /freed/);
  const donations = [{ parameter: 0, result: 1 }];
  const signature = { ...CHAIN_SIGNATURE(LENGTH), donations };
  await assert.rejects(() => device.load(chainProgram("chain", LENGTH, 3), signature), /one type/);
  const twice = { ...signatureOf(2, 1, LENGTH), donations: [0, 1].map((parameter) => ({ parameter, result: 0 })) };
  await assert.rejects(() => device.load(decayProgram("decay", LENGTH), twice), /donated twice/);
  await device.close();
  await other.close();
});

test("tensors are zero, aligned and the device's; a region elsewhere or unaligned is no tensor", async () => {
  const device = makeDevice(1);
  const first = device.tensor({ dtype: "q8", shape: [3, 5] });
  first.bytes().fill(7);
  first.free();
  const second = device.tensor({ dtype: "ternary", shape: [16, 16] });
  assert.equal(second.address % 64, 0);
  assert.ok(second.bytes().every((byte) => byte === 0));
  assert.throws(() => first.bytes(), /freed/);
  assert.throws(() => device.tensorAt(second.region.sub(4, 4), f32Type(1)), BindError);
  assert.throws(() => device.tensorAt(second.region, f32Type(1000)), BindError);
  const other = makeDevice(1);
  assert.throws(() => device.tensorAt(other.tensor(f32Type(1)).region, f32Type(1)), /device's memory/);
  assert.throws(() => device.tensor(f32Type(2 ** 26)), OutOfMemoryError);
  await device.close();
  await other.close();
});

test("programs see memory that was grown after they were loaded", async () => {
  const device = makeDevice(2, 2 ** 28);
  const signature: Signature = { ...signatureOf(1, 1, LENGTH), donations: [{ parameter: 0, result: 0 }] };
  const executable = await device.load(decayProgram("decay", LENGTH), signature);
  const early = device.tensor(f32Type(LENGTH));
  executable.bind([early], [early]);
  executable.run();
  const late = Array.from({ length: 3 }, () => device.tensor(f32Type(2 ** 23)));
  const state = device.tensor(f32Type(LENGTH));
  executable.bind([state], [state]);
  executable.run();
  await executable.runAsync();
  assert.deepEqual(state.f32(), new Float32Array(LENGTH).fill(1.5));
  assert.deepEqual(early.f32(), new Float32Array(LENGTH).fill(1));
  for (const tensor of late) tensor.free();
  await device.close();
});

test("a closed device, and what it made, is dead by name; closing twice is harmless", async () => {
  const device = makeDevice(2);
  const chain = await makeChain(device, "chain", 3);
  const lastRun = chain.executable.runAsync();
  await device.close();
  await lastRun;
  await device.close();
  assert.throws(() => chain.executable.run(), DeviceClosedError);
  await assert.rejects(() => chain.executable.runAsync(), DeviceClosedError);
  assert.throws(() => device.tensor(f32Type(1)), DeviceClosedError);
  await assert.rejects(() => device.load(decayProgram("decay", LENGTH), signatureOf(1, 1, LENGTH)), DeviceClosedError);
  chain.free();
});

test("impossible options are refused", () => {
  for (const threads of [0, -1, 1.5, NaN, 257]) assert.throws(() => makeDevice(threads), DeviceOptionError);
});

test("a program that no memory of the device could hold is refused before it is compiled", async () => {
  const device = makeDevice(1);
  const tooLong = 2 ** 25; // floats: 128 MiB, where the device has 64
  const load = device.load(chainProgram("too long", tooLong, 2), CHAIN_SIGNATURE(tooLong));
  await assert.rejects(load, (error) => error instanceof OutOfMemoryError && error.needBytes >= 4 * tooLong);
  await device.close();
});
