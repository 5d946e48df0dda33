import assert from "node:assert/strict";
import { test } from "node:test";
import { missingOptional, platformEntry } from "./complete-lock.ts";

test("an optional dependency without an entry of its own is missing", () => {
  const lock = {
    packages: {
      "node_modules/lint": {
        dev: true,
        optionalDependencies: { "@lint/linux-x64": "1.0.0", "@lint/darwin-arm64": "1.0.0" },
      },
      "node_modules/@lint/linux-x64": { version: "1.0.0" },
    },
  };
  assert.deepEqual([...missingOptional(lock)], [["@lint/darwin-arm64", { version: "1.0.0", dev: true }]]);
});

test("a platform package's name states its system, processor and C library", () => {
  const base = { version: "2.0.0", license: "MIT", optional: true };
  assert.deepEqual(platformEntry("@a/binding-linux-arm-musleabihf", "2.0.0", false), {
    ...base,
    cpu: ["arm"],
    os: ["linux"],
    libc: ["musl"],
  });
  assert.deepEqual(platformEntry("@a/binding-win32-x64-msvc", "2.0.0", true), {
    ...base,
    cpu: ["x64"],
    os: ["win32"],
    dev: true,
  });
  assert.deepEqual(platformEntry("@a/darwin-arm64", "2.0.0", false), { ...base, cpu: ["arm64"], os: ["darwin"] });
  assert.equal(platformEntry("fsevents", "2.0.0", false), undefined);
});
