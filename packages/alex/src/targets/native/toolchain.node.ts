// The tools that turn printed MLIR into a shared library, LLVM's and MLIR's of one version, as processes:
//
//   mlir-opt        the printed dialects to the llvm dialect
//   mlir-translate  the llvm dialect to LLVM IR
//   opt             what a target-independent optimiser does
//   llc             LLVM IR to an object file for the machine
//   ld.lld          object files to one shared library
//
// Every stage writes a file of a temporary directory and the next one reads it; the directory stays when a stage
// fails, for the reader of the error. Nothing of a C compiler or library is needed, but by f128
// (compiler_library.node.ts). Left out: other versions of LLVM, whose dialects differ from one to the next.

import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { FidelityError } from "@fidelity/units";
import { librariesFor } from "./compiler_library.node.ts";
import type { NativeMachine } from "./machine.ts";
import { LOWERING } from "./print-program.ts";
import { openDirectory, runProcess, toolFileError, toToolFileError } from "./tool-process.node.ts";

const LLVM_VERSION = 19;

/** Packages of Debian and Ubuntu that bring each tool. */
const TOOL_PACKAGES = {
  "mlir-opt": `mlir-${LLVM_VERSION}-tools`,
  "mlir-translate": `mlir-${LLVM_VERSION}-tools`,
  opt: `llvm-${LLVM_VERSION}`,
  llc: `llvm-${LLVM_VERSION}`,
  "ld.lld": `lld-${LLVM_VERSION}`,
} as const;

export type Tool = keyof typeof TOOL_PACKAGES;
const TOOLS = Object.keys(TOOL_PACKAGES) as Tool[];

/** The longest that one stage may take, unless a toolchain says otherwise. */
const STAGE_MS_MAX = 120_000;

/** A tool that the native target needs is not there. */
export class ToolMissingError extends FidelityError {
  readonly tools: readonly string[];

  constructor(tools: readonly Tool[], where: string) {
    const packages = [...new Set(tools.map((tool) => TOOL_PACKAGES[tool]))].join(" ");
    super(`the native target needs LLVM ${LLVM_VERSION}, and tools of it are missing`, {
      where,
      expected: tools.map((tool) => `${tool}-${LLVM_VERSION}`).join(", "),
      hint: `apt-get install ${packages} (or FIDELITY_LLVM_BIN=<directory>), or use the wasm target`,
    });
    this.tools = tools;
  }
}

/** A tool failed, or took too long. The stage's input and output are kept in `directory`. */
export class ToolFailedError extends FidelityError {
  readonly tool: Tool;
  readonly directory: string;

  constructor(tool: Tool, directory: string, said: string) {
    super(`${tool} failed on a program's code`, {
      where: directory,
      got: said,
      hint: "this is a fault in Fidelity, or of the tool; report it with the files in that directory",
    });
    this.tool = tool;
    this.directory = directory;
  }
}

/** Where the tools are, and what they are: sizes and times that change when a tool does. */
export interface Toolchain {
  readonly paths: Readonly<Record<Tool, string>>;
  readonly identity: string;
  /** The longest that one stage may take; two minutes unless said. */
  readonly stageMsMax?: number;
}

/** What was found of the tools; `missing` is empty when all are there. */
export interface ToolSearch {
  readonly found: Readonly<Partial<Record<Tool, string>>>;
  readonly missing: readonly Tool[];
  /** Where it was looked. */
  readonly where: string;
}

/** Looks for the tools: in FIDELITY_LLVM_BIN, or else on the path and where Debian puts them. Starts none of them. */
export function searchTools(environment: NodeJS.ProcessEnv = process.env): ToolSearch {
  const given = environment.FIDELITY_LLVM_BIN;
  const places =
    given !== undefined && given !== ""
      ? [given]
      : [...(environment.PATH ?? "").split(path.delimiter), `/usr/lib/llvm-${LLVM_VERSION}/bin`];
  const found: Partial<Record<Tool, string>> = {};
  for (const tool of TOOLS) {
    // A name without a version is LLVM 19's only in a directory that says so.
    const isOurs = (place: string): boolean => place === given || place.includes(`llvm-${LLVM_VERSION}`);
    const candidates = places.flatMap((place) =>
      [`${tool}-${LLVM_VERSION}`, ...(isOurs(place) ? [tool] : [])].map((name) => path.join(place, name)),
    );
    found[tool] = candidates.find(isExecutable);
  }
  return { found, missing: TOOLS.filter((tool) => found[tool] === undefined), where: given ?? "the PATH" };
}

