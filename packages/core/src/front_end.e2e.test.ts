// What the compiler prints for wrong shapes in the front end: a sentence.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const folder = mkdtempSync(join(tmpdir(), "fidelity-front-end-"));
after(() => rmSync(folder, { recursive: true }));

function compile(source: string): string {
  const path = join(folder, "wrong.ts");
  const index = JSON.stringify(fileURLToPath(new URL("index.ts", import.meta.url)));
  writeFileSync(path, `import { add, matmul } from ${index};\nimport type { Tensor } from ${index};\n${source}`);
  const tsc = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url));
  const flags = [
    "--noEmit",
    "--strict",
    "--module",
    "nodenext",
    "--target",
    "es2024",
    "--lib",
    "esnext,dom",
    "--types",
    "",
  ];
  const result = spawnSync(process.execPath, [tsc, ...flags, "--allowImportingTsExtensions", path], {
    cwd: folder,
    encoding: "utf8",
  });
  assert.equal(result.error, undefined);
  return result.stdout;
}

test("a mismatch of shapes reads as a sentence", () => {
  const output = compile(`
export function f(x: Tensor<["batch", 768], "f32">, y: Tensor<[512], "f32">, w: Tensor<[512, 10], "f32">): void {
  add(x, y);
  matmul(x, w);
}
`);
  assert.match(output, /ShapeError<"add: \[batch, 768\] and \[512\] differ">/);
  assert.match(output, /ShapeError<"matmul: inner dimensions differ: 768 and 512">/);
});
