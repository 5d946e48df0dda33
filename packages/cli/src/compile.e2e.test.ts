// A look into the compiler: every stage of a small kernel and of a small model, decisions, and the page, in a browser
// where there is one.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { searchTools } from "@fidelity/alex/node";
import type { Explanation } from "@fidelity/alex/node";
import binaryen from "binaryen";
import { chromium } from "playwright-core";
import { Scratch, fidelity, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());

const KERNELS = `import { kernel } from "@fidelity/alex/kernels";
import type { Vector } from "@fidelity/alex/kernels";

export const scaled = kernel(function scaled(x: Vector<64>, y: Vector<64>, factor: number): void {
  for (let i = 0; i < 64; i++) {
    y[i] = factor * x[i] + 1;
  }
});

export const total = kernel(function total(x: Vector<64>): number {
  let sum = 0;
  for (let i = 0; i < 64; i++) sum += x[i];
  return sum;
});
`;
const file = scratch.write("kernels.ts", KERNELS);
const TINY = ["--architecture", "matmul-free", "--layers", "2", "--width", "32", "--hidden", "64"];
const needsLlvm = searchTools().missing.length === 0 ? false : "LLVM 19 is not here";
const CHROMIUM = "/usr/bin/chromium";

async function printed(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await fidelity("compile", ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

describe("stages", { concurrency: 2 }, () => {
  test("of a kernel: tokens, graph, units, loops with their places in the source", async () => {
    const [tokens, graph, units, loops] = await Promise.all(
      ["tokens", "graph", "units", "loops"].map((stage) => printed(file, "--emit", stage)),
    );
    assert.match(tokens, /^1:1 +keyword +import$/m);
    assert.match(tokens, /^6:12 +name +factor$/m);
    assert.match(graph, /"fidelity.kernel.scaled"/);
    assert.match(units, /unit 0, kernel: kernel.total/);
    assert.match(loops, /^\/\/ scaled_0, for kernel.scaled$/m);
    assert.match(loops, / \/\/ 6:\d+$/m);
  });

  test("wat and wasm: the text assembles, the bytes are the module", async () => {
    const out = scratch.at("scaled.wasm");
    const text = await printed(file, "--kernel", "scaled", "--emit", "wat");
    await printed(file, "--kernel", "scaled", "--emit", "wasm", "--out", out);
    assert.ok(WebAssembly.validate(readFileSync(out)));
    const module = binaryen.parseText(text);
    module.setFeatures(binaryen.Features.All);
    assert.equal(module.validate(), 1);
    module.dispose();
  });

  test("of a model: kernels say which unit they are for; JSON has the lines", async () => {
    const loops = await printed(...TINY, "--emit", "loops");
    assert.match(loops, /^\/\/ ternary_linear_row, for blocks\.0: ternary_linear; /m);
    interface Result {
      readonly stage: string;
      readonly programs: readonly {
        readonly kernels: readonly { readonly name: string; readonly lines: readonly unknown[] }[];
      }[];
    }
    const { stage, programs }: Result = JSON.parse(await printed(file, "--kernel", "total", "--emit", "wat", "--json"));
    assert.equal(stage, "wat");
    const lines = programs[0].kernels.flatMap((kernel) => kernel.lines) as {
      readonly inst?: number;
      readonly at?: object;
    }[];
    assert.ok(lines.some(({ inst, at }) => inst !== undefined && at !== undefined));
  });

  test("mlir, llvm and asm", { skip: needsLlvm }, async () => {
    const [mlir, llvm, asm] = await Promise.all(
      ["mlir", "llvm", "asm"].map((stage) => printed(file, "--kernel", "scaled", "--emit", stage)),
    );
    assert.match(mlir, /llvm\.func hidden @kernel_0/);
    assert.match(mlir, / \/\/ 6:\d+$/m);
    assert.match(llvm, /^ *define hidden void @kernel_0/m);
    assert.doesNotMatch(llvm, /!dbg/);
    assert.match(asm, /^kernel_0:/m);
    assert.doesNotMatch(asm, /^\s*\.(loc|cfi)/m);
    assert.match(asm, / # 6:\d+$/m);
  });

  test("ptx, of a kernel and of a model", { skip: needsLlvm }, async () => {
    const out = scratch.at("scaled.ptx");
    await printed(file, "--kernel", "scaled", "--emit", "ptx", "--out", out);
    const [ofKernel, ofModel] = [readFileSync(out, "utf8"), await printed(...TINY, "--emit", "ptx")];
    for (const ptx of [ofKernel, ofModel]) {
      assert.match(ptx, /^\.version \d+\.\d+$/m);
      assert.match(ptx, /^\.target sm_90a?$/m);
      assert.doesNotMatch(ptx, /\.extern|\bcall/, "nothing is left to a library");
    }
    assert.equal(ofKernel.match(/^\.visible \.entry kernel_\d+\(/gm)?.length, 1);
    assert.ok(ofModel.match(/^\.visible \.entry kernel_\d+\(/gm)!.length > 5);
  });
});

describe("decisions", { concurrency: 2 }, () => {
  test("explained without measuring, the same everywhere", async () => {
    const text = await printed(...TINY, "--explain", "--no-measure");
    for (const part of ["Fusion", "blocks.0", "In place", "Layout", "Schedule", "Memory plan", "op/byte"]) {
      assert.ok(text.includes(part), part);
    }
    assert.doesNotMatch(text, /Ceilings|at least|undefined|NaN/);
    const explanation: Explanation = JSON.parse(await printed(...TINY, "--explain", "--no-measure", "--json"));
    assert.equal(
      explanation.calls.reduce((sum, { bytes }) => sum + bytes, 0),
      explanation.totals.bytes,
    );
    assert.ok(explanation.units.some(({ group }) => group === "blocks.1"));
  });

  test("a training step and a chunk of a prompt are programs, too", async () => {
    for (const what of ["train", "prefill"]) {
      const args = [...TINY, "--what", what, "--context", "8", "--batch", "2", "--explain", "--no-measure", "--json"];
      const { name, donations }: Explanation = JSON.parse(await printed(...args));
      assert.match(name, what === "train" ? /^train_step$/ : /^prefill 64$/);
      assert.ok(donations.length > 0);
    }
  });
});

describe("mistakes", { concurrency: 2 }, () => {
  const cases: [args: string[], said: RegExp, code: number][] = [
    [[], /what is to be compiled\?/, 2],
    [[file], /what is to be shown\?/, 2],
    [[file, "--emit", "magic"], /--emit cannot take this value/, 2],
    [[file, "--emit", "wasm"], /a module holds one program/, 2],
    [[file, "--kernel", "nothing", "--emit", "loops"], /no such kernel[^]*scaled, total/, 2],
    [[...TINY, "--emit", "tokens"], /a model has no tokens/, 2],
    [[file, "--emit", "wat", "--target", "native"], /a stage of another target/, 2],
    [[file, ...TINY, "--emit", "graph"], /a file and an architecture are given/, 2],
    [["nowhere.ts", "--emit", "graph"], /nowhere\.ts/, 1],
    [
      [scratch.write("wrong.ts", KERNELS.replace("factor * x[i]", "factor * x[i][j]")), "--emit", "loops"],
      /wrong\.ts:6:/,
      1,
    ],
    [[scratch.write("notes.txt", "a text"), "--emit", "graph"], /expected: a TypeScript file with kernels, a model/, 1],
    [[scratch.write("empty.ts", "export {};\n"), "--emit", "loops"], /the file has no kernels/, 2],
  ];
  for (const [args, said, expected] of cases) {
    test(`compile ${args.map((arg) => arg.replace(scratch.path, "")).join(" ")}`, async () => {
      const { code, stdout, stderr } = await fidelity("compile", ...args);
      assert.match(stderr, said);
      assert.deepEqual([code, stdout], [expected, ""]);
    });
  }
});

describe("the page", () => {
  test("of a model's file has a profile, for which the file stays open", async () => {
    const page = scratch.at("of-file.html");
    await printed(writeTinyLlama2c(scratch).model, "--view", page, "--threads", "1");
    assert.match(readFileSync(page, "utf8"), /class="kernels"/);
  });

  test(
    "in a browser a click lights up the counterparts",
    { skip: !existsSync(CHROMIUM) && `no ${CHROMIUM}` },
    async () => {
      const [ofKernel, ofModel] = [scratch.at("kernel.html"), scratch.at("model.html")];
      await printed(file, "--kernel", "scaled", "--view", ofKernel, "--no-measure");
      await printed(...TINY, "--view", ofModel, "--threads", "1");
      const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
      try {
        const page = await browser.newPage();
        const errors: string[] = [];
        const asked: string[] = [];
        page.on("pageerror", (error) => errors.push(error.message));
        page.on("request", (request) => asked.push(request.url()));
        await page.goto(pathToFileURL(ofKernel).href);
        await page.locator('.source .line[data-line="6"]').click();
        for (const stage of ["loops", "wat"]) {
          const lit = page.locator(`.column[data-stage="${stage}"] .line.lit`);
          assert.ok((await lit.count()) > 0, stage);
          assert.ok(await lit.first().isVisible());
        }
        await page.locator('.column[data-stage="wat"] .line.lit').first().click();
        assert.ok((await page.locator('.column[data-stage="loops"] .line.lit').count()) >= 1);
        assert.equal(await page.locator(".source .line.lit").count(), 1);

        await page.goto(pathToFileURL(ofModel).href);
        const node = page.locator("svg.graph .node", { hasText: "linear_recurrence" }).first();
        await node.click();
        const id = await node.getAttribute("data-unit");
        assert.match((await page.locator(`.unit[data-unit="${id}"]`).getAttribute("class"))!, /chosen/);
        assert.match(await page.locator('.column[data-stage="loops"] .code').innerText(), /^kernel linear_recurrence/);
        assert.ok((await page.locator(".kernels tbody tr").count()) > 5);
        assert.deepEqual(errors, []);
        assert.deepEqual(
          asked.filter((url) => !url.startsWith("file:")),
          [],
        );
      } finally {
        await browser.close();
      }
    },
  );
});