/** @throws ToolMissingError that says what to install. */
export function findToolchain(environment: NodeJS.ProcessEnv = process.env): Toolchain {
  const { found, missing, where } = searchTools(environment);
  if (missing.length > 0) throw new ToolMissingError(missing, where);
  const paths = found as Record<Tool, string>;
  const identity = TOOLS.map((tool) => {
    const { size, mtimeMs } = statSync(realpathSync(paths[tool]));
    return `${tool} ${size} ${mtimeMs}`;
  }).join(", ");
  return { paths, identity };
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** The first line of each tool's version that names LLVM, such as "Debian LLVM version 19.1.7". */
export async function toolVersions({ paths }: Toolchain): Promise<ReadonlyMap<Tool, string>> {
  const versions = TOOLS.map(async (tool) => {
    const { stdout } = await runProcess(paths[tool], ["--version"], STAGE_MS_MAX);
    const line = stdout.split("\n").find((text) => /LL(VM|D)/.test(text) && /\d/.test(text));
    return [tool, line?.trim() ?? "unknown"] as const;
  });
  return new Map(await Promise.all(versions));
}

/** Times of a build's stages, summed over modules that are compiled side by side. */
export type StageTimes = Map<string, number>;

/**
 * Compiles modules side by side, as many at a time as the machine runs, and links them. Gives the library's bytes.
 * @throws ToolFailedError; CompilerLibraryMissingError for f128 without what computes it
 */
export async function buildLibrary(
  toolchain: Toolchain,
  machine: NativeMachine,
  modules: readonly string[],
  times?: StageTimes,
): Promise<Uint8Array> {
  const libraries = librariesFor(modules, machine);
  return inDirectory(async (directory) => {
    const build = new Build(toolchain, machine, directory, times);
    const objects = await build.objects(modules);
    const exports = path.join(directory, "exports");
    await writeFile(exports, "{ global: run; local: *; };\n");
    const library = path.join(directory, "library.so");
    await build.stage("ld.lld", [
      ...LINK_FLAGS,
      `--version-script=${exports}`,
      "-o",
      library,
      ...objects,
      ...libraries,
    ]);
    return readFile(library);
  });
}

/** Compiles modules and links them as a static program that needs no system library; it begins at `_start`. */
export async function buildExecutable(
  toolchain: Toolchain,
  machine: NativeMachine,
  modules: readonly string[],
): Promise<Uint8Array> {
  const libraries = librariesFor(modules, machine);
  return inDirectory(async (directory) => {
    const build = new Build(toolchain, machine, directory);
    const objects = await build.objects(modules);
    const program = path.join(directory, "program");
    await build.stage("ld.lld", ["-static", "--gc-sections", "-o", program, ...objects, ...libraries]);
    return readFile(program);
  });
}

/**
 * The text of each stage of a module, for readers: the llvm dialect, LLVM IR after the optimiser, and assembly. The
 * assembly's `.loc 1 n` lines say which line of the module's text, from 1, an instruction comes from.
 */
export async function emitStages(
  toolchain: Toolchain,
  machine: NativeMachine,
  module: string,
): Promise<{ readonly llvmDialect: string; readonly llvm: string; readonly assembly: string }> {
  return inDirectory(async (directory) => {
    const build = new Build(toolchain, machine, directory);
    const { dialect, optimised } = await build.llvm(module, "module", ["-S"], true);
    const assembly = path.join(directory, "module.s");
    await build.stage("llc", [...build.target, "-O2", "-o", assembly, optimised]);
    const [llvmDialect, llvm, text] = await Promise.all(
      [dialect, optimised, assembly].map((file) => readFile(file, "utf8")),
    );
    return { llvmDialect, llvm, assembly: text };
  });
}

const LINK_FLAGS: readonly string[] = ["-shared", "--no-undefined", "--gc-sections", "--build-id=none", "-z", "now"];

const CODE_FLAGS: readonly string[] = [
  "-O2",
  "--relocation-model=pic",
  "--filetype=obj",
  "--function-sections",
  "--data-sections",
];

/**
 * Passes of `opt`: few, since generators choose vectors, blocks and unrolling, and llc does the rest. Training steps
 * run as fast as after -O2, which takes five times as long. Rotated loops test once a turn, at their end.
 */
const PASSES =
  "cgscc(inline),function(early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg," +
  "loop-mssa(loop-rotate,licm),gvn,simplifycfg)";

/** What the tools are told, for keys of libraries. */
export const RECIPE = [LOWERING, PASSES, ...CODE_FLAGS, ...LINK_FLAGS].join(" ");

/** Runs `work` over a temporary directory, which stays when a tool fails. */
export async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await openDirectory();
  try {
    const result = await work(directory.path);
    directory.remove();
    return result;
  } catch (error) {
    if (error instanceof ToolFailedError) directory.keep();
    else directory.remove();
    throw toToolFileError(error, directory.path);
  }
}

