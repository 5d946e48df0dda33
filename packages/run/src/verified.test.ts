// Files that were verified before: known by their state, which every change moves.

import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { rememberVerified, verifiableState, wasVerified } from "./verified.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-verified-"));
const { FIDELITY_CACHE_DIR: cacheBefore, FIDELITY_CACHE: switchBefore } = process.env;
after(() => {
  rmSync(folder, { recursive: true });
  restore("FIDELITY_CACHE_DIR", cacheBefore);
  restore("FIDELITY_CACHE", switchBefore);
});

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

test("a large file that has settled is remembered as it is, and no longer when it has changed", () => {
  process.env.FIDELITY_CACHE_DIR = join(folder, "cache");
  delete process.env.FIDELITY_CACHE;
  const path = join(folder, "model.fid");
  writeFileSync(path, "");
  truncateSync(path, 33 * 2 ** 20);
  const later = Date.now() + 60_000;
  assert.equal(verifiableState(path, Date.now() - 60_000), undefined, "what has just changed may change again");
  const state = verifiableState(path, later)!;
  assert.equal(verifiableState(path, later), state);
  assert.equal(wasVerified(state), false);
  rememberVerified(state);
  assert.equal(wasVerified(state), true);
  truncateSync(path, 34 * 2 ** 20);
  const changed = verifiableState(path, later)!;
  assert.notEqual(changed, state);
  assert.equal(wasVerified(changed), false);
  process.env.FIDELITY_CACHE = "off";
  assert.equal(verifiableState(path, later), undefined);
  delete process.env.FIDELITY_CACHE;
});

test("small files and what is not there have no state", () => {
  const path = join(folder, "small.fid");
  const descriptor = openSync(path, "w");
  writeSync(descriptor, "small");
  closeSync(descriptor);
  assert.equal(verifiableState(path, Date.now() + 60_000), undefined);
  assert.equal(verifiableState(join(folder, "nothing"), Date.now() + 60_000), undefined);
});
