// Texts of kernels: the same wherever a kernel stands in whatever file, and another for everything that it computes with.

import assert from "node:assert/strict";
import { test } from "node:test";
import { graphCode } from "../../runtime/graph-code.ts";
import { compileKernelSource } from "../compile.ts";
import type { KernelOptions } from "../compile.ts";

const kernelOf = (body: string, before = ""): string => `${before}import { kernel } from "@fidelity/alex/kernels";
import type { Vector } from "@fidelity/alex/kernels";
export const scaled = kernel(function scaled(x: Vector<8>, y: Vector<8>): void {
  ${body}
});
`;

const LOOP = "for (let i = 0; i < 8; i++) y[i] = 2 * x[i] + x[i] * x[i];";

function codeOf(text: string, options: KernelOptions = {}): string {
  const { kernels, diagnostics } = compileKernelSource(text, options);
  assert.deepEqual(diagnostics, []);
  const { graph, name, signature } = kernels[0]!;
  const code = graphCode(graph, { name, donations: signature.donations });
  assert.ok(code !== undefined);
  return code.map((part) => (typeof part === "string" ? part : Buffer.from(part).toString("hex"))).join("\n");
}

test("a kernel has one code, wherever it stands", () => {
  assert.equal(codeOf(kernelOf(LOOP)), codeOf(kernelOf(LOOP, "\n// moved\n")));
});

test("kernels that compute something else have other codes", () => {
  const codes = [
    codeOf(kernelOf(LOOP)),
    codeOf(kernelOf(LOOP.replace("2 *", "3 *"))),
    codeOf(kernelOf(LOOP.replace("2 *", "-0 *"))),
    codeOf(kernelOf(LOOP.replace("2 *", "0 *"))),
    codeOf(kernelOf(LOOP.replace("x[i] * x[i]", "y[i] * x[i]"))),
    codeOf(kernelOf(LOOP).replaceAll("Vector<8>", "Vector<9>")),
    codeOf(kernelOf(LOOP), { arithmetic: "f64" }),
    codeOf(kernelOf(LOOP), { strictSums: true }),
  ];
  assert.equal(new Set(codes).size, codes.length);
});
