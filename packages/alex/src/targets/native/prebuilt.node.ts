// Native programs made ahead of time (`fidelity build`), for machines without LLVM: a folder of them for several
// machines.
//
//   manifest.json             what was built, by which compiler, for which machines
//   <machine>/<key>.program   outlines, by the hash of graph and options (runtime/outline.ts)
//   <machine>/<key>.so        libraries, by what they were made of
//
// Each file has the hash of its bytes beside it, as in the cache (cache.node.ts), and is compared before it is used. At
// run time the best machine that the processor can be is taken. Code that was made by another compiler is refused:
// what the same graph becomes may have changed.
// The folder's code runs in the process that opens it. So it is opened where somebody names it, and never because it
// lies beside a model: model files come from anywhere.

import { readFileSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { makeFolder, toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { ProgramMissingError } from "@fidelity/core";
import type { CompileOptions, Graph, Program } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";
import { compileGraph } from "../../compile.ts";
import { compilerDigest } from "../../runtime/compiler-version.node.ts";
import { graphCode } from "../../runtime/graph-code.ts";
import type { GraphCode } from "../../runtime/graph-code.ts";
import { encodeKept, outlineOf } from "../../runtime/outline.ts";
import { PROGRAM_SUFFIX, restoreProgram } from "../../runtime/program-store.node.ts";
import type { ProgramStore, ReadyProgram } from "../../runtime/store.ts";
import { memoryReachBytes } from "../../runtime/target.ts";
import type { CpuTarget } from "../../runtime/target.ts";
import { LibraryCache, cacheKey } from "./cache.node.ts";
import { createNativeTarget, openLibrary, restoreLibrary } from "./index.node.ts";
import type { NativeMachine } from "./machine.ts";
import { machineOf, vectorsOf } from "./machine.ts";
import type { Toolchain } from "./toolchain.node.ts";
import type { ToolMissingError } from "./toolchain.node.ts";

/** A folder that cannot be used. */
export class PrebuiltError extends FidelityError {}

const FORMAT = 1;
const MANIFEST = "manifest.json";
/** A folder is made whole; nothing is ever evicted. */
const UNLIMITED_BYTES = Number.MAX_SAFE_INTEGER;

/** A program in a folder. */
export interface PrebuiltProgram {
  readonly machine: string;
  readonly name: string;
  /** Of the library. */
  readonly sizeBytes: number;
}

/** What manifest.json says. */
export interface PrebuiltManifest {
  readonly format: number;
  /** The hash of the compiler's files. */
  readonly compiler: string;
  readonly machines: readonly string[];
  readonly programs: readonly PrebuiltProgram[];
}

const keyOf = (code: GraphCode): string => cacheKey(["prebuilt", ...code]);

interface MachineFolder {
  readonly machine: NativeMachine;
  readonly programs: LibraryCache;
  readonly libraries: LibraryCache;
}

function machineFolder(folder: string, machine: NativeMachine): MachineFolder {
  const directory = path.join(folder, machine.name);
  return {
    machine,
    programs: new LibraryCache(directory, UNLIMITED_BYTES, PROGRAM_SUFFIX),
    libraries: new LibraryCache(directory, UNLIMITED_BYTES),
  };
}

/** A program that was built. */
export interface BuiltProgram extends PrebuiltProgram {
  /** From the graph to the library; little when the library was in the cache. */
  readonly timeMs: number;
}

/** Fills a folder with programs. It is of use from `finish` on. */
export class PrebuiltWriter {
  readonly folder: string;
  readonly #toolchain: Toolchain;
  readonly #programs: PrebuiltProgram[] = [];
  readonly #machines = new Set<string>();
  /** Keys of files that belong to what is built now, by machine. */
  readonly #keys = new Map<string, Set<string>>();

  /** Throws `FileError`. */
  constructor(folder: string, toolchain: Toolchain) {
    this.folder = folder;
    this.#toolchain = toolchain;
    makeFolder(folder);
    try {
      // What is in the folder stops being of use before it changes.
      rmSync(path.join(folder, MANIFEST), { force: true });
    } catch (error) {
      throw toFileError(error, "write", folder);
    }
  }

  /**
   * Compiles a graph for a machine. Throws what the compiler and the tools throw, and `PrebuiltError` for a graph that
   * another process could not know again.
   */
  async add(graph: Graph, options: CompileOptions, machine: NativeMachine): Promise<BuiltProgram> {
    const started = performance.now();
    const code = graphCode(graph, options);
    if (code === undefined) {
      throw new PrebuiltError("a graph cannot be built ahead of time", {
        where: options.name ?? graph.name,
        expected: "ops of the registry and kernels only",
      });
    }
    const target = createNativeTarget({ machine, toolchain: this.#toolchain });
    const program = compileGraph(graph, { ...options, target: vectorsOf(machine) });
    const compiled = await target.compile(program, 0);
    const { programs, libraries } = machineFolder(this.folder, machine);
    const key = keyOf(code);
    const libraryKey = new TextDecoder().decode(compiled.kept);
    if (compiled.loadable.kind === "native") libraries.keep(libraryKey, readFileSync(compiled.loadable.path));
    programs.keep(key, encodeKept({ outline: outlineOf(program, compiled.starts), code: compiled.kept }));
    this.#note(machine.name, key, libraryKey);
    const built = { machine: machine.name, name: program.name, sizeBytes: compiled.sizeBytes };
    this.#programs.push(built);
    return { ...built, timeMs: performance.now() - started };
  }

  /** Removes what earlier builds left, and writes the manifest. */
  finish(): PrebuiltManifest {
    for (const [machine, keys] of this.#keys) {
      const directory = path.join(this.folder, machine);
      for (const name of readdirSync(directory)) {
        if (!keys.has(path.parse(name).name)) rmSync(path.join(directory, name), { force: true });
      }
    }
    const manifest: PrebuiltManifest = {
      format: FORMAT,
      compiler: compilerDigest(),
      machines: [...this.#machines],
      programs: this.#programs,
    };
    const text = `${JSON.stringify(manifest, null, 2)}\n`;
    writeFileAtomic(path.join(this.folder, MANIFEST), [new TextEncoder().encode(text)]);
    return manifest;
  }

  #note(machine: string, ...added: readonly string[]): void {
    this.#machines.add(machine);
    const keys = this.#keys.get(machine) ?? new Set();
    for (const key of added) keys.add(key);
    this.#keys.set(machine, keys);
  }
}

/** A folder's programs for this machine. */
export class PrebuiltPrograms implements ProgramStore {
  readonly folder: string;
  /** Those that the processor can be, the best one first. */
  readonly #machines: readonly MachineFolder[];

  /** Throws `FileError`, and `PrebuiltError` when the folder is of no use to this compiler or processor. */
  constructor(folder: string, host: NativeMachine) {
    this.folder = folder;
    const { machines } = readManifest(folder);
    const usable = machines.map(machineOf).filter((machine) => canRun(host, machine));
    if (usable.length === 0) {
      throw new PrebuiltError("a folder has no code that this processor can run", {
        where: folder,
        expected: host.name,
        got: machines.join(", "),
        hint: `fidelity build --cpu ${host.name}`,
      });
    }
    this.#machines = usable.sort(byCapability).map((machine) => machineFolder(folder, machine));
  }

  /** The best machine of the folder that this processor can be. */
  get machine(): NativeMachine {
    return this.#machines[0].machine;
  }

  async find(code: GraphCode): Promise<ReadyProgram | undefined> {
    const key = keyOf(code);
    for (const { programs, libraries } of this.#machines) {
      const file = programs.find(key);
      const restore = (kept: Uint8Array) => Promise.resolve(restoreLibrary(libraries, kept));
      const found = file && (await restoreProgram({ restore }, file.bytes));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Programs are only looked for. */
  keep(): void {}

  /** The target of a machine that has no tools: what is not in the folder cannot be made. */
  target(missing: ToolMissingError): CpuTarget {
    return {
      name: "native",
      identity: this.machine.name,
      memoryBytesMax: memoryReachBytes("native"),
      open: openLibrary,
      restore: () => Promise.resolve(undefined),
      compile: (program: Program) => Promise.reject(this.#notThere(program, missing)),
    };
  }

  #notThere({ name }: Program, missing: ToolMissingError): ProgramMissingError {
    return new ProgramMissingError("a program was not built ahead of time, or its files are damaged", {
      where: `${this.folder}: ${name}`,
      expected: `a program for ${this.#machines.map(({ machine }) => machine.name).join(" or ")}`,
      got: `${missing.tools.length} of LLVM's tools are missing here, so that it cannot be made`,
      hint: "run fidelity build again, with the options that the program is used with; or use --target wasm",
    });
  }
}

function readManifest(folder: string): PrebuiltManifest {
  const file = path.join(folder, MANIFEST);
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw toFileError(error, "read", file);
  }
  const manifest = parseManifest(text);
  if (manifest === undefined) {
    throw new PrebuiltError("a folder of programs cannot be read", {
      where: file,
      expected: `a manifest of format ${FORMAT}`,
      hint: "run fidelity build again",
    });
  }
  if (manifest.compiler !== compilerDigest()) {
    throw new PrebuiltError("a folder of programs was built by another version of the compiler", {
      where: file,
      expected: compilerDigest().slice(0, 12),
      got: manifest.compiler.slice(0, 12),
      hint: "run fidelity build again, with the version that is to run them",
    });
  }
  return manifest;
}

/** A manifest as it must be; machines are checked where they are looked up. */
function parseManifest(text: string): PrebuiltManifest | undefined {
  try {
    const value = JSON.parse(text) as Partial<PrebuiltManifest> | null;
    const { format, compiler, machines } = value ?? {};
    const isWhole =
      format === FORMAT &&
      typeof compiler === "string" &&
      Array.isArray(machines) &&
      machines.every((name) => typeof name === "string");
    return isWhole ? (value as PrebuiltManifest) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a processor of this machine can run code that was made for another one. */
export function canRun(host: NativeMachine, machine: NativeMachine): boolean {
  return (
    host.architecture === machine.architecture && [...machine.features].every((feature) => host.features.has(feature))
  );
}

function byCapability(a: NativeMachine, b: NativeMachine): number {
  return b.lanes - a.lanes || b.features.size - a.features.size;
}
