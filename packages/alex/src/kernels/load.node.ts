// Kernels from files: the file is read as text, every kernel in it is compiled, and they are found by name.

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { compileKernelSource } from "./compile.ts";
import type { CompiledKernel, KernelOptions } from "./compile.ts";
import { KernelError } from "./diagnostics.ts";
import type { KernelLibrary } from "./run.ts";

/** The kernels of a file. */
export interface LoadedKernels extends KernelLibrary {
  readonly kernels: readonly CompiledKernel[];
}

/**
 * Compiles the kernels of a file, given by its path or its `import.meta.url`.
 * @throws KernelError with every diagnostic when a kernel is outside the language, and what reading the file throws.
 */
export async function loadKernels(file: string | URL, options: KernelOptions = {}): Promise<LoadedKernels> {
  const isUrl = file instanceof URL || file.startsWith("file:");
  const path = isUrl ? fileURLToPath(file) : file;
  const text = await readFile(path, "utf8");
  const shown = relative(process.cwd(), path);
  const { kernels, diagnostics, module } = compileKernelSource(text, {
    file: shown.startsWith("..") ? path : shown,
    ...options,
  });
  if (diagnostics.length > 0) throw new KernelError(diagnostics);
  return {
    kernels,
    get(name) {
      const found = kernels.find((kernel) => kernel.name === name);
      if (found !== undefined) return found;
      const span = { start: 0, end: 1 };
      const names = kernels.map((kernel) => kernel.name).join(", ");
      const problem = { code: "FK021", span, message: `there is no kernel called ${JSON.stringify(name)}` } as const;
      throw new KernelError([module.source.place({ ...problem, got: names === "" ? "no kernels" : names })]);
    },
  };
}
