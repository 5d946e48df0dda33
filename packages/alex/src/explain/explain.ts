// The decisions of a compilation and what they cost, as data: which ops share a loop, what is updated in place, how
// calls are staged, where buffers lie, and for each call the bytes, the arithmetic and the least time they take.

import type { Block, Graph, KernelCall, Program, ScheduleItem } from "@fidelity/core";
import { completeTarget, topologicalOrder } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { CompiledStages } from "../compile.ts";
import type { Call } from "../lower/lowering.ts";
import type { Unit } from "../passes/fuse.ts";
import type { Slot } from "../passes/schedule.ts";
import type { Ceilings } from "./ceilings.ts";
import { assignGroups, bytesApart, describeOps, inputName, titleOf, UnitReads, ValueNames } from "./describe_units.ts";
import { nodesOf } from "./describe_units.ts";
import type {
  ArgumentExplanation,
  CallExplanation,
  Explanation,
  StageExplanation,
  Totals,
  UnitExplanation,
} from "./explanation.ts";
import { explainLayouts } from "./layouts.ts";
import { explainBuffers, explainDonations, explainMemory } from "./memory.ts";
import { predictCall, ratesOf, reuseDistances } from "./predict.ts";
import { explainSchedules } from "./schedules.ts";
import { tallyCall } from "./tally.ts";
import type { CallWork, TallyOptions } from "./tally.ts";

export interface ExplainOptions extends TallyOptions {
  /** Measured ceilings; without them there are no predicted times. */
  readonly ceilings?: Ceilings;
}

/** A call with its place in the schedule. */
interface PlacedCall {
  readonly call: KernelCall;
  /** The unit that it is for; none for copies to where results belong. */
  readonly unit: Unit | undefined;
  readonly stage: StageExplanation;
  readonly repeat: number;
}

/** Explains a compilation. */
export function explainProgram(compiled: CompiledStages, options: ExplainOptions = {}): Explanation {
  const { compilation, program, traced } = compiled;
  const { slots, graph, units: topUnits = [] } = compilation;
  invariant(slots !== undefined, "a finished compilation has a schedule");
  const stages: StageExplanation[] = [];
  const placed = placeCalls(program.schedule, slots, stages, []);
  const numbered = numberUnits(topUnits, placed);
  const ids = new Map(numbered.map((unit, id) => [unit, id]));
  const calls = explainCalls(program, placed, ids, options);
  const units = explainUnits(numbered, graph, calls);
  const buffers = explainBuffers(compiled);
  return {
    name: program.name,
    target: completeTarget(compilation.target),
    graph: { tracedOps: countOps(traced), ops: countOps(graph) },
    units,
    calls,
    stages,
    kernels: program.kernels.map(({ name, scratchBytes, body }, id) => {
      const ofKernel = calls.flatMap((call) => (call.kernel === id ? [call.id] : []));
      return { id, name, calls: ofKernel, scratchBytes, instructions: instructionCount(body) };
    }),
    buffers,
    donations: explainDonations(compiled),
    layouts: explainLayouts(compiled, calls),
    schedules: explainSchedules(compiled, numbered),
    memory: explainMemory(compiled, buffers),
    totals: sumUp(calls, units),
    ...(options.ceilings !== undefined && { ceilings: options.ceilings }),
  };
}

function countOps(graph: Graph): number {
  return topologicalOrder(graph.results).filter(({ op }) => op.name !== "parameter").length;
}

function instructionCount(block: Block): number {
  return block.insts.reduce((sum, inst) => {
    if (inst.op === "for") return sum + 1 + instructionCount(inst.body);
    return inst.op === "if" ? sum + 1 + instructionCount(inst.then) + instructionCount(inst.else) : sum + 1;
  }, 0);
}

/** All calls in order. A program's items are those of the compilation's slots. */
function placeCalls(
  items: readonly ScheduleItem[],
  slots: readonly Slot[],
  stages: StageExplanation[],
  loops: readonly number[],
): PlacedCall[] {
  return items.flatMap((item, i) => {
    const slot = slots[i]!;
    if (item.kind === "loop") {
      invariant(slot.kind === "loop", "the schedule follows the slots");
      return placeCalls(item.items, slot.slots, stages, [...loops, expectedTurns(item)]);
    }
    invariant(slot.kind !== "loop", "the schedule follows the slots");
    const first = stages.reduce((sum, { calls }) => sum + calls.length, 0);
    const stage: StageExplanation = {
      id: stages.length,
      kind: item.kind,
      loops,
      calls: item.calls.map((_, j) => first + j),
      chunks: item.calls.reduce((sum, { chunks }) => sum + chunks, 0),
    };
    stages.push(stage);
    const repeat = loops.reduce((product, count) => product * count, 1);
    return item.calls.map((call, j): PlacedCall => ({ call, unit: unitOfCall(slot.calls[j]!), stage, repeat }));
  });
}

/** How often a loop is taken to run: once where only a run tells. */
export function expectedTurns({ count, limit }: ScheduleItem & { readonly kind: "loop" }): number {
  return limit === undefined ? count : 1;
}

