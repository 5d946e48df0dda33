// The library of a compiler that computes f128: no processor here has instructions for it, and LLVM makes calls of
// routines (__addtf3, __multf3, ...) that come with Clang (compiler-rt's builtins) and with GCC (libgcc). The static
// one is linked into a program's library, which takes the routines that it calls, and needs nothing when it runs. Both
// round as IEEE 754 says, so that it makes no difference to results which one it is.

import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { FidelityError } from "@fidelity/units";
import type { Architecture, NativeMachine } from "./machine.ts";

/** A program computes in f128, and nothing is there that could. */
export class CompilerLibraryMissingError extends FidelityError {}

/** Clang's and GCC's names of architectures. */
const NAMES: Readonly<Record<Architecture, string>> = { "x86-64": "x86_64", aarch64: "aarch64", riscv64: "riscv64" };

const CLANG_PLACES = ["/usr/lib/llvm-19/lib/clang/19/lib/linux", "/usr/lib/clang/19/lib/linux"];
const GCC_PLACES = ["/usr/lib/gcc", "/usr/lib/gcc-cross"];

/** The static library for an architecture: FIDELITY_COMPILER_LIBRARY, or where Debian puts Clang's and GCC's. */
export function findCompilerLibrary(
  architecture: Architecture,
  environment: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const given = environment.FIDELITY_COMPILER_LIBRARY;
  if (given !== undefined && given !== "") return existsSync(given) ? given : undefined;
  const name = NAMES[architecture];
  const clang = CLANG_PLACES.map((place) => path.join(place, `libclang_rt.builtins-${name}.a`));
  const gcc = GCC_PLACES.flatMap((place) => {
    const folder = path.join(place, `${name}-linux-gnu`);
    return versionsIn(folder).map((version) => path.join(folder, version, "libgcc.a"));
  });
  return [...clang, ...gcc].find((file) => existsSync(file));
}

/** Folders of GCC's versions, the newest first. */
function versionsIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort((a, b) => Number.parseFloat(b) - Number.parseFloat(a));
  } catch {
    return [];
  }
}

/**
 * What modules are to be linked with: nothing, or the library of f128 where they compute in it.
 * @throws CompilerLibraryMissingError
 */
export function librariesFor(
  modules: readonly string[],
  { architecture, name }: NativeMachine,
  environment: NodeJS.ProcessEnv = process.env,
): readonly string[] {
  if (!modules.some((module) => / to f128\b/.test(module))) return [];
  const library = findCompilerLibrary(architecture, environment);
  if (library !== undefined) return [library];
  throw new CompilerLibraryMissingError("f128 is computed by a compiler's library, and none was found", {
    where: `a program for ${name}`,
    expected: `libclang_rt.builtins-${NAMES[architecture]}.a, or libgcc.a for ${NAMES[architecture]}-linux-gnu`,
    hint: 'apt-get install libclang-rt-19-dev (or FIDELITY_COMPILER_LIBRARY=<file>), or compute in "double-double"',
  });
}
