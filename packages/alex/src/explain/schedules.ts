// Which of the schedules that an op lists its nodes were lowered by, and whether they were measured on this machine.

import type { CompiledStages } from "../compile.ts";
import { nodeText } from "../lower/signature.ts";
import type { Unit } from "../passes/fuse.ts";
import { scheduleText } from "../tune/schedule-book.ts";
import { nodeTitle } from "../tune/tasks.ts";
import type { ScheduleExplanation } from "./explanation.ts";

export function explainSchedules(
  { compilation }: CompiledStages,
  units: readonly (Unit | undefined)[],
): ScheduleExplanation[] {
  const choices = compilation.lowering?.choices ?? new Map<string, never>();
  const counts = new Map<string, number>();
  for (const unit of units) {
    const text = unit?.kind === "kernel" ? nodeText(unit.node) : undefined;
    if (text !== undefined) counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...choices].map(([text, { node, candidates, chosen, isTuned }]) => ({
    node: nodeTitle(node),
    count: counts.get(text) ?? 0,
    schedule: scheduleText(candidates[chosen]!),
    isTuned,
    candidates: candidates.length,
  }));
}
