// From units to kernel calls. Each unit of the fused graph becomes calls over buffers that have a size and a role but
// no place yet. Kernels that come out the same for two units (layers of a model) are kept once, and not even generated
// where the units say as much (signature.ts).

import type {
  BufferHandle,
  CacheBytes,
  Graph,
  Kernel,
  KernelBuilder,
  LoopLimit,
  LoopValue,
  LowerContext,
  Node,
  Schedule,
  Tensor,
  VectorTarget,
  WideFloat,
} from "@fidelity/core";
import { buildKernel, completeTarget, encodeTensor, roundUp, sameType, storageBytes } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Unit } from "../passes/fuse.ts";
import { resolveAlias } from "../passes/fuse.ts";
import { KernelTable } from "./kernel_table.ts";
import { planRowProgram } from "./row_plan.ts";
import { generateRowProgram } from "./row_program.ts";
import { nodeSignature, nodeText, unitSignature } from "./signature.ts";
import { lowerCopy } from "./copy.ts";
import { lowerColumnReduce } from "./column_reduce.ts";
import { lowerBroadcast } from "./broadcast.ts";
import { lowerScan } from "./scan.ts";

/** Memory that calls work on. */
export interface VirtualBuffer {
  readonly id: number;
  readonly name: string;
  readonly sizeBytes: number;
  /** A caller's tensor by binding slot, a constant, or intermediate memory. */
  readonly role:
    | { readonly kind: "binding"; readonly slot: number }
    | { readonly kind: "constant"; readonly bytes: Uint8Array }
    | { readonly kind: "arena" };
}

/** A place in a buffer; inside a loop it advances by `strideBytes[depth]` an iteration. */
export interface BufferView {
  readonly buffer: VirtualBuffer;
  readonly offsetBytes: number;
  readonly strideBytes: readonly number[];
}

/** One kernel over buffers, before it has a place in a schedule. */
export interface Call {
  readonly kind: "call";
  readonly kernel: number;
  readonly chunks: number;
  readonly work: number;
  readonly label: string;
  readonly views: readonly BufferView[];
  /** How many of the views, from the end, are written. */
  readonly writes: number;
  /** The unit that it computes or helps to compute; copies to where results belong have none. */
  readonly unit?: Unit;
}

/** Calls that are repeated `count` times, or as often as a number in memory says. */
export interface CallLoop {
  readonly kind: "loop";
  readonly count: number;
  readonly limit?: { readonly keeps: LoopLimit["keeps"]; readonly view: BufferView };
  readonly items: readonly CallItem[];
}

export type CallItem = Call | CallLoop;

/** What a node's lowering did, by handles: inputs, results, then temporaries in the order in which they were made. */
type Step =
  | { readonly kind: "temporary"; readonly sizeBytes: number }
  | PrepareStep
  | (Omit<Call, "kind" | "unit" | "views"> & { readonly kind: "call"; readonly handles: readonly number[] });

interface PrepareStep extends Pick<Call, "kernel" | "chunks" | "work" | "label"> {
  readonly kind: "prepare";
  readonly input: number;
  readonly sizeBytes: number;
}

/** Memory that was filled from one value, and how many items of the scope there were when it was last asked for. */
interface Prepared {
  readonly view: BufferView;
  readonly place: number;
}

/** Items after which prepared memory is no longer shared: it would live on for longer than it saves time. */
const PREPARED_WINDOW = 48;

/** The kernel of a fused unit, and what it reads, by the numbers of its signature. */
interface RowKernel extends Pick<Call, "kernel" | "chunks" | "work"> {
  readonly loads: readonly number[];
}

/** Schedules that were measured to be the fastest on this machine (tune/). */
export interface ScheduleSource {
  /** The number of the schedule to take, of the candidates of a node of this text; undefined where none is known. */
  find(text: string, candidates: readonly Schedule[]): number | undefined;
}

