// The device of a processor: tensors in one shared memory, programs compiled for a target (WebAssembly or native code),
// a thread team that runs them.
// Programs of a device never run at the same time, so they share one arena for intermediate values and one set of
// scratch memories, as large as the largest of them needs; only bindings and constants are each program's own.
// What differs between Node and a browser (workers, where reports go) is injected; see device.node.ts.

import { MEMORY32_BYTES_MAX, OutOfMemoryError, SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import type { Allocation, Region } from "@fidelity/barewire";
import { formatType, storageBytes, topologicalOrder } from "@fidelity/core";
import type { CompileOptions, Device, Graph, Program, RecalledProgram, Recipe, TensorType } from "@fidelity/core";
import { ADDRESS_BYTES } from "../targets/team.ts";
import { scratchStrideBytes } from "../targets/wasm/index.ts";
import { checkDonations } from "./binding.ts";
import type { Signature } from "./binding.ts";
import { describeProgram, itemLabel, ms, SILENT, splitSchedule } from "./debug.ts";
import type { DebugSink } from "./debug.ts";
import { DeviceClosedError, DeviceOptionError } from "./errors.ts";
import { CpuExecutable } from "./executable.ts";
import type { ProgramPart } from "./executable.ts";
import { graphCode } from "./graph-code.ts";
import type { GraphCode } from "./graph-code.ts";
import { outlineOf, widestMembers } from "./outline.ts";
import type { ProgramOutline } from "./outline.ts";
import { teamBlockBytes } from "./protocol.ts";
import type { ProgramStore, ReadyProgram } from "./store.ts";
import { ThreadTeam } from "./team.ts";
import { wasmTarget } from "./target.ts";
import type { CompiledProgram, CpuTarget } from "./target.ts";
import type { LoadedProgram, MemberSpawner, Pinning, Workspace } from "./team.ts";
import { checkTensorRegion, RegionTensor } from "./tensor.ts";

/** Turns a graph into a program. */
export type GraphCompiler = (graph: Graph, options: CompileOptions) => Program;

export interface CpuDeviceOptions {
  /** Members of the team, the calling thread included in synchronous runs; 1 to 256. */
  readonly threads: number;
  /** The most memory that tensors and programs may take: up to what the target's code reaches, which is the default. */
  readonly maximumBytes?: number;
  /** What programs become; WebAssembly by default. */
  readonly target?: CpuTarget;
  readonly compileGraph: GraphCompiler;
  /** Where programs are looked for before they are compiled, in order; all of this target's. */
  readonly stores?: readonly ProgramStore[];
  readonly spawn: MemberSpawner;
  /** Where the team's members are; wherever the system puts them unless said. */
  readonly pinning?: Pinning;
  readonly debug?: DebugSink;
}

/** Something that is run, and in profiles timed, by itself: a program, or an item of its schedule. */
interface Piece {
  readonly label: string;
  readonly members: number;
  readonly start: number;
  readonly compiled: CompiledProgram;
}

const THREADS_MAX = 256;
const INITIAL_BYTES = 2 ** 20;

/** A device that compiles to WebAssembly or native code and runs on a thread team. */
export class CpuDevice implements Device {
  readonly target: CpuTarget["name"];
  readonly threads: number;
  readonly pinning: Pinning;
  /** The memory that everything lies in; model files are mapped or read into regions of it. */
  readonly arena: SharedArena;
  readonly #target: CpuTarget;
  readonly #compileGraph: GraphCompiler;
  readonly #stores: readonly ProgramStore[];
  readonly #debug: DebugSink;
  readonly #team: ThreadTeam;
  readonly #block: Allocation;
  readonly #workspace: Workspace = { arena: 0, scratch: 0 };
  #arenaRegion: Allocation | undefined;
  #scratchRegion: Allocation | undefined;
  readonly #tensors = new Map<RegionTensor, Allocation>();
  readonly #executables = new Set<CpuExecutable>();
  #freedCount = 0;
  #isClosed = false;

  /** Throws `DeviceOptionError`, and `OutOfMemoryError` when the system refuses the address space. */
  constructor(options: CpuDeviceOptions) {
    const { threads } = options;
    if (!Number.isInteger(threads) || threads < 1 || threads > THREADS_MAX) {
      throw new DeviceOptionError("a device cannot have this number of threads", {
        expected: `a whole number from 1 to ${THREADS_MAX}`,
        got: `${threads}`,
      });
    }
    this.threads = threads;
    this.#target = options.target ?? wasmTarget;
    this.target = this.#target.name;
    this.#compileGraph = options.compileGraph;
    this.#stores = options.stores ?? [];
    this.#debug = options.debug ?? SILENT;
    const maximumBytes = options.maximumBytes ?? this.#target.memoryBytesMax;
    this.arena = SharedArena.create({ initialBytes: Math.min(INITIAL_BYTES, maximumBytes), maximumBytes });
    this.#block = this.arena.allocZeroed(teamBlockBytes(threads), undefined, "thread team");
    const { memory } = this.arena;
    const { spawn, pinning = { processors: [] } } = options;
    const { open } = this.#target;
    this.pinning = pinning;
    this.#team = new ThreadTeam({ memory, blockBytes: this.#block.byteOffset, threads, spawn, open, ...pinning });
  }

  /** Starts the threads of the team. Programs that need them start them, too, but only when they have been found. */
  prepare(): void {
    this.#team.prepare(this.threads);
  }

  /** Throws `OutOfMemoryError`, which says how much is needed and how much there is. */
  tensor(type: TensorType): RegionTensor {
    this.#checkOpen();
    const region = this.arena.allocZeroed(storageBytes(type), undefined, formatType(type));
    const tensor = new RegionTensor(type, region, (freed) => this.#free(freed));
    this.#tensors.set(tensor, region);
    return tensor;
  }

  /**
   * A tensor over a region of the device's memory that stays its holder's: a weight of a mapped model file. The bytes
   * must be in the storage layout of the type. Throws `BindError` when the region is elsewhere, too small or unaligned.
   */
  tensorAt(region: Region, type: TensorType): RegionTensor {
    this.#checkOpen();
    checkTensorRegion(this.arena.memory, region, type);
    return new RegionTensor(type, region.sub(0, storageBytes(type)));
  }

  /** Throws what the compiler throws, `BindError` on impossible donations, and `OutOfMemoryError`. */
  async compile(graph: Graph, options: CompileOptions = {}): Promise<CpuExecutable> {
    const name = options.name ?? graph.name;
    const signature: Signature = {
      parameterTypes: graph.parameters.map((parameter) => parameter.type),
      resultTypes: graph.results.map((result) => result.type),
      donations: options.donations ?? [],
    };
    this.#checkOpen();
    checkDonations(name, signature);
    const started = performance.now();
    const code = this.#stores.length === 0 ? undefined : graphCode(graph, options);
    const found = code && (await this.#find(code));
    if (found !== undefined) {
      if (this.#debug.level >= 1) {
        const size = `${found.outline.kernels} kernels, ${this.target} ${found.compiled.sizeBytes} B`;
        this.#debug.line(`${name}: found compiled in ${ms(performance.now() - started)}, ${size}`);
      }
      this.#remember(found.store, options, found, signature, Infinity);
      return this.#open(found.outline, signature, this.#wholeOrItems(found));
    }
    const program = this.#compileGraph(graph, options);
    if (this.#debug.level >= 1) {
      const nodes = topologicalOrder(graph.results).length;
      this.#debug.line(`${name}: ${nodes} nodes to a program in ${ms(performance.now() - started)}`);
    }
    const { outline, pieces } = await this.#make(program);
    const [{ compiled }] = pieces;
    if (code !== undefined && pieces.every((piece) => piece.compiled === compiled)) {
      const timeMs = performance.now() - started;
      for (const store of this.#stores) {
        store.keep(code, this.#maximumPages, { outline, compiled }, timeMs);
        this.#remember(store, options, { outline, compiled }, signature, timeMs);
      }
    }
    return this.#open(outline, signature, pieces);
  }

  /** Throws `OutOfMemoryError`. */
  async recall(recipe: Recipe, parameterTypes: readonly TensorType[]): Promise<RecalledProgram | undefined> {
    this.#checkOpen();
    const started = performance.now();
    for (const store of this.#debug.level >= 3 ? [] : this.#stores) {
      const found = await store.recall?.(recipe, this.#maximumPages);
      if (found === undefined) continue;
      const { program, results } = found;
      const { name } = program.outline;
      if (this.#debug.level >= 1) this.#debug.line(`${name}: recalled in ${ms(performance.now() - started)}`);
      const pieces = this.#wholeOrItems(program);
      const executable = await this.#open(program.outline, { parameterTypes, ...results }, pieces);
      return { executable, donations: results.donations };
    }
    return undefined;
  }

  /**
   * Makes a program executable. Its binding slots are the parameters, then the results, then its constants, which get
   * memory of their own. `signature` types the first two.
   */
  async load(program: Program, signature: Signature): Promise<CpuExecutable> {
    this.#checkOpen();
    checkDonations(program.name, signature);
    const { outline, pieces } = await this.#make(program);
    return this.#open(outline, signature, pieces);
  }

  /**
   * Waits for the runs in progress, ends the team and frees all memory; tensors and executables are dead afterwards.
   * Throws `LeakError` when regions that others took from `arena` are left.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#team.close();
    for (const executable of this.#executables) executable.free();
    for (const tensor of this.#tensors.keys()) tensor.free();
    for (const region of [this.#block, this.#arenaRegion, this.#scratchRegion]) {
      if (region !== undefined) this.arena.free(region);
    }
    this.arena[Symbol.dispose]();
  }

  get #maximumPages(): number {
    return this.arena.maximumBytes / WASM_PAGE_BYTES;
  }

  /** The program of a graph in one of the stores, if it is of use: what reports show must be in it. */
  async #find(code: GraphCode): Promise<(ReadyProgram & { readonly store: ProgramStore }) | undefined> {
    if (this.#debug.level >= 4) return undefined;
    for (const store of this.#stores) {
      const found = await store.find(code, this.#maximumPages);
      if (found !== undefined && (this.#debug.level < 3 || startsItems(found.outline))) return { ...found, store };
    }
    return undefined;
  }

  #remember(
    store: ProgramStore,
    { recipe }: CompileOptions,
    program: ReadyProgram,
    results: Signature,
    timeMs: number,
  ): void {
    if (recipe !== undefined) store.remember?.(recipe, this.#maximumPages, { program, results }, timeMs);
  }

  /** Compiles a program: as one, or where items are to be timed and one cannot start at each, one for each item. */
  async #make(program: Program): Promise<{ readonly outline: ProgramOutline; readonly pieces: readonly Piece[] }> {
    this.#requireRoom(outlineOf(program));
    const started = performance.now();
    const compiled = await this.#target.compile(program, this.#maximumPages);
    const outline = outlineOf(program, compiled.starts);
    const isSplit = this.#debug.level >= 3 && !startsItems(outline);
    const pieces = isSplit ? await this.#split(program) : this.#wholeOrItems({ outline, compiled });
    if (this.#debug.level >= 1) {
      const timeMs = performance.now() - started;
      this.#debug.line(describeProgram(program, this.target, compiled.sizeBytes, timeMs, this.#debug.level));
    }
    return { outline, pieces };
  }

  #split(program: Program): Promise<Piece[]> {
    return Promise.all(
      splitSchedule(program).map(async (part, i) => {
        const label = `${program.name}: ${itemLabel(program.schedule[i])}`;
        const members = widestMembers(part.schedule);
        return { label, members, start: 0, compiled: await this.#target.compile(part, this.#maximumPages) };
      }),
    );
  }

  /** What is run, one after the other: the program, or its items where they are timed. */
  #wholeOrItems({ outline, compiled }: ReadyProgram): Piece[] {
    const { name, members } = outline;
    if (this.#debug.level < 3 || outline.items.length === 0) return [{ label: name, members, start: 0, compiled }];
    return outline.items.map(({ label, members, start = 0 }) => ({
      label: `${name}: ${label}`,
      members,
      start,
      compiled,
    }));
  }

  /** Loads pieces of a program, and makes room for what they work in. */
  async #open(outline: ProgramOutline, signature: Signature, pieces: readonly Piece[]): Promise<CpuExecutable> {
    this.#requireRoom(outline);
    await this.#reserveWorkspace(outline);
    this.#checkOpen();
    const loaded = new Map<CompiledProgram, LoadedProgram>();
    const parts = pieces.map(({ label, members, start, compiled }): ProgramPart => {
      let program = loaded.get(compiled);
      if (program === undefined) loaded.set(compiled, (program = this.#team.load(outline.name, compiled.loadable)));
      return { label, members, start, loaded: program };
    });
    // Behind whoever waits for the program: starting workers may take as long as finding it did.
    const members = Math.max(...parts.map((part) => part.members));
    setTimeout(() => this.#team.prepare(members), 0);
    return this.#makeExecutable(outline, signature, parts);
  }

  #makeExecutable(program: ProgramOutline, signature: Signature, parts: readonly ProgramPart[]): CpuExecutable {
    const home = {
      arena: this.arena,
      team: this.#team,
      workspace: this.#workspace,
      debug: this.#debug,
      freedCount: () => this.#freedCount,
      onFree: (freed: CpuExecutable) => void this.#executables.delete(freed),
    };
    try {
      const executable = new CpuExecutable(home, program, signature, parts);
      this.#executables.add(executable);
      return executable;
    } catch (error) {
      for (const { loaded } of parts) this.#team.unload(loaded);
      throw error;
    }
  }

  /** Refuses what this memory could never hold before offsets in it are written into code that has 32 bits for them. */
  #requireRoom({ name, arenaBytes, largestBytes }: ProgramOutline): void {
    const needBytes = Math.max(largestBytes, arenaBytes);
    const maximumBytes = Math.min(this.arena.maximumBytes, MEMORY32_BYTES_MAX);
    if (needBytes <= maximumBytes) return;
    const hint = `the program "${name}" needs a smaller model, batch or context`;
    throw new OutOfMemoryError(needBytes, maximumBytes, maximumBytes, hint);
  }

  /** Makes arena and scratch large enough for a program, when nothing runs: runs in progress use the old ones. */
  async #reserveWorkspace(program: ProgramOutline): Promise<void> {
    const arenaBytes = program.arenaBytes;
    const scratchBytes = scratchStrideBytes(program) * this.threads;
    const fits = (region: Allocation | undefined, bytes: number): boolean => bytes <= (region?.sizeBytes ?? 0);
    if (fits(this.#arenaRegion, arenaBytes) && fits(this.#scratchRegion, scratchBytes)) return;
    await this.#team.exclusive(() => {
      this.#arenaRegion = this.#grow(this.#arenaRegion, arenaBytes, "arena of programs");
      this.#workspace.arena = (this.#arenaRegion?.byteOffset ?? 0) / ADDRESS_BYTES;
      this.#scratchRegion = this.#grow(this.#scratchRegion, scratchBytes, "scratch of programs");
      this.#workspace.scratch = (this.#scratchRegion?.byteOffset ?? 0) / ADDRESS_BYTES;
    });
  }

  #grow(region: Allocation | undefined, sizeBytes: number, label: string): Allocation | undefined {
    if (sizeBytes <= (region?.sizeBytes ?? 0)) return region;
    // The new one comes first: when there is no memory for it, the programs that are loaded keep theirs.
    const larger = this.arena.alloc(sizeBytes, undefined, label);
    if (region !== undefined) this.arena.free(region);
    return larger;
  }

  #free(tensor: RegionTensor): void {
    const region = this.#tensors.get(tensor);
    if (region === undefined) return;
    this.#tensors.delete(tensor);
    this.#freedCount++;
    this.arena.free(region);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new DeviceClosedError("the device was closed", { hint: "create another device" });
  }
}

/** Whether a program's code can start at each item of its schedule, so that they can be timed. */
function startsItems({ items }: ProgramOutline): boolean {
  return items.every(({ start }) => start !== undefined);
}
