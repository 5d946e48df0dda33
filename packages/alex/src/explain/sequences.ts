// Repetition in a sequence of units: layers of a model come out as the same units again and again, and are shown once.

import { isBlockGroup } from "./describe_units.ts";
import type { Explanation, UnitExplanation } from "./explanation.ts";

/** Units that follow each other and belong to one part of the model, `times` times with the same titles. */
export interface UnitBlock {
  readonly group: string;
  /** The last group that was folded into this one; `group` where none was. */
  readonly lastGroup: string;
  /** The units of the first occurrence, and of all. */
  readonly units: readonly UnitExplanation[];
  readonly folded: readonly (readonly UnitExplanation[])[];
  readonly times: number;
}

/** The units of an explanation in order, by part of the model, neighbours that do the same folded. */
export function foldUnits({ units }: Pick<Explanation, "units">): UnitBlock[] {
  const signature = ({ kind, title }: UnitExplanation): string => `${kind} ${title}`;
  const runs: UnitExplanation[][] = [];
  for (const unit of units) {
    const [run, before] = [runs.at(-1), runs.at(-2)];
    if (run?.[0]!.group === unit.group) run.push(unit);
    // Something of no block in the middle of one goes in front of it.
    else if (before?.[0]!.group === unit.group && isBlockGroup(unit.group) && !isBlockGroup(run![0]!.group)) {
      runs.splice(-2, 2, run!, [...before, unit]);
    } else runs.push([unit]);
  }
  const blocks: { signature: string; folded: UnitExplanation[][] }[] = [];
  for (const run of runs) {
    const text = run.map(signature).join("\\n");
    const last = blocks.at(-1);
    if (last?.signature === text) last.folded.push(run);
    else blocks.push({ signature: text, folded: [run] });
  }
  return blocks.map(({ folded }) => ({
    group: folded[0]![0]!.group,
    lastGroup: folded.at(-1)![0]!.group,
    units: folded[0]!,
    folded,
    times: folded.length,
  }));
}
