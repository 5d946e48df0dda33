// The build plugin in a real bundler, Rolldown, which Vite is built on: the bundle runs by itself and holds no compiler,
// and what is outside the language stops the build with its place.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { kernelsPlugin } from "./index.node.ts";

const alex = path.join(import.meta.dirname, "../..");
const folder = mkdtempSync(path.join(tmpdir(), "fidelity-bundle-"));
after(() => rmSync(folder, { recursive: true }));
// As if the package was installed there.
mkdirSync(path.join(folder, "node_modules/@fidelity"), { recursive: true });
symlinkSync(alex, path.join(folder, "node_modules/@fidelity/alex"));

const SOURCE = `import { kernel } from "@fidelity/alex/kernels";
import type { Vector } from "@fidelity/alex/kernels";
const N = 12;
export const twice = kernel(function twice(x: Vector<typeof N>, out: Vector<typeof N>): void {
  for (let i = 0; i < N; i++) out[i] = 2 * x[i];
});
`;

async function bundle(name: string, source: string): Promise<{ readonly file: string; readonly modules: string[] }> {
  const [input, file] = [path.join(folder, `${name}.ts`), path.join(folder, `${name}.mjs`)];
  writeFileSync(input, source);
  const build = await rolldown({
    input,
    platform: "neutral",
    logLevel: "silent",
    plugins: [kernelsPlugin()],
  });
  try {
    const { output } = await build.write({ file, format: "esm" });
    return { file, modules: output[0].moduleIds };
  } finally {
    await build.close();
  }
}

test("a bundle's kernel is compiled, runs, and brings no compiler", async () => {
  const { file, modules } = await bundle("kernels", SOURCE);
  // Names within the package: the folder above it may have any name, one of these as well.
  assert.deepEqual(
    modules.filter((id) => /oxc-parser|\/(lower|targets|syntax|check)\//.test(path.relative(alex, id))),
    [],
  );
  const { twice } = (await import(pathToFileURL(file).href)) as {
    readonly twice: (x: Float32Array, out: Float32Array) => void;
  };
  const [x, out] = [Float32Array.from({ length: 12 }, (_, i) => i + 0.5), new Float32Array(12)];
  twice(x, out);
  assert.deepEqual(
    out,
    x.map((value) => 2 * value),
  );
  // Compiled kernels check their arguments, which the function itself does not.
  assert.throws(() => twice(x, new Float32Array(3)), { name: "KernelValueError" });
});

test("a mistake in a kernel stops the build, and says where", async () => {
  await assert.rejects(bundle("broken", SOURCE.replace("2 * x[i]", "2 * y[i]")), (error: Error) => {
    assert.match(error.message, /broken\.ts:5:44 FK004/);
    return true;
  });
});
