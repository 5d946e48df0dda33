import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { KernelError, precompileKernel } from "./index.compile.ts";
import { matrix, precompiledKernel, ternary, vector } from "./index.ts";
import { kernelsPlugin, loadKernels } from "./index.node.ts";
import { imported } from "./testdata/imported-types.ts";
import type { KernelFunction } from "./index.ts";

const TYPED = new URL("testdata/imported-types.ts", import.meta.url);

test("types that are imported or computed come from the compiler of TypeScript", async () => {
  const kernel = (await loadKernels(TYPED)).get("imported");
  const parameters = kernel.ir.arrays.slice(0, 5).map(({ name, element, shape }) => [name, element, ...shape]);
  assert.deepEqual(parameters, [
    ["weights", "ternary", 16, 24],
    ["x", "f32", 24],
    ["table", "f64", 16, 24],
    ["counts", "i32", 16],
    ["gain", "f32"],
  ]);
});

/** The arguments of `imported`. */
function inputs(): Parameters<typeof imported> {
  const weights = ternary(
    [16, 24],
    Array.from({ length: 384 }, (_, i) => ((i * 7) % 3) - 1),
  );
  const x = vector(24);
  x.forEach((_, i) => (x[i] = i / 8));
  return [weights, x, matrix(16, 24, "f64"), vector(16, "i32"), 0.5];
}

test("a precompiled kernel is called like the function that it was", async () => {
  const kernel = (await loadKernels(TYPED)).get("imported");
  const artifact = JSON.parse(JSON.stringify(precompileKernel(kernel)));
  const fast = precompiledKernel(imported, artifact);
  const [plain, compiled] = [inputs(), inputs()];
  imported(...plain);
  fast(...compiled);
  assert.deepEqual(compiled, plain);
  assert.equal(fast.name, "imported");
  fast(...compiled);
  assert.deepEqual(compiled, plain);
  assert.throws(() => (fast as unknown as (x: number) => void)(1), /imported takes 5 arguments/);
});

test("where WebAssembly is refused, the function itself runs", () => {
  const fn: KernelFunction = () => 7;
  const broken = {
    wasm: "AGFzbQ==",
    pages: 1,
    arguments: [],
    bindings: [],
    table: 0,
    addresses: [0, 0, 0, 0] as const,
  };
  assert.equal((precompiledKernel(fn, { name: "seven", ...broken }) as () => number)(), 7);
});

const SOURCE = `import { kernel } from "@fidelity/alex/kernels";
import type { Vector } from "@fidelity/alex/kernels";
const N = 12;
export const twice = kernel(function twice(x: Vector<typeof N>, out: Vector<typeof N>): void {
  for (let i = 0; i < N; i++) out[i] = 2 * x[i];
});
export const other = (a: number): number => a;
`;

test("the plugin puts compiled kernels where the marks are, on the same lines", async () => {
  const plugin = kernelsPlugin();
  assert.equal(plugin.transform("export const a = 1;", "a.ts"), null);
  assert.equal(plugin.transform(SOURCE, "a.css"), null);
  const { code } = plugin.transform(SOURCE, "/src/a.ts?v=1")!;
  const lines = code.split("\n");
  assert.equal(lines.length, SOURCE.split("\n").length);
  assert.match(lines[0]!, /^import \{ precompiledKernel as \$precompiled \} from "@fidelity\/alex\/kernels"; import/);
  assert.match(lines[3]!, /^export const twice = \$precompiled\(kernel\(function twice\(x: Vector<typeof N>/);
  assert.match(lines[5]!, /^\}\), \{"name":"twice","wasm":"/);
  assert.equal(lines[6], "export const other = (a: number): number => a;");
});

test("the plugin points bundlers at what is wrong", () => {
  const broken = SOURCE.replace("2 * x[i]", "2 * y[i]");
  const seen: { message: string; loc: unknown }[] = [];
  const context = {
    error(problem: { readonly message: string; readonly loc: object }): never {
      seen.push(problem);
      throw new Error("stop");
    },
  };
  assert.throws(() => kernelsPlugin().transform.call(context, broken, "a.ts"), /stop/);
  assert.deepEqual(seen[0]!.loc, { file: "a.ts", line: 5, column: 43 });
  assert.match(seen[0]!.message, /^a\.ts:5:44 FK004/);
  assert.throws(() => kernelsPlugin().transform(broken, "a.ts"), KernelError);
});

test("for esbuild, the plugin loads files and gives errors with their place", async () => {
  const loads: ((args: { path: string }) => Promise<unknown>)[] = [];
  kernelsPlugin().setup({ onLoad: (_options, load) => void loads.push(load) });
  const path = fileURLToPath(new URL("../../../../examples/ternary-accumulate.ts", import.meta.url));
  const loaded = (await loads[0]!({ path })) as { contents: string; loader: string };
  assert.equal(loaded.loader, "ts");
  assert.match(loaded.contents, /\$precompiled\(kernel\(function ternaryAccumulate/);
  assert.equal(await loads[0]!({ path: fileURLToPath(new URL("kernel.ts", import.meta.url)) }), undefined);
});
