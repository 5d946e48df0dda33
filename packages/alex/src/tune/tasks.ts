// What there is to tune in programs: the nodes whose ops list more than one schedule, each once, the heaviest first.

import { formatType } from "@fidelity/core";
import type { Node, Schedule } from "@fidelity/core";
import type { CompiledStages } from "../compile.ts";
import { nodeText } from "../lower/signature.ts";
import type { Slot } from "../passes/schedule.ts";

/** A node that can be lowered in several ways. */
export interface TuneTask {
  /** What it computes: what its schedule is remembered by. */
  readonly text: string;
  readonly node: Node;
  /** The first is what it is lowered by untuned. */
  readonly candidates: readonly Schedule[];
  /** Operations of a run of the programs that nodes like it do. */
  readonly work: number;
  /** Whether its schedule was measured before. */
  readonly isTuned: boolean;
}

/** The tasks of compiled programs, in falling order of their work. */
export function tuneTasks(programs: readonly CompiledStages[]): TuneTask[] {
  const tasks = new Map<string, TuneTask>();
  for (const { compilation } of programs) {
    const works = workOfNodes(compilation.slots!, 1, new Map());
    for (const [text, { node, candidates, isTuned }] of compilation.lowering!.choices) {
      const work = (tasks.get(text)?.work ?? 0) + (works.get(text) ?? 0);
      tasks.set(text, { text, node, candidates, work, isTuned });
    }
  }
  return [...tasks.values()].sort((a, b) => b.work - a.work);
}

/** A node for people: `matmul f32[2, 3] f32[4, 3] transposeB`. */
export function nodeTitle({ op, inputs, attrs }: Node): string {
  const flags = Object.keys(attrs).filter((name) => attrs[name] === true);
  return [op.name, ...inputs.map(({ type }) => formatType(type)), ...flags].join(" ");
}

/** Operations of the calls for nodes, by the nodes' texts. */
function workOfNodes(slots: readonly Slot[], repeat: number, works: Map<string, number>): Map<string, number> {
  for (const slot of slots) {
    if (slot.kind === "loop") {
      workOfNodes(slot.slots, repeat * slot.count, works);
      continue;
    }
    for (const { unit, work } of slot.calls) {
      const text = unit?.kind === "kernel" ? nodeText(unit.node) : undefined;
      if (text !== undefined) works.set(text, (works.get(text) ?? 0) + work * repeat);
    }
  }
  return works;
}
