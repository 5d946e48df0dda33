// Names that this user may not have, or that another user left. Root may open everything, so that it becomes another
// user for a moment; anyone else takes its own rights away. A process of its own, because users are a process's.

import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, rmSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { SharedMemoryExistsError, SharedMemoryFullError, SharedMemoryPermissionError } from "./errors.ts";
import { identityOf } from "./proc.ts";
import { SEGMENT_HEADER_BYTES, SharedSegment, sweepSharedMemory } from "./segment.node.ts";

const skip = process.platform === "linux" ? false : "memory is shared by name on Linux only";
const PREFIX = `users-test-${process.pid}`;
const NOBODY = 65_534;
const USERS_LONG = 8;
const LONGS = (SEGMENT_HEADER_BYTES + 64) / 8;
/** An identity of a process that never was. */
const DEAD = identityOf(1, 0xff_ffff_ffffn);

const paths = new Set<string>();
after(() => {
  for (const path of paths) rmSync(path, { force: true });
});

/** The identity of this thread, as a segment has it. */
function ownIdentity(): bigint {
  using segment = SharedSegment.create(`${PREFIX}-identity`, 64);
  return new BigInt64Array(segment.buffer)[USERS_LONG];
}

/** A segment as its users have left it, every one of them with the identity that `users` gives. */
function leave(name: string, users: (user: number) => bigint): string {
  const whole = new BigInt64Array(LONGS);
  {
    using segment = SharedSegment.create(`${PREFIX}-model`, 64);
    whole.set(new BigInt64Array(segment.buffer));
  }
  for (let long = USERS_LONG; long < SEGMENT_HEADER_BYTES / 8; long++) whole[long] = users(long - USERS_LONG);
  const path = `/dev/shm/barewire-${name}`;
  paths.add(path);
  writeFileSync(path, whole, { mode: 0o600 });
  return path;
}

/** Does it as someone who has no right to the file. */
function asStranger(path: string, action: () => void): void {
  const isRoot = process.geteuid!() === 0;
  if (isRoot) process.seteuid!(NOBODY);
  else chmodSync(path, 0);
  try {
    action();
  } finally {
    if (isRoot) process.seteuid!(0);
    else chmodSync(path, 0o600);
  }
}

test("a name of another user is refused by name, and never taken away", { skip }, () => {
  const name = `${PREFIX}-stranger`;
  const own = ownIdentity();
  const path = leave(name, () => own); // in use, so that no other test sweeps it meanwhile
  asStranger(path, () => {
    assert.throws(() => SharedSegment.open(name), SharedMemoryPermissionError);
    assert.throws(() => SharedSegment.create(name, 64), SharedMemoryExistsError);
    sweepSharedMemory();
    assert.ok(existsSync(path));
    SharedSegment.create(`${name}-own`, 64).close();
  });
  assert.ok(existsSync(path));
  leave(name, () => DEAD);
  SharedSegment.create(name, 64).close();
  assert.ok(!existsSync(path), "its own user replaces what was left");
});

test("what another user left is not swept by one who could", { skip }, () => {
  const path = leave(`${PREFIX}-foreign`, (user) => (user === 0 ? DEAD : 0n));
  if (process.geteuid!() === 0) chownSync(path, NOBODY, NOBODY);
  else chmodSync(path, 0);
  sweepSharedMemory();
  assert.ok(existsSync(path));
});

test("memory that has as many users as it takes is refused; the place of a dead one is free", { skip }, () => {
  const name = `${PREFIX}-full`;
  const own = ownIdentity();
  const path = leave(name, () => own);
  assert.throws(() => SharedSegment.open(name), SharedMemoryFullError);
  leave(name, (user) => (user === 300 ? DEAD : own));
  using segment = SharedSegment.open(name);
  assert.equal(new BigInt64Array(segment.buffer)[USERS_LONG + 300], own);
  assert.throws(() => SharedSegment.open(name), SharedMemoryFullError);
  assert.ok(existsSync(path));
});
