// Schemas on the command line: checked, compared, written as types, drawn as memory.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { fidelity, Scratch } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());

const good = scratch.write(
  "good.bare",
  "type Level enum { LOW HIGH }\ntype Reading struct { time: u64 level: Level }\n",
);
const later = scratch.write(
  "later.bare",
  "type Level enum { LOW HIGH TOP }\ntype Reading struct { time: u32 level: Level }\n",
);
const bad = scratch.write("bad.bare", "type Reading struct {\n  time: u64,\n}\n");
const old = scratch.write("old.bare", "struct Reading { time: u64 }\n");

describe("schema", { concurrency: 2 }, () => {
  test("check counts the types of a good schema", async () => {
    assert.deepEqual(await fidelity("schema", "check", good), {
      code: 0,
      stdout: `${good}: 2 types, no mistakes\n`,
      stderr: "",
    });
    const { stdout } = await fidelity("schema", "check", good, "--json");
    assert.deepEqual(JSON.parse(stdout), { file: good, types: ["Level", "Reading"] });
  });

  test("check shows where a bad schema breaks a rule", async () => {
    const { code, stdout, stderr } = await fidelity("schema", "check", bad);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.ok(stderr.includes(`${bad}:2:12\n    2 |   time: u64,\n      |            ^\n`), stderr);
    assert.match(stderr, /^ {2}try: /m);
  });

  test("check reads older drafts when asked", async () => {
    assert.equal((await fidelity("schema", "check", old)).code, 1);
    assert.equal((await fidelity("schema", "check", "--legacy", old)).code, 0);
  });

  test("diff says what breaks whom, and fails if anything does", async () => {
    const { code, stdout } = await fidelity("schema", "diff", good, later);
    assert.equal(code, 1);
    assert.equal(
      stdout,
      [
        "Level.TOP: the member of the enum was added: old programs refuse its tag 2",
        "  breaks old programs reading new messages",
        "Reading.time: the width changed from u64 to u32: other bytes",
        "  breaks new programs reading old messages, and old programs reading new messages",
        "2 changes, 2 breaking\n",
      ].join("\n"),
    );
    assert.deepEqual(await fidelity("schema", "diff", good, good), { code: 0, stdout: "no changes\n", stderr: "" });
  });

  test("types prints TypeScript", async () => {
    const { code, stdout } = await fidelity("schema", "types", good);
    assert.equal(code, 0);
    assert.match(stdout, /^export type Level = "LOW" \| "HIGH";$/m);
    assert.match(stdout, /^export interface Reading \{\n {2}readonly time: bigint;\n {2}readonly level: Level;\n\}$/m);
  });

  test("layout draws a type, and refuses one that is not there", async () => {
    const { code, stdout, stderr } = await fidelity("schema", "layout", good, "Reading");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /time/);
    assert.match(stdout, /level/);
    const picture = scratch.at("reading.svg");
    const chosen = await fidelity("schema", "layout", good, "Reading", "--target", "cache-line", "--svg", picture);
    assert.deepEqual([chosen.code, chosen.stderr], [0, ""]);
    assert.match(readFileSync(picture, "utf8"), /^<svg[^]*level[^]*<\/svg>\s*$/);
    const elsewhere = await fidelity("schema", "layout", good, "Reading", "--target", "moon");
    assert.equal(elsewhere.code, 2);
    assert.match(elsewhere.stderr, /cache-line[^]*try: +fidelity schema layout --help/);
    const missing = await fidelity("schema", "layout", good, "Writing");
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /expected: Level, Reading/);
  });

  test("a file that is not there, and a command that is not", async () => {
    const { code, stderr } = await fidelity("schema", "check", scratch.at("none.bare"));
    assert.equal(code, 1);
    assert.match(stderr, /none\.bare/);
    const typo = await fidelity("schema", "chekc", good);
    assert.equal(typo.code, 2);
    assert.match(typo.stderr, /try: +check, or see fidelity schema --help/);
  });
});
