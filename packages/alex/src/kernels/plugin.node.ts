// The build plugin: kernels are compiled while a bundle is made, and each call of `kernel(...)` becomes the compiled
// function with the original behind it. One object serves Vite, Rollup and Rolldown (`transform`) and esbuild
// (`setup`); it needs none of their packages. Lines stay where they were, so that source maps of later steps stay
// right.

import { readFile } from "node:fs/promises";
import { compileKernelSource } from "./compile.ts";
import type { KernelOptions } from "./compile.ts";
import { formatDiagnostic, KernelError } from "./diagnostics.ts";
import type { Diagnostic } from "./diagnostics.ts";
import { precompileKernel } from "./precompile.ts";
import { KERNELS_MODULE } from "./syntax/module.ts";

/** What a bundler gives a hook as `this`. */
interface HookContext {
  error?(problem: { readonly message: string; readonly id: string; readonly loc: object }): never;
}

/** The part of esbuild that the plugin uses. */
interface EsbuildSetup {
  onLoad(
    options: { readonly filter: RegExp },
    load: (args: { readonly path: string }) => Promise<EsbuildLoaded | undefined>,
  ): void;
}

interface EsbuildLoaded {
  readonly contents?: string;
  readonly loader?: "ts";
  readonly errors?: readonly object[];
}

export interface KernelsPlugin {
  readonly name: string;
  /** Before other plugins, while the types are still there. */
  readonly enforce: "pre";
  /** As a hook of a bundler `this` is its context. */
  transform(this: unknown, code: string, id: string): { code: string; map: null } | null;
  setup(build: EsbuildSetup): void;
}

const FILES = /\.[cm]?ts$/;

/** Makes the plugin. */
export function kernelsPlugin(options: KernelOptions = {}): KernelsPlugin {
  return {
    name: "fidelity-kernels",
    enforce: "pre",
    transform(code, id) {
      const file = id.replace(/[?#].*$/, "");
      if (!FILES.test(file) || !code.includes(KERNELS_MODULE)) return null;
      const { code: changed, diagnostics } = transformKernels(code, file, options);
      const [first] = diagnostics;
      if (first !== undefined) {
        const { line, column } = first;
        (this as HookContext | undefined)?.error?.({
          message: formatDiagnostic(first),
          id,
          loc: { file, line, column: column - 1 },
        });
        throw new KernelError(diagnostics);
      }
      return changed === undefined ? null : { code: changed, map: null };
    },
    setup(build) {
      build.onLoad({ filter: FILES }, async ({ path }) => {
        const code = await readFile(path, "utf8");
        if (!code.includes(KERNELS_MODULE)) return undefined;
        const { code: changed, diagnostics } = transformKernels(code, path, options);
        if (diagnostics.length > 0) return { errors: diagnostics.map(esbuildError) };
        return { contents: changed ?? code, loader: "ts" };
      });
    },
  };
}

function esbuildError({ message, file, line, column, code, frame }: Diagnostic): object {
  const lineText = frame.split("\n").find((text) => text.startsWith(">"));
  const location = { file, line, column: column - 1, lineText: lineText?.replace(/^> *\d+ \| /, "") ?? "" };
  return { text: `${code} ${message}`, location };
}

/** The text with its kernels compiled; undefined when it has none. */
function transformKernels(
  code: string,
  file: string,
  options: KernelOptions,
): { readonly code?: string; readonly diagnostics: readonly Diagnostic[] } {
  const { kernels, module, diagnostics } = compileKernelSource(code, { file, ...options });
  if (diagnostics.length > 0 || kernels.length === 0) return { diagnostics };
  const byName = new Map(kernels.map((kernel) => [kernel.name, kernel]));
  let changed = code;
  for (const { name, callSpan } of module.kernels.toSorted((a, b) => b.callSpan.start - a.callSpan.start)) {
    const artifact = JSON.stringify(precompileKernel(byName.get(name)!));
    const { start, end } = callSpan;
    changed = `${changed.slice(0, start)}$precompiled(${changed.slice(start, end)}, ${artifact})${changed.slice(end)}`;
  }
  const imported = `import { precompiledKernel as $precompiled } from ${JSON.stringify(KERNELS_MODULE)}; `;
  // A line of its own for `#!`, the first line for everything else.
  const at = changed.startsWith("#!") ? changed.indexOf("\n") + 1 : 0;
  return { code: changed.slice(0, at) + imported + changed.slice(at), diagnostics };
}