/** The schedule that nodes of one text were lowered by. */
export interface ScheduleChoice {
  readonly node: Node;
  readonly candidates: readonly Schedule[];
  readonly chosen: number;
  /** Whether it was measured; otherwise it is the first. */
  readonly isTuned: boolean;
}

/** What lowering has made so far. */
export class Lowering {
  readonly target: Required<VectorTarget>;
  readonly buffers: VirtualBuffer[] = [];
  /** What was done for units, by their signatures. */
  readonly nodeSteps = new Map<string, readonly Step[]>();
  readonly rowKernels = new Map<string, RowKernel>();
  /** By the texts of nodes, of those that there was a choice for. */
  readonly choices = new Map<string, ScheduleChoice>();
  readonly #kernels = new KernelTable();
  readonly #schedules: ScheduleSource | undefined;

  constructor(target: VectorTarget, schedules?: ScheduleSource) {
    this.target = completeTarget(target);
    this.#schedules = schedules;
  }

  choose<S extends Schedule>(node: Node, candidates: readonly S[]): S {
    const text = candidates.length < 2 ? undefined : nodeText(node);
    if (text === undefined) return candidates[0]!;
    const found = this.#schedules?.find(text, candidates);
    const chosen = found ?? 0;
    this.choices.set(text, { node, candidates, chosen, isTuned: found !== undefined });
    return candidates[chosen]!;
  }

  buffer(name: string, sizeBytes: number, role: VirtualBuffer["role"] = { kind: "arena" }): VirtualBuffer {
    const buffer = { id: this.buffers.length, name, sizeBytes, role };
    this.buffers.push(buffer);
    return buffer;
  }

  get kernels(): readonly Kernel[] {
    return this.#kernels.kernels;
  }

  /** The index of a kernel, found again when one with the same instructions exists. */
  kernel(kernel: Kernel): number {
    return this.#kernels.add(kernel);
  }
}

/** Where the values of one graph are; bodies of loops have a scope of their own. */
export class Scope {
  readonly lowering: Lowering;
  readonly views = new Map<Tensor, BufferView>();
  /** By value, kernel and chunks. */
  readonly prepared = new Map<string, Prepared>();
  readonly items: CallItem[] = [];
  /** Number of loops around. */
  readonly depth: number;
  #unit: Unit | undefined;

  constructor(lowering: Lowering, depth: number) {
    this.lowering = lowering;
    this.depth = depth;
  }

