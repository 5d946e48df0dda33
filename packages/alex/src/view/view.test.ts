// The page of a program: it is whole, names every stage, refers to nothing outside, and its lines know where they came
// from.

import assert from "node:assert/strict";
import { test } from "node:test";
import { matmul, quantizeActivations, rmsNorm, softmax, tensorType, ternaryLinear, trace } from "@fidelity/core";
import type { Shape, Tensor } from "@fidelity/core";
import { compileStages } from "../compile.ts";
import type { CompiledStages } from "../compile.ts";
import type { Ceilings } from "../explain/ceilings.ts";
import { explainProgram } from "../explain/explain.ts";
import { categoryOf } from "./category.ts";
import type { PageData } from "./client.ts";
import type { ViewInput } from "./data.ts";
import { layOut } from "./layered.ts";
import { numberInstructions, Ranges } from "./lines.ts";
import { loopLines } from "./loop_text.ts";
import { renderView } from "./page.ts";
import { highlightSource, tokenize } from "./source_text.ts";
import { wasmStage } from "./wasm_stage.ts";

type Rows = Tensor<Shape, "f32">;

function compiled(): CompiledStages {
  const { graph } = trace(
    "small",
    (x, packed, head) => {
      const y = ternaryLinear(quantizeActivations(rmsNorm(x as Rows)), packed as never);
      return softmax(matmul(y as Rows, head as Rows));
    },
    [tensorType("f32", [4, 32]), tensorType("ternary", [32, 32]), tensorType("f32", [32, 8])],
  );
  return compileStages(graph, { target: { lanes: 4, joinsVectors: true } });
}

const RATES = { bandwidths: [{ sizeBytes: 2 ** 18, bytesPerSecond: 1e11 }], f32PerSecond: 1e11, int8PerSecond: 4e11 };
const CEILINGS: Ceilings = { target: "wasm", threads: 1, one: RATES, team: RATES };

function input(more: Partial<ViewInput> = {}): ViewInput {
  const stages = compiled();
  return {
    title: "a small <model>",
    target: "WebAssembly, 1 thread",
    program: stages.program,
    explanation: explainProgram(stages, { ceilings: CEILINGS }),
    stages: [{ id: "wat", title: "WebAssembly", kernels: wasmStage(stages.program).kernels }],
    ...more,
  };
}

function dataOf(page: string): PageData {
  const text = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)![1]!;
  return JSON.parse(text) as PageData;
}

