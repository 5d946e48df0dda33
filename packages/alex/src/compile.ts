// The compiler: a graph goes through the passes of one table, in order, and comes out as a program that any CPU target
// can print. Every pass is named and can be looked at (`emitAfter`), and verifiers run between them when asked.
//
//   expand -> canonicalise -> common-subexpressions -> fuse -> recompute -> join -> layout -> lower -> schedule ->
//   memory-plan

import type { CompileOptions, Graph, Kernel, KernelCall, Program, ScheduleItem, VectorTarget } from "@fidelity/core";
import { printGraph, printProgram, storageBytes, verifyGraph, verifyProgram } from "@fidelity/core";
import { FidelityError, invariant } from "@fidelity/units";
import type { BufferView, Call, ScheduleSource, VirtualBuffer } from "./lower/lowering.ts";
import { Lowering, Scope, lowerGraph, whole } from "./lower/lowering.ts";
import { canonicalise } from "./passes/canonicalise.ts";
import type { Donation } from "./passes/donate.ts";
import { planDonations } from "./passes/donate.ts";
import { expand } from "./passes/expand.ts";
import type { Unit } from "./passes/fuse.ts";
import { fuse } from "./passes/fuse.ts";
import { joinSiblings } from "./passes/join.ts";
import type { MemoryPlan } from "./passes/memory_plan.ts";
import { planMemory } from "./passes/memory_plan.ts";
import { printPlan, printSlots, printUnits } from "./passes/print.ts";
import { recompute } from "./passes/recompute.ts";
import { deep, rewriteGraph } from "./passes/rewrite.ts";
import type { Slot } from "./passes/schedule.ts";
import { schedule } from "./passes/schedule.ts";

/** What a compilation knows after each pass; later fields are filled by later passes. */
export interface Compilation {
  readonly name: string;
  readonly donations: readonly Donation[];
  readonly target: VectorTarget;
  readonly schedules?: ScheduleSource;
  readonly graph: Graph;
  readonly units?: readonly Unit[];
  /** Results that are computed in the memory of the parameter they are donated. */
  readonly inPlace?: ReadonlySet<number>;
  readonly lowering?: Lowering;
  readonly scope?: Scope;
  readonly slots?: readonly Slot[];
  readonly plan?: MemoryPlan;
}

export interface Pass {
  readonly name: string;
  readonly summary: string;
  run(compilation: Compilation): Compilation;
  /** The state after the pass, as text. */
  print(compilation: Compilation): string;
}

const printsGraph = ({ graph }: Compilation): string => printGraph(graph);

/** The passes in the order in which they run. */
export const PASSES: readonly Pass[] = [
  {
    name: "trace",
    summary: "the graph as it was traced",
    run: (compilation) => compilation,
    print: printsGraph,
  },
  {
    name: "expand",
    summary: "composite ops become elementwise ops and reductions",
    run: (compilation) => ({ ...compilation, graph: expand(compilation.graph) }),
    print: printsGraph,
  },
  {
    name: "canonicalise",
    summary: "one form for equal things",
    run: (compilation) => ({ ...compilation, graph: canonicalise(compilation.graph) }),
    print: printsGraph,
  },
  {
    name: "common-subexpressions",
    summary: "equal nodes are made one; unused nodes go",
    run: (compilation) => ({ ...compilation, graph: commonSubexpressions(compilation.graph) }),
    print: printsGraph,
  },
  {
    name: "fuse",
    summary: "elementwise neighbours and row reductions become one loop",
    run: (compilation) => ({ ...compilation, units: fuse(compilation.graph) }),
    print: ({ units }) => printUnits(units!),
  },
  {
    name: "recompute",
    summary: "readers compute large elementwise values again where that passes less memory",
    run: (compilation) => ({
      ...compilation,
      units: recompute(compilation.graph, compilation.units!, compilation.target),
    }),
    print: ({ units }) => printUnits(units!),
  },
  {
    name: "join",
    summary: "fused units that read the same large values become one loop",
    run: (compilation) => ({ ...compilation, units: joinSiblings(compilation.units!, compilation.target) }),
    print: ({ units }) => printUnits(units!),
  },
  {
    name: "layout",
    summary:
      "donated results take over their parameter's memory where the order allows it; what frees memory runs early",
    run(compilation) {
      const { units, inPlace } = planDonations(compilation.graph, compilation.units!, compilation.donations);
      return { ...compilation, units, inPlace };
    },
    print: ({ units, inPlace }) => `results in place: ${[...inPlace!].join(", ") || "none"}\n${printUnits(units!)}`,
  },
  {
    name: "lower",
    summary: "units become kernels of the loop IR and calls of them",
    run: (compilation) => ({ ...compilation, ...lower(compilation) }),
    print: (compilation) => printProgram(assemble({ ...compilation, slots: schedule(compilation.scope!.items) })),
  },
  {
    name: "schedule",
    summary: "independent calls share a stage; small calls stay on one thread",
    run: (compilation) => ({ ...compilation, slots: schedule(compilation.scope!.items) }),
    print: ({ slots, lowering }) => printSlots(slots!, lowering!.kernels),
  },
  {
    name: "memory-plan",
    summary: "intermediate values get offsets in one arena",
    run: (compilation) => ({ ...compilation, plan: planMemory(compilation.slots!) }),
    print: ({ plan }) => printPlan(plan!),
  },
];

