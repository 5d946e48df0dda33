// The block of a team: what the runtime assumes of the wasm target's control block, and that nothing overlaps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTROL, CONTROL_BYTES as TARGET_CONTROL_BYTES } from "../targets/wasm/team.ts";
import {
  CONTROL_BYTES,
  CONTROL_GENERATION_BYTES,
  calibrateSpins,
  failureText,
  generationWord,
  mailWord,
  reportFailure,
  teamBlockBytes,
  teamWords,
  WORD,
} from "./protocol.ts";

test("the control block is the wasm target's", () => {
  assert.equal(CONTROL_BYTES, TARGET_CONTROL_BYTES);
  assert.equal(CONTROL_GENERATION_BYTES, CONTROL.generation);
});

test("no two words of the block are the same, and members lie on cache lines of their own", () => {
  const members = [0, 1, 2, 3];
  const words = [
    ...Object.values(WORD).filter((word) => word !== WORD.firstMember),
    ...members.flatMap((member) => [generationWord(member), mailWord(member)]),
  ];
  assert.equal(new Set(words).size, words.length);
  assert.ok(words.filter((word) => word !== WORD.generation).every((word) => word >= CONTROL_BYTES / 4));
  assert.ok(members.every((member) => (generationWord(member) * 4) % 64 === 0));
  assert.ok(mailWord(3) * 4 < teamBlockBytes(4));
});

test("the first failure is kept, cut to its room", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const words = teamWords(memory, 4096, 2);
  reportFailure(words, 1, new RangeError("ü".repeat(1000)));
  reportFailure(words, 0, "later");
  assert.equal(words[WORD.failed], 2);
  assert.match(failureText(words), /^RangeError: ü{200,256}$/);
  assert.equal(words[generationWord(0)], 0, "the text did not run over");
});

test("spinning is bounded", () => {
  const spins = calibrateSpins();
  assert.ok(Number.isInteger(spins) && spins > 0);
});
