// Kernels from files: the file is read as text, every kernel in it is compiled, and they are found by name.

import { readFile } from "node:fs/promises";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { compileKernelSource } from "./compile.ts";
import type { CompiledKernel, KernelCompilation, KernelOptions } from "./compile.ts";
import type { ParameterType } from "./check/parameter_types.ts";
import { KernelError } from "./diagnostics.ts";
import type { Span } from "./diagnostics.ts";
import type { KernelLibrary } from "./run.ts";
import { resolveParameterTypes } from "./typescript.node.ts";

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
  const settings = { file: shown.startsWith("..") ? path : shown, ...options };
  let compilation = compileKernelSource(text, settings);
  if (compilation.diagnostics.some(({ code }) => code === "FK005")) {
    compilation = await compileWithTypes(path, text, compilation, settings);
  }
  const { kernels, diagnostics, module } = compilation;
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

/** Compiles again, with the types that the compiler of TypeScript finds where the file does not say them. */
async function compileWithTypes(
  path: string,
  text: string,
  first: KernelCompilation,
  options: KernelOptions & { readonly file: string },
): Promise<KernelCompilation> {
  const parameters = first.module.kernels.flatMap(({ syntax }) => syntax.parameters);
  const found = await resolveParameterTypes(
    path,
    parameters.map(({ span }) => span.start),
  );
  if (found === undefined) return first;
  // A type is asked for by the place of its annotation, or of the parameter when it has none.
  const resolveType = (span: Span): ParameterType | undefined => {
    const parameter = parameters.find((one) => one.span.start <= span.start && span.end <= one.span.end);
    return parameter && found.get(parameter.span.start);
  };
  return compileKernelSource(text, { ...options, resolveType });
}
