// Texts of kernels, damaged: each is compiled to code that the engine takes, or refused by diagnostics that point into
// the text. Nothing else is thrown, and nothing takes long.

import assert from "node:assert/strict";
import { compileProgramToWasm } from "@fidelity/alex";
import { compileKernelSource, DIAGNOSTIC_CODES } from "@fidelity/alex/kernels/compile";
import type { Diagnostic } from "@fidelity/alex/kernels/compile";
import { hostileText } from "./kernel-texts.ts";
import { randomFor } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const MEMORY_PAGES = 65536;
/** Kernels whose loops are compiled; a text may hold hundreds of small ones. */
const PROGRAMS_MAX = 4;

export const kernels: FuzzTarget = {
  name: "kernels",
  about: "damaged texts of kernels give code or diagnostics",
  open(seed) {
    return {
      run(index) {
        const random = randomFor(seed, index);
        const text = hostileText(random);
        const arithmetic = random(4) === 0 ? "f64" : "f32";
        try {
          const { kernels: compiled, diagnostics } = compileKernelSource(text, { arithmetic });
          for (const diagnostic of diagnostics) checkDiagnostic(diagnostic, text);
          for (const kernel of compiled.slice(0, PROGRAMS_MAX)) {
            const binary = compileProgramToWasm(kernel.program(), { maximumPages: MEMORY_PAGES });
            assert.ok(WebAssembly.validate(binary as Uint8Array<ArrayBuffer>), `${kernel.name} is no valid module`);
          }
          if (diagnostics.length > 0) return `refused: ${diagnostics[0].code} ${DIAGNOSTIC_CODES[diagnostics[0].code]}`;
          return compiled.length === 0 ? "no kernel, read" : "compiled, read";
        } catch (error) {
          throw new Error(`the text ${JSON.stringify(text.slice(0, 20_000))}`, { cause: error });
        }
      },
    };
  },
};

function checkDiagnostic({ line, column, message, frame, code }: Diagnostic, text: string): void {
  assert.ok(code in DIAGNOSTIC_CODES && message !== "" && frame.includes("^"), `${code} ${message}`);
  const lines = text.split("\n");
  assert.ok(
    line >= 1 && line <= lines.length && column >= 1 && column <= lines[line - 1].length + 1,
    `${line}:${column}`,
  );
}
