import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RegionError } from "../region.ts";
import {
  NotSharedMemoryError,
  SharedMemoryError,
  SharedMemoryExistsError,
  SharedMemoryFullError,
  SharedMemoryMissingError,
  SharedMemoryTooSmallError,
  SharedMemoryVersionError,
} from "./errors.ts";
import { isProcessAlive, ownIdentity, pidOf } from "./identity.node.ts";
import { removeName } from "./names.node.ts";
import { SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, SharedSegment, sweepSharedMemory } from "./segment.node.ts";

const skip = process.platform === "linux" ? false : "memory is shared by name on Linux only";
const PREFIX = `segment-test-${process.pid}`;

function pathOf(name: string): string {
  return join("/dev/shm", `barewire-${name}`);
}

/** An identity of a process that never was: number 1, started at a moment of its own. */
const DEAD = (1n << 40n) | 0xff_ffff_ffffn;

function leave(name: string, change: (longs: BigInt64Array, words: Int32Array) => void): void {
  const whole = new BigInt64Array((SEGMENT_HEADER_BYTES + 64) / 8);
  using segment = SharedSegment.create(`${PREFIX}-model`, 64);
  whole.set(new BigInt64Array(segment.buffer));
  whole.fill(0n, 8, SEGMENT_HEADER_BYTES / 8);
  change(whole, new Int32Array(whole.buffer));
  writeFileSync(pathOf(name), whole);
}

test("two openings of a name are the same memory, and the last one to close removes it", { skip }, () => {
  const name = `${PREFIX}-same`;
  const first = SharedSegment.create(name, 100, (segment) => segment.region().u8().fill(5));
  const second = SharedSegment.open(name, { sizeBytesMin: 100 });
  assert.equal(first.sizeBytes, 128);
  assert.equal(second.region().u8()[99], 5);
  first.region().i32()[3] = 77;
  assert.equal(second.region().i32()[3], 77);
  const region = first.region();
  const view = region.u8();
  first.close();
  first.close();
  assert.equal(view.length, 0, "a view of memory that is gone has no bytes");
  assert.throws(() => region.u8(), RegionError);
  assert.equal(first.isOpen, false);
  assert.ok(existsSync(pathOf(name)));
  second.close();
  assert.ok(!existsSync(pathOf(name)));
});

test("what cannot be is refused by name, and nothing is left behind", { skip }, () => {
  const name = `${PREFIX}-refused`;
  assert.throws(() => SharedSegment.open(name), SharedMemoryMissingError);
  assert.throws(() => SharedSegment.create("../etc/passwd", 64), SharedMemoryError);
  assert.throws(() => SharedSegment.create(".new-1", 64), SharedMemoryError);
  assert.throws(() => SharedSegment.create(name, 0), SharedMemoryError);
  assert.throws(() => SharedSegment.create(name, SEGMENT_BYTES_MAX + 1), SharedMemoryError);
  const { bsize, blocks } = statfsSync("/dev/shm");
  const moreThanThere = Math.min(SEGMENT_BYTES_MAX, bsize * blocks * 2);
  if (moreThanThere > bsize * blocks) {
    assert.throws(() => SharedSegment.create(name, moreThanThere), SharedMemoryFullError);
  }
  const failing = (): void => {
    throw new Error("init failed");
  };
  assert.throws(() => SharedSegment.create(name, 64, failing), /init failed/);
  using segment = SharedSegment.create(name, 64);
  assert.throws(() => SharedSegment.create(name, 64), SharedMemoryExistsError);
  assert.throws(() => SharedSegment.open(name, { sizeBytesMin: 65 }), SharedMemoryTooSmallError);
  segment.close();
  assert.throws(() => SharedSegment.open(name), SharedMemoryMissingError);
});

test("what others put under a name is refused, never mapped, and left alone", { skip }, () => {
  const name = `${PREFIX}-foreign`;
  try {
    writeFileSync(pathOf(name), "something else");
    assert.throws(() => SharedSegment.open(name), NotSharedMemoryError);
    assert.throws(() => SharedSegment.create(name, 64), SharedMemoryExistsError);
    writeFileSync(pathOf(name), new Uint8Array(8192));
    assert.throws(() => SharedSegment.open(name), NotSharedMemoryError);
    leave(name, (_, words) => (words[2] = 9));
    assert.throws(() => SharedSegment.open(name), SharedMemoryVersionError);
    leave(name, (longs) => {
      longs[2] = 1n << 40n;
      longs[8] = ownIdentity(); // in use, so that no other process sweeps it meanwhile
    });
    assert.throws(() => SharedSegment.open(name), NotSharedMemoryError);
    leave(name, (longs) => (longs[8] = ownIdentity()));
    const descriptor = openSync(pathOf(name), "r+");
    ftruncateSync(descriptor, 4096);
    closeSync(descriptor);
    assert.throws(() => SharedSegment.open(name), NotSharedMemoryError);
    rmSync(pathOf(name), { force: true });
    symlinkSync("/etc/hostname", pathOf(name));
    assert.throws(() => SharedSegment.open(name), NotSharedMemoryError);
  } finally {
    rmSync(pathOf(name), { force: true });
  }
});

test("what a crash left is removed by opening, by creating and by sweeping", { skip }, () => {
  const name = `${PREFIX}-left`;
  const dead = (longs: BigInt64Array): void => {
    longs[8] = DEAD;
  };
  leave(name, dead);
  assert.throws(() => SharedSegment.open(name), SharedMemoryMissingError);
  assert.ok(!existsSync(pathOf(name)));
  leave(name, dead);
  SharedSegment.create(name, 64).close();
  leave(name, dead);
  const unfinished = join("/dev/shm", `barewire-.new-${DEAD}-00ff`);
  writeFileSync(unfinished, "");
  using alive = SharedSegment.create(`${PREFIX}-alive`, 64);
  sweepSharedMemory();
  assert.ok(!existsSync(pathOf(name)) && !existsSync(unfinished));
  assert.ok(existsSync(pathOf(alive.name)));
});

test("a name is taken away from the file that was meant, and from no other", { skip }, () => {
  const name = `${PREFIX}-inode`;
  using segment = SharedSegment.create(name, 64);
  removeName(pathOf(name), 1n);
  assert.ok(existsSync(pathOf(segment.name)));
});

test("processes are told apart by number and start", { skip }, () => {
  const own = ownIdentity();
  assert.equal(pidOf(own), process.pid);
  assert.ok(isProcessAlive(own));
  assert.ok(!isProcessAlive(own + 1n), "the same number, started at another time");
  assert.ok(!isProcessAlive(DEAD));
  assert.ok(!isProcessAlive(0n));
});