function unitOfCall({ unit }: Call): Unit | undefined {
  return unit;
}

/** Units of the graph in order, those of a loop's body behind it, and `undefined` for copies where there are any. */
function numberUnits(units: readonly Unit[], placed: readonly PlacedCall[]): (Unit | undefined)[] {
  const found = new Set<Unit | undefined>(units);
  for (const { unit } of placed) found.add(unit);
  const copies = found.delete(undefined);
  return copies ? [...found, undefined] : [...found];
}

function explainCalls(
  program: Program,
  placed: readonly PlacedCall[],
  ids: ReadonlyMap<Unit | undefined, number>,
  options: ExplainOptions,
): CallExplanation[] {
  const works = workOf(program, placed, options);
  const touched = placed.map(({ call }, i) =>
    call.args.map(({ buffer }, j) => {
      const { sizeBytes } = program.buffers[buffer]!;
      const readBytes = Math.min(sizeBytes, works[i]!.loadedBytes[j]!);
      const writtenBytes = Math.min(sizeBytes, works[i]!.storedBytes[j]!);
      return { buffer, readBytes, writtenBytes, bytes: readBytes + writtenBytes };
    }),
  );
  const distances = reuseDistances(touched);
  return placed.map(({ call, unit, stage, repeat }, id): CallExplanation => {
    const { f32, f64, int8, isExact } = works[id]!;
    const args = touched[id]!.map(({ buffer, readBytes, writtenBytes }, j): ArgumentExplanation => {
      const total = { readBytes: readBytes * repeat, writtenBytes: writtenBytes * repeat };
      return { buffer, ...total, reuseDistanceBytes: distances[id]![j]! };
    });
    const bytes = args.reduce((sum, { readBytes, writtenBytes }) => sum + readBytes + writtenBytes, 0);
    const operations = { f32: f32 * repeat, f64: f64 * repeat, int8: int8 * repeat };
    const { ceilings } = options;
    const members = stage.kind === "serial" ? 1 : call.chunks;
    return {
      id,
      unit: ids.get(unit)!,
      stage: stage.id,
      kernel: call.kernel,
      label: call.label,
      chunks: call.chunks,
      repeat,
      arguments: args,
      bytes,
      operations,
      intensity: (operations.f32 + operations.f64 + operations.int8) / Math.max(1, bytes),
      isExact,
      ...(ceilings !== undefined && predictCall(args, operations, ratesOf(ceilings, members), stage.kind === "serial")),
    };
  });
}

/** Calls of one kernel with as many chunks do the same work. */
function workOf(program: Program, placed: readonly PlacedCall[], options: TallyOptions): CallWork[] {
  const known = new Map<string, CallWork>();
  return placed.map(({ call: { kernel, chunks } }) => {
    const key = `${kernel} ${chunks}`;
    let work = known.get(key);
    if (work === undefined) known.set(key, (work = tallyCall(program.kernels[kernel]!, chunks, options)));
    return work;
  });
}

function explainUnits(
  numbered: readonly (Unit | undefined)[],
  graph: Graph,
  calls: readonly CallExplanation[],
): UnitExplanation[] {
  const units = numbered.filter((unit) => unit !== undefined);
  const reads = new UnitReads(units);
  const names = new ValueNames(topologicalOrder(graph.results));
  const described = numbered.map((unit, id) => {
    const own = calls.filter((call) => call.unit === id);
    const bytes = own.reduce((sum, call) => sum + call.bytes, 0);
    const common = { id, calls: own.map((call) => call.id), bytes };
    if (unit === undefined) {
      return { ...common, kind: "copy" as const, title: "copy", ops: [], reads: [], inputs: [], bytesApart: bytes };
    }
    const values = reads.valuesOf(unit);
    const producers = new Set(values.flatMap((value) => reads.producerOf(value) ?? []));
    return {
      ...common,
      kind: unit.kind,
      title: titleOf(nodesOf(unit)),
      ops: describeOps(unit, names, graph),
      reads: [...producers].sort((a, b) => a - b),
      inputs: values.flatMap((value) => (value.node.op.name === "parameter" ? [inputName(value)] : [])),
      bytesApart: Math.max(bytes, bytesApart(unit)),
    };
  });
  const groups = assignGroups(described);
  return described.map((unit, i) => ({ ...unit, group: groups[i]! }));
}

function sumUp(calls: readonly CallExplanation[], units: readonly UnitExplanation[]): Totals {
  const sum = (of: (call: CallExplanation) => number): number => calls.reduce((total, call) => total + of(call), 0);
  const isPredicted = calls.every(({ predictedSeconds }) => predictedSeconds !== undefined);
  return {
    bytes: sum(({ bytes }) => bytes),
    operations: {
      f32: sum(({ operations }) => operations.f32),
      f64: sum(({ operations }) => operations.f64),
      int8: sum(({ operations }) => operations.int8),
    },
    savedBytes: units.reduce((total, unit) => total + unit.bytesApart - unit.bytes, 0),
    ...(isPredicted && { predictedSeconds: sum(({ predictedSeconds = 0 }) => predictedSeconds) }),
  };
}