function commonSubexpressions(graph: Graph): Graph {
  return rewriteGraph(graph, deep(commonSubexpressions));
}

/** Asks for the state after a pass that does not exist. */
export class UnknownPassError extends FidelityError {}

export interface CompilerOptions extends CompileOptions {
  readonly target: VectorTarget;
  /** Schedules that were measured here; what it does not know goes by the op's first. */
  readonly schedules?: ScheduleSource;
  /** Verify the IR after each pass. */
  readonly verify?: boolean;
  /** Called with the name of each pass when it is done, for those who time them. */
  readonly onPass?: (name: string) => void;
}

/**
 * Compiles a graph to a program. Binding slots are the parameters, then the results (a donated result uses its
 * parameter's slot and its own stays unused), then constants.
 */
export function compileGraph(graph: Graph, options: CompilerOptions): Program {
  return compileStages(graph, options).program;
}

/** A graph on all stages of its way, for those who look at the compiler. */
export interface CompiledStages {
  readonly traced: Graph;
  /** What all passes left. */
  readonly compilation: Compilation;
  /** Its calls are those of the compilation's slots, in their order. */
  readonly program: Program;
}

/** Compiles as `compileGraph` does, and keeps what the passes decided. */
export function compileStages(graph: Graph, options: CompilerOptions): CompiledStages {
  const compilation = runPasses(graph, options, PASSES);
  const program = assemble(compilation);
  if (options.verify === true) verifyProgram(program);
  return { traced: graph, compilation, program };
}

function runPasses(graph: Graph, options: CompilerOptions, passes: readonly Pass[]): Compilation {
  let compilation: Compilation = {
    name: options.name ?? graph.name,
    donations: options.donations ?? [],
    target: options.target,
    ...(options.schedules !== undefined && { schedules: options.schedules }),
    graph,
  };
  for (const pass of passes) {
    compilation = pass.run(compilation);
    if (options.verify === true && compilation.units === undefined) verifyGraph(compilation.graph);
    options.onPass?.(pass.name);
  }
  return compilation;
}

/** The text of a compilation after the named pass; later passes do not run. Throws `UnknownPassError`. */
export function emitAfter(graph: Graph, passName: string, options: CompilerOptions): string {
  const last = PASSES.findIndex(({ name }) => name === passName);
  if (last < 0) {
    throw new UnknownPassError(`no pass is called "${passName}"`, {
      expected: PASSES.map(({ name }) => name).join(", "),
    });
  }
  return PASSES[last]!.print(runPasses(graph, options, PASSES.slice(0, last + 1)));
}