  /** Adds a call, for the unit that is being lowered. */
  call(call: Omit<Call, "kind" | "unit">): void {
    this.items.push({ kind: "call", ...call, ...(this.#unit !== undefined && { unit: this.#unit }) });
  }

  /** Runs `lower`; the calls that it adds are for `unit`. */
  forUnit(unit: Unit, lower: () => void): void {
    this.#unit = unit;
    lower();
    this.#unit = undefined;
  }

  view(tensor: Tensor): BufferView {
    const base = resolveAlias(tensor);
    const known = this.views.get(base);
    if (known !== undefined) return known;
    invariant(base.node.op.name === "constant", `${base.toString()} is read before it is computed`);
    const bytes = new Uint8Array(roundUp(storageBytes(base.type), 8));
    encodeTensor({ type: base.type, data: base.node.attrs["data"] as Float64Array }, bytes);
    const made = whole(this.lowering.buffer("constant", bytes.byteLength, { kind: "constant", bytes }));
    this.views.set(base, made);
    return made;
  }

  /** Memory for a result, unless it already has a place (a result of the graph, or of an input updated in place). */
  define(tensor: Tensor): BufferView {
    let view = this.views.get(tensor);
    if (view === undefined) {
      view = whole(this.lowering.buffer(`${tensor.node.op.name}.${tensor.node.id}`, storageBytes(tensor.type)));
      this.views.set(tensor, view);
    }
    return view;
  }
}

export function whole(buffer: VirtualBuffer): BufferView {
  return { buffer, offsetBytes: 0, strideBytes: [] };
}

/**
 * Lowers `units`, which compute `graph`, so that result i ends up at `targets[i]`: computed there when it can be,
 * copied there otherwise (a parameter, a value that has a place already, or a target that `mayPlace` reserves).
 */
export function lowerGraph(
  scope: Scope,
  graph: Graph,
  units: readonly Unit[],
  targets: readonly BufferView[],
  mayPlace: (result: number) => boolean,
): void {
  const copies: { readonly from: Tensor; readonly to: BufferView }[] = [];
  graph.results.forEach((result, i) => {
    const base = resolveAlias(result);
    const computed = base.node.op.lowering.kind !== "source" && !scope.views.has(base);
    if (computed && mayPlace(i)) scope.views.set(base, targets[i]!);
    else copies.push({ from: result, to: targets[i]! });
  });
  lowerUnits(scope, units);
  // Copies happen at once: what one copy overwrites, another may still have to read.
  const overwritten = new Set(copies.map(({ to }) => to.buffer));
  const staged = copies.map(({ from, to }) => {
    const view = scope.view(from);
    const bytes = storageBytes(from.type);
    if (sameView(view, to)) return undefined;
    if (!overwritten.has(view.buffer)) return { view, to, bytes };
    const temporary = whole(scope.lowering.buffer("staged", bytes));
    copyView(scope, view, temporary, bytes);
    return { view: temporary, to, bytes };
  });
  for (const copy of staged) if (copy !== undefined) copyView(scope, copy.view, copy.to, copy.bytes);
}

/** Adds the calls of `units` to the scope. */
function lowerUnits(scope: Scope, units: readonly Unit[]): void {
  const users = countUsers(units);
  for (const unit of units) {
    scope.forUnit(unit, () => {
      if (unit.kind === "fused") lowerFused(scope, unit);
      else if (unit.kind === "loop") lowerScan(scope, unit.node);
      else lowerKernelNode(scope, unit.node, users);
    });
  }
}

function lowerFused(scope: Scope, unit: Unit & { readonly kind: "fused" }): void {
  const signature = unitSignature(unit);
  const known = signature && scope.lowering.rowKernels.get(signature.text);
  const { loads, kernel, chunks, work } = known
    ? { ...known, loads: known.loads.map((number) => signature.externals[number]!) }
    : generateFused(scope.lowering, unit, signature);
  scope.call({
    kernel,
    chunks,
    work,
    label: unit.nodes.map((node) => node.op.name).join("+"),
    views: [...loads.map((load) => scope.view(load)), ...unit.outputs.map((output) => scope.define(output))],
    writes: unit.outputs.length,
  });
}

/** Generates a fused unit's kernel, and notes it for units with the same signature. */
function generateFused(
  lowering: Lowering,
  unit: Unit & { readonly kind: "fused" },
  signature: ReturnType<typeof unitSignature>,
): Pick<Call, "kernel" | "chunks" | "work"> & { readonly loads: readonly Tensor[] } {
  const program = planRowProgram(unit, lowering.target);
  const { loads, chunks, work } = program;
  const bufferCount = loads.length + unit.outputs.length;
  const generate = (k: KernelBuilder, buffers: readonly LoopValue[]): void => generateRowProgram(k, program, buffers);
  const built = buildKernel("row_program", bufferCount, generate, lowering.target);
  const kernel = lowering.kernel(built);
  const numbers = loads.map((load) => signature?.externals.indexOf(load) ?? -1);
  if (signature !== undefined && !numbers.includes(-1)) {
    lowering.rowKernels.set(signature.text, { kernel, chunks, work, loads: numbers });
  }
  return { kernel, chunks, work, loads };
}

/** How many units read each value; an op may take over the memory of an input that only it reads. */
function countUsers(units: readonly Unit[]): Map<Tensor, number> {
  const users = new Map<Tensor, number>();
  for (const unit of units) {
    const nodes = unit.kind === "fused" ? unit.nodes : [unit.node];
    for (const base of new Set(nodes.flatMap((node) => node.inputs.map(resolveAlias)))) {
      users.set(base, (users.get(base) ?? 0) + 1);
    }
  }
  return users;
}

function lowerKernelNode(scope: Scope, node: Node, users: ReadonlyMap<Tensor, number>): void {
  const { lowering } = node.op;
  const context = new NodeContext(scope, node, placeOf(node), users);
  const signature = nodeSignature(node);
  const key = signature && `${signature} ${context.inPlace}`;
  const known = key && scope.lowering.nodeSteps.get(key);
  if (known) return context.repeat(known);
  if (key) scope.lowering.nodeSteps.set(key, context.steps);
  if (lowering.kind === "kernel") lowering.lower(context, node.attrs);
  else if (lowering.kind === "reduce") lowerColumnReduce(context, lowering.combine);
  else if (lowering.kind === "broadcast") lowerBroadcast(context);
  else invariant(false, `${node.op.name} has no loops of its own`);
}

/** The input whose memory a result of a node may take over, and the result. */
type Place = { readonly input: number; readonly result: number };

function placeOf({ op: { lowering } }: Node): Place | undefined {
  if (lowering.kind !== "kernel" || lowering.inPlace === undefined) return undefined;
  return { input: lowering.inPlace, result: lowering.inPlaceResult ?? 0 };
}

/** What one node's lowering sees: its inputs, then its results, then temporaries, as handles. */
class NodeContext implements LowerContext {
  readonly node: Node;
  readonly lanes: number;
  readonly joinsVectors: boolean;
  readonly registers: number;
  readonly lookupEntries: number;
  readonly permutes: boolean;
  readonly saturatesBesidePermutes: boolean;
  readonly dot4: boolean;
  readonly tiles: boolean;
  readonly halves: boolean;
  readonly scales: boolean;
  readonly dot4Unsigned: boolean;
  readonly prefetchCache: 1 | 2;
  readonly wideFloats: readonly WideFloat[];
  readonly cacheBytes: CacheBytes;
  readonly chunkElements: number;
  readonly inPlace: boolean;
  /** What was done so far. */
  readonly steps: Step[] = [];
  readonly #scope: Scope;
  readonly #views: BufferView[];

  constructor(scope: Scope, node: Node, place: Place | undefined, users: ReadonlyMap<Tensor, number>) {
    this.node = node;
    const { target } = scope.lowering;
    const { lanes, joinsVectors, registers, lookupEntries, dot4, tiles, cacheBytes, chunkElements } = target;
    this.lanes = lanes;
    this.joinsVectors = joinsVectors;
    this.registers = registers;
    this.lookupEntries = lookupEntries;
    this.permutes = target.permutes;
    this.saturatesBesidePermutes = target.saturatesBesidePermutes;
    this.dot4 = dot4;
    this.tiles = tiles;
    this.halves = target.halves;
    this.scales = target.scales;
    this.dot4Unsigned = target.dot4Unsigned;
    this.prefetchCache = target.prefetchCache;
    this.wideFloats = target.wideFloats;
    this.cacheBytes = cacheBytes;
    this.chunkElements = chunkElements;
    this.#scope = scope;
    const inputs = node.inputs.map((input) => scope.view(input));
    if (place !== undefined) takeOver(scope, node, place, users);
    this.#views = [...inputs, ...node.results.map((result) => scope.define(result))];
    const at = node.inputs.length;
    this.inPlace = place !== undefined && sameView(this.#views[place.input]!, this.#views[at + place.result]!);
  }

  input(index: number): BufferHandle {
    return index as BufferHandle;
  }

  result(index: number): BufferHandle {
    return (this.node.inputs.length + index) as BufferHandle;
  }

  choose<S extends Schedule>(candidates: readonly S[]): S {
    return this.#scope.lowering.choose(this.node, candidates);
  }

  temporary(sizeBytes: number): BufferHandle {
    this.steps.push({ kind: "temporary", sizeBytes });
    return this.#temporary(sizeBytes);
  }

  #temporary(sizeBytes: number): BufferHandle {
    this.#views.push(whole(this.#scope.lowering.buffer(`${this.node.op.name}.temporary`, sizeBytes)));
    return (this.#views.length - 1) as BufferHandle;
  }

  prepare(...[name, input, sizeBytes, chunks, work, generate]: Parameters<LowerContext["prepare"]>): BufferHandle {
    const kernel = this.#scope.lowering.kernel(buildKernel(name, 2, generate, this));
    const step: PrepareStep = { kind: "prepare", kernel, chunks, work, label: name, input, sizeBytes };
    this.steps.push(step);
    return this.#prepare(step);
  }

  #prepare({ kernel, chunks, work, label, input, sizeBytes }: PrepareStep): BufferHandle {
    const { prepared, items } = this.#scope;
    const base = resolveAlias(this.node.inputs[input]!);
    const key = `${base.node.id}.${base.index} ${kernel} ${chunks}`;
    const known = prepared.get(key);
    if (known !== undefined && items.length - known.place <= PREPARED_WINDOW) {
      prepared.set(key, { view: known.view, place: items.length });
      this.#views.push(known.view);
      return (this.#views.length - 1) as BufferHandle;
    }
    const handle = this.#temporary(sizeBytes);
    const view = this.#views[handle]!;
    this.#scope.call({ kernel, chunks, work, label, views: [this.#views[input]!, view], writes: 1 });
    prepared.set(key, { view, place: items.length });
    return handle;
  }

  call(...[name, chunks, work, buffers, generate]: Parameters<LowerContext["call"]>): void {
    // Reads first: what the call writes is everything that is not an input.
    const reads = buffers.filter((handle) => handle < this.node.inputs.length);
    const ordered = [...reads, ...buffers.filter((handle) => handle >= this.node.inputs.length)];
    const inOrder = (k: KernelBuilder, values: readonly LoopValue[]): void =>
      generate(
        k,
        buffers.map((handle) => values[ordered.indexOf(handle)]!),
      );
    const kernel = buildKernel(name, ordered.length, inOrder, this);
    const step: Step = {
      kind: "call",
      kernel: this.#scope.lowering.kernel(kernel),
      chunks,
      work,
      label: name,
      handles: ordered,
      writes: ordered.length - reads.length,
    };
    this.steps.push(step);
    this.#add(step);
  }

  /** Does for this node what was done for another one with the same signature. */
  repeat(steps: readonly Step[]): void {
    for (const step of steps) {
      if (step.kind === "temporary") this.#temporary(step.sizeBytes);
      else if (step.kind === "prepare") this.#prepare(step);
      else this.#add(step);
    }
  }

  #add({ kernel, chunks, work, label, handles, writes }: Step & { readonly kind: "call" }): void {
    const views = handles.map((handle) => this.#views[handle]!);
    this.#scope.call({ kernel, chunks, work, label, views, writes });
  }
}

/** Gives the result the memory of an intermediate input that nobody else reads. */
function takeOver(scope: Scope, node: Node, place: Place, users: ReadonlyMap<Tensor, number>): void {
  const result = node.results[place.result];
  const base = resolveAlias(node.inputs[place.input]!);
  const view = scope.view(base);
  const free = view.buffer.role.kind === "arena" && view.strideBytes.length === 0 && users.get(base) === 1;
  if (free && !scope.views.has(result!) && sameType(base.type, result!.type)) scope.views.set(result!, view);
}

function sameView(a: BufferView, b: BufferView): boolean {
  return a.buffer === b.buffer && a.offsetBytes === b.offsetBytes;
}

/** Adds a copy of one value's bytes. */
export function copyView(scope: Scope, from: BufferView, to: BufferView, sizeBytes: number): void {
  const { kernel, chunks } = lowerCopy(sizeBytes);
  scope.call({
    kernel: scope.lowering.kernel(kernel),
    chunks,
    work: sizeBytes / 16,
    label: "copy",
    views: [from, to],
    writes: 1,
  });
}