test("the page is whole and refers to nothing outside", () => {
  const page = renderView(input());
  assert.ok(page.startsWith("<!doctype html>") && page.endsWith("</html>\n"));
  assert.doesNotMatch(page, /https?:\/\/|\bsrc=|\bhref=|@import|url\((?!#)/);
  assert.doesNotMatch(page.replaceAll(/<script.*?<\/script>/gs, ""), /undefined|NaN/);
  assert.ok(page.includes("a small &lt;model&gt;"));
  for (const part of ["Graph", "Fused units", "Loops", "WebAssembly", "Memory plan", "roofline", "Decisions"]) {
    assert.ok(page.includes(part), part);
  }
  for (const tag of ["section", "div", "svg", "table", "article", "figure", "g", "ol"]) {
    const count = (pattern: RegExp): number => page.match(pattern)?.length ?? 0;
    assert.equal(count(new RegExp(`<${tag}[ >]`, "g")), count(new RegExp(`</${tag}>`, "g")), tag);
  }
});

test("every unit is in the picture, every kernel in the table, every text in the data", () => {
  const view = input();
  const page = renderView(view);
  const data = dataOf(page);
  for (const { id } of view.explanation.units) {
    assert.ok(page.includes(`data-unit="${data.unitShown[id]}"`));
    for (const kernel of data.unitKernels[id]!) assert.ok(data.kernelUnits[kernel]!.includes(id));
  }
  assert.deepEqual(data.stages, ["loops", "wat"]);
  view.program.kernels.forEach(({ name }, id) => {
    assert.ok(page.includes(`data-kernel="${id}"`));
    assert.equal(data.names[id], name);
    const [loops, wat] = data.texts[id]!;
    assert.ok(loops!.text.startsWith(`kernel ${name}(`) && wat!.text.startsWith(`(func $${name}`));
    for (const { text, inst } of [loops!, wat!]) assert.equal(text.split("\n").length, inst.length);
  });
});

test("a page without measurements, ceilings or intermediate values is a page", () => {
  const { graph } = trace("twice", (x) => softmax(x as Rows), [tensorType("f32", [2, 8])]);
  const stages = compileStages(graph, { target: { lanes: 4, joinsVectors: true } });
  const page = renderView(input({ program: stages.program, explanation: explainProgram(stages), stages: [] }));
  assert.match(page, /Nothing was measured/);
  assert.match(page, /No intermediate value/);
  assert.doesNotMatch(page.replaceAll(/<script.*?<\/script>/gs, ""), /undefined|NaN/);
});

test("each instruction has a line of loops, and WebAssembly that was made from it", () => {
  const { program } = compiled();
  const wat = wasmStage(program);
  program.kernels.forEach((kernel, id) => {
    const numbers = new Set(numberInstructions(kernel).values());
    const loops = new Set(loopLines(kernel).flatMap(({ inst }) => inst ?? []));
    const lines = wat.kernels[id]!;
    const code = new Set(lines.flatMap(({ inst }) => inst ?? []));
    for (const inst of [...loops, ...code]) assert.ok(numbers.has(inst));
    const stores = [...numberInstructions(kernel)].filter(([{ op }]) => op === "store" || op === "for");
    for (const [, number] of stores) assert.ok(loops.has(number) && code.has(number));
    const tied = lines.filter(({ inst }) => inst !== undefined).length;
    assert.ok(tied > 0.6 * lines.length, `${kernel.name}: ${tied} of ${lines.length}`);
  });
});

test("the innermost range owns a position", () => {
  const ranges = new Ranges();
  ranges.add(0, 0, 10);
  ranges.add(2, 4, 5);
  ranges.add(1, 2, 8);
  assert.deepEqual(ranges.owners(11), [0, 0, 1, 1, 2, 1, 1, 1, 0, 0, undefined]);
});

test("layers follow who reads whom, and nothing overlaps", () => {
  const nodes = [
    { id: 0, width: 60, reads: [] },
    { id: 1, width: 60, reads: [0] },
    { id: 2, width: 60, reads: [0] },
    { id: 3, width: 60, reads: [0] },
    { id: 4, width: 60, reads: [1, 2] },
    { id: 5, width: 60, reads: [4, 0] },
  ];
  const { nodes: placed, width } = layOut(nodes, { nodeHeight: 20, columnGap: 10, rowGap: 10, widthMax: 150 });
  for (const { id, reads } of nodes) {
    for (const read of reads) assert.ok(placed.get(read)!.y < placed.get(id)!.y);
    const own = placed.get(id)!;
    assert.ok(own.x - own.width / 2 >= 0 && own.x + own.width / 2 <= width);
    for (const other of placed.values()) {
      if (other.id !== id && other.y === own.y) assert.ok(Math.abs(other.x - own.x) >= 70);
    }
  }
  assert.ok(width <= 150);
});

test("sources keep their text, line by line", () => {
  const text = 'const a = 1; // one < two\nlet `b${1}` = "x\\"y";\n/* c\n d */ f(a >= .5e3)\n';
  for (const { text: token, start } of tokenize(text)) assert.equal(text.slice(start, start + token.length), token);
  const kinds = tokenize(text).map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(0, 6), ["keyword", "name", "punctuation", "number", "punctuation", "comment"]);
  const html = highlightSource(text);
  const plain = html
    .replaceAll("</div>", "\n")
    .replaceAll(/<[^>]*>/g, "")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"');
  assert.equal(plain, text);
  assert.equal(html.match(/data-line=/g)!.length, 4);
});

test("kernels are sorted by what they are about", () => {
  const cases = {
    matmul_pack: "codes",
    row_product: "product",
    attention_rows: "mix",
    copy: "move",
    row_program: "rows",
  };
  for (const [name, category] of Object.entries(cases)) assert.equal(categoryOf(name), category);
});
