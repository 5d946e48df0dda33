// Every program in derivatives/ runs, and prints what its last comment says.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const folder = new URL("./derivatives/", import.meta.url);

describe("derivatives", { concurrency: true }, () => {
  for (const name of readdirSync(folder)) {
    test(`derivatives/${name} prints what it says`, async () => {
      const file = new URL(name, folder);
      const [, said] = /^\/\/ Output:\n((?:\/\/.*\n)+)$/m.exec(readFileSync(file, "utf8"))!;
      const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(file)]);
      assert.equal(stdout, said!.replaceAll(/^\/\/ ?/gm, ""));
    });
  }
});
