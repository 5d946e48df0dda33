// What the compiler prints for a wrong shape, and what the shape types cost it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const folder = mkdtempSync(join(tmpdir(), "fidelity-dims-"));
after(() => rmSync(folder, { recursive: true }));

const PRELUDE = `
import type { Broadcast, Checked, Drop, Shape, SwapLastTwo } from ${JSON.stringify(fileURLToPath(new URL("dims.ts", import.meta.url)))};
interface Probe<S extends Shape> { readonly shape: S }
declare function probe<S extends Shape>(): Probe<S>;
declare function add<A extends Shape, B extends Shape>(
  a: Probe<A>, b: Checked<Broadcast<A, B, "add">, Probe<B>>,
): Probe<Broadcast<A, B, "add">>;
declare function sum<S extends Shape, Axis extends number>(x: Probe<S>, axis: Axis): Probe<Drop<S, Axis>>;
declare function transpose<S extends Shape>(x: Probe<S>): Probe<SwapLastTwo<S>>;
`;

function compile(name: string, source: string): string {
  const path = join(folder, name);
  writeFileSync(path, PRELUDE + source);
  const tsc = fileURLToPath(new URL("../../../node_modules/typescript/bin/tsc", import.meta.url));
  const flags = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2024", "--types", ""];
  const result = spawnSync(
    process.execPath,
    [tsc, ...flags, "--allowImportingTsExtensions", "--extendedDiagnostics", path],
    {
      cwd: folder,
      encoding: "utf8",
    },
  );
  assert.equal(result.error, undefined);
  return result.stdout;
}

function instantiations(output: string): number {
  const found = /^Instantiations:\s+(\d+)$/m.exec(output);
  assert.ok(found, output);
  return Number(found[1]);
}

test("a mismatch reads as a sentence", () => {
  const output = compile("wrong.ts", `add(probe<["batch", 768]>(), probe<[512]>());\n`);
  assert.match(output, /error TS\d+: .*ShapeError<"add: \[batch, 768\] and \[512\] differ">/);
});

test("an op on shapes costs the compiler at most 200 instantiations", () => {
  const functions = 50;
  let source = "";
  for (let i = 0; i < functions; i++) {
    const [rows, columns] = [2 * i + 2, 2 * i + 3];
    source += `
export function f${i}(x: Probe<["batch", ${rows}, ${columns}]>, y: Probe<["batch", ${columns}, 1]>): Probe<[${rows}]> {
  return sum(sum(add(transpose(x), y), 0), 0);
}
`;
  }
  const base = instantiations(compile("base.ts", ""));
  const output = compile("many.ts", source);
  assert.doesNotMatch(output, /error TS/);
  const perOp = (instantiations(output) - base) / (4 * functions);
  assert.ok(perOp <= 200, `${perOp} instantiations an op`);
});
