// What is fuzzed, and the loop that does it. A target runs cases that follow from seed and index alone, so that a case
// that fails is run again by its number. What came of the cases is counted by a word for each.

/** Something that is fed with hostile input. */
export interface FuzzTarget {
  readonly name: string;
  /** What its cases are and what must hold, in a line. */
  readonly about: string;
  open(seed: number): FuzzRun;
}

/** A target that is ready for the cases of one seed. */
export interface FuzzRun {
  /** Runs a case and gives a word for what came of it. Throws where a rule is broken. */
  run(index: number): string | Promise<string>;
  close?(): void;
}

/** Which cases to run. */
export interface FuzzPlan {
  readonly seed: number;
  /** The first case. */
  readonly from: number;
  readonly cases: number;
}

/** What came of the cases that were run. */
export interface FuzzReport {
  readonly cases: number;
  readonly outcomes: ReadonlyMap<string, number>;
  readonly slowestMs: number;
  /** The case that took longest. */
  readonly slowestCase: number;
}

/** A case in which a rule was broken. `cause` says which. */
export class FuzzFailure extends Error {
  constructor(target: string, seed: number, index: number, cause: unknown) {
    super(`a rule was broken: npm run fuzz -- ${target} --seed ${seed} --from ${index} --cases 1`, { cause });
  }
}

/** Called before each case; false stops the run. */
export type Watch = (index: number) => boolean;

/** Runs the cases of a plan one after the other. Throws `FuzzFailure` at the first that breaks a rule. */
export async function fuzz(target: FuzzTarget, plan: FuzzPlan, watch: Watch = () => true): Promise<FuzzReport> {
  const outcomes = new Map<string, number>();
  const { seed, from, cases } = plan;
  let [done, slowestMs, slowestCase] = [0, 0, from];
  const opened = target.open(seed);
  try {
    for (let index = from; index < from + cases && watch(index); index++) {
      const start = performance.now();
      try {
        const outcome = opened.run(index);
        const word = typeof outcome === "string" ? outcome : await outcome;
        outcomes.set(word, (outcomes.get(word) ?? 0) + 1);
      } catch (error) {
        throw new FuzzFailure(target.name, seed, index, error);
      }
      const tookMs = performance.now() - start;
      if (tookMs > slowestMs) [slowestMs, slowestCase] = [tookMs, index];
      done++;
    }
  } finally {
    opened.close?.();
  }
  return { cases: done, outcomes, slowestMs, slowestCase };
}
