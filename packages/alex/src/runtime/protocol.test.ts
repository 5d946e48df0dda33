// The block of a team: that nothing overlaps, that commands are read whole, and who may fail a run.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTROL, CONTROL_BYTES, EPOCH_MAX, STAGE_ENDED } from "../targets/team.ts";
import {
  calibrateSpins,
  COMMAND,
  COMMAND_WORDS,
  failRun,
  failureText,
  leftWord,
  mailWord,
  postWord,
  publishCommand,
  readCommand,
  reportFailure,
  runStatus,
  teamBlockBytes,
  teamState,
  teamWords,
  WORD,
  writeCommand,
} from "./protocol.ts";

function makeWords(threads: number): Int32Array {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return teamWords(memory, 4096, threads);
}

test("no two words of the block are the same, and members lie on cache lines of their own", () => {
  const members = [0, 1, 2, 3];
  const words = [
    ...Object.values(WORD).filter((word) => word !== WORD.firstMember && word !== WORD.epoch),
    ...Object.values(COMMAND).map((place) => WORD.epoch + place),
    ...members.flatMap((member) => [postWord(member), mailWord(member), leftWord(member)]),
  ];
  assert.equal(new Set(words).size, words.length);
  assert.equal(Object.values(COMMAND).length, COMMAND_WORDS);
  assert.ok(words.filter((word) => word !== WORD.ended).every((word) => word >= CONTROL_BYTES / 4));
  assert.ok(members.every((member) => (postWord(member) * 4) % 64 === 0 && (leftWord(member) * 4) % 64 === 0));
  assert.ok(leftWord(3) * 4 < teamBlockBytes(4));
  assert.ok(Object.values(CONTROL).every((offset) => offset % 64 === 0));
});

test("a command that is being written is none; one that was written is read as it is", () => {
  const words = makeWords(2);
  const into = new Int32Array(COMMAND_WORDS);
  assert.equal(readCommand(words, into), false, "there was no run yet");
  writeCommand(words, 3, 0, 2, 64, 128, -64);
  assert.equal(readCommand(words, into), false);
  publishCommand(words, 9);
  assert.equal(readCommand(words, into), true);
  assert.deepEqual([...into], [9, 3, 0, 2, 64, 128, -64]);
  writeCommand(words, 4, 1, 2, 0, 0, 0);
  assert.equal(readCommand(words, into), false);
});

test("only the run in progress can fail, and only once", () => {
  const words = makeWords(2);
  const state = teamState(words);
  const running = (epoch: number): bigint => (BigInt(epoch) << 48n) | (5n << 32n) | 0x20003n;
  for (const epoch of [1, EPOCH_MAX]) {
    state[0] = running(epoch);
    assert.equal(runStatus(words), "running");
    assert.equal(failRun(words, epoch - 1), false, "a run that is long over");
    assert.equal(state[0], running(epoch));
    assert.equal(failRun(words, epoch), true);
    assert.equal(runStatus(words), "failed");
    assert.equal(failRun(words, epoch), false, "another was first");
    state[0] = (BigInt(epoch) << 48n) | (BigInt(STAGE_ENDED) << 32n);
    assert.equal(runStatus(words), "ended");
    assert.equal(failRun(words, epoch), false, "what is done is done");
    assert.equal(runStatus(words), "ended");
  }
});

test("a failure is kept, cut to its room", () => {
  const words = makeWords(2);
  reportFailure(words, 1, new RangeError("ü".repeat(1000)));
  assert.equal(words[WORD.failed], 2);
  assert.match(failureText(words), /^RangeError: ü{200,256}$/);
  assert.equal(words[postWord(0)], 0, "the text did not run over");
});

test("spinning is bounded", () => {
  const spins = calibrateSpins();
  assert.ok(Number.isInteger(spins) && spins > 0);
});