function lower(compilation: Compilation): { lowering: Lowering; scope: Scope } {
  const { graph, units, inPlace, donations, target, schedules } = compilation;
  const lowering = new Lowering(target, schedules);
  const scope = new Scope(lowering, 0);
  const bindings = graph.parameters.map((parameter, slot) =>
    whole(lowering.buffer(`parameter ${slot}`, storageBytes(parameter.type), { kind: "binding", slot })),
  );
  graph.parameters.forEach((parameter, i) => scope.views.set(parameter, bindings[i]!));
  const donors = new Map(donations.map(({ parameter, result }) => [result, parameter]));
  const targets = graph.results.map((result, i): BufferView => {
    const donor = donors.get(i);
    if (donor !== undefined) return bindings[donor]!;
    const slot = graph.parameters.length + i;
    return whole(lowering.buffer(`result ${i}`, storageBytes(result.type), { kind: "binding", slot }));
  });
  lowerGraph(scope, graph, units!, targets, (result) => !donors.has(result) || inPlace!.has(result));
  return { lowering, scope };
}

/** Turns slots over virtual buffers into a program; without a plan every buffer lies at offset 0 (for printing). */
function assemble({ name, graph, lowering, slots, plan }: Compilation): Program {
  invariant(lowering !== undefined && slots !== undefined, "a program needs lowered and scheduled calls");
  const used = new Set<VirtualBuffer>();
  visitViews(slots, ({ buffer }) => used.add(buffer));
  const buffers = [...used];
  const index = new Map(buffers.map((buffer, i) => [buffer, i]));
  let nextSlot = graph.parameters.length + graph.results.length;
  const constants: { buffer: number; bytes: Uint8Array }[] = [];
  const programBuffers = buffers.map((buffer, i) => {
    const { role, sizeBytes } = buffer;
    if (role.kind === "constant") constants.push({ buffer: i, bytes: role.bytes });
    const slot = role.kind === "binding" ? role.slot : role.kind === "constant" ? nextSlot++ : undefined;
    return {
      name: buffer.name,
      sizeBytes,
      placement:
        slot !== undefined
          ? ({ kind: "binding", slot } as const)
          : ({ kind: "arena", offsetBytes: plan?.offsets.get(buffer) ?? 0 } as const),
    };
  });
  const toItem = (slot: Slot): ScheduleItem =>
    slot.kind === "loop"
      ? { ...toLoop(slot, index), items: slot.slots.map(toItem) }
      : { kind: slot.kind, calls: slot.calls.map((call) => toCall(call, index)) };
  return {
    name,
    kernels: lowering.kernels,
    buffers: programBuffers,
    bindingCount: nextSlot,
    arenaBytes: plan?.sizeBytes ?? Math.max(0, ...buffers.map(({ sizeBytes }) => sizeBytes)),
    scratchBytes: Math.max(0, ...lowering.kernels.map(({ scratchBytes }: Kernel) => scratchBytes)),
    schedule: slots.map(toItem),
    constants,
  };
}

function toCall(call: Call, index: ReadonlyMap<VirtualBuffer, number>): KernelCall {
  return {
    kernel: call.kernel,
    chunks: call.chunks,
    label: call.label,
    args: call.views.map((view) => toArgument(view, index)),
  };
}

function toLoop(
  { count, limit }: Slot & { readonly kind: "loop" },
  index: ReadonlyMap<VirtualBuffer, number>,
): Omit<ScheduleItem & { readonly kind: "loop" }, "items"> {
  if (limit === undefined) return { kind: "loop", count };
  return { kind: "loop", count, limit: { keeps: limit.keeps, cell: toArgument(limit.view, index) } };
}

function toArgument({ buffer, offsetBytes, strideBytes }: BufferView, index: ReadonlyMap<VirtualBuffer, number>) {
  return { buffer: index.get(buffer)!, offsetBytes, ...(strideBytes.length > 0 && { strideBytes }) };
}

/** All that the slots read and write, what ends loops included. */
function visitViews(slots: readonly Slot[], visit: (view: BufferView) => void): void {
  for (const slot of slots) {
    if (slot.kind === "loop") {
      if (slot.limit !== undefined) visit(slot.limit.view);
      visitViews(slot.slots, visit);
    } else {
      for (const { views } of slot.calls) views.forEach(visit);
    }
  }
}