/** As many tools at a time as the machine runs, however many programs are compiled at once. */
class Slots {
  #free = os.availableParallelism();
  readonly #waiting: (() => void)[] = [];

  async take(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

const slots = new Slots();

/** The lowering with a debug scope for every function, so that line numbers of the text get to the assembly. */
const LOWERING_WITH_LINES = LOWERING.replace(/\)$/, ",ensure-debug-info-scope-on-llvm-func)");

class Build {
  readonly #toolchain: Toolchain;
  readonly #directory: string;
  readonly #times: StageTimes | undefined;
  /** What opt and llc are told of the machine. */
  readonly target: readonly string[];

  constructor(toolchain: Toolchain, machine: NativeMachine, directory: string, times?: StageTimes) {
    this.#toolchain = toolchain;
    this.#directory = directory;
    this.#times = times;
    const features = [...machine.features].map((feature) => `+${feature}`);
    // Generic x86-64-v4 would rather split 512-bit vectors; the kernels' widths are chosen.
    if (machine.lanes === 16) features.push("-prefer-256-bit");
    this.target = [`-mcpu=${machine.cpu}`, ...(features.length > 0 ? [`-mattr=${features.join(",")}`] : [])];
  }

  /** Object files of modules. */
  objects(modules: readonly string[]): Promise<string[]> {
    return Promise.all(modules.map((module, i) => this.#object(module, `module${i}`)));
  }

  async #object(module: string, name: string): Promise<string> {
    const { optimised } = await this.llvm(module, name, []);
    const object = path.join(this.#directory, `${name}.o`);
    await this.stage("llc", [...this.target, ...CODE_FLAGS, "-o", object, optimised]);
    return object;
  }

  /** Files of a module in the llvm dialect, and in LLVM IR behind the optimiser. */
  async llvm(
    module: string,
    name: string,
    flags: readonly string[],
    withLines = false,
  ): Promise<{ dialect: string; optimised: string }> {
    const file = (suffix: string): string => path.join(this.#directory, `${name}.${suffix}`);
    await writeFile(file("mlir"), module);
    await this.stage("mlir-opt", [
      "--mlir-disable-threading",
      `--pass-pipeline=${withLines ? LOWERING_WITH_LINES : LOWERING}`,
      ...(withLines ? ["--mlir-print-debuginfo"] : []),
      "-o",
      file("llvm.mlir"),
      file("mlir"),
    ]);
    await this.stage("mlir-translate", ["--mlir-to-llvmir", "-o", file("ll"), file("llvm.mlir")]);
    await this.stage("opt", [...this.target, `-passes=${PASSES}`, ...flags, "-o", file("bc"), file("ll")]);
    return { dialect: file("llvm.mlir"), optimised: file("bc") };
  }

  async stage(tool: Tool, args: readonly string[]): Promise<void> {
    await slots.take();
    const started = performance.now();
    try {
      await runTool(this.#toolchain, tool, args, this.#directory);
    } finally {
      slots.give();
    }
    if (this.#times !== undefined) {
      this.#times.set(tool, (this.#times.get(tool) ?? 0) + performance.now() - started);
    }
  }
}

/**
 * Runs a tool until it is done; its files lie in `directory`.
 * @throws ToolFailedError; FileError where the disk is full
 */
export async function runTool(
  toolchain: Toolchain,
  tool: Tool,
  args: readonly string[],
  directory: string,
): Promise<void> {
  const timeoutMs = toolchain.stageMsMax ?? STAGE_MS_MAX;
  const fail = (said: string): never => {
    if (said.includes("No space left on device")) throw toolFileError(directory, "ENOSPC");
    throw new ToolFailedError(tool, directory, said.split("\n").slice(0, 6).join("\n            "));
  };
  const { code, stderr, isTimeout } = await runProcess(toolchain.paths[tool], args, timeoutMs).catch((error: unknown) =>
    fail(String(error)),
  );
  if (isTimeout) fail(`nothing in ${timeoutMs / 1000} s`);
  if (code !== 0) fail(stderr.trim() || (code === undefined ? "a signal ended it" : `it ended with ${code}`));
}
