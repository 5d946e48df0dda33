// The order of units. It follows the graph's, except that a unit runs as soon as it can where it frees more memory than
// it takes: the product of a weight's gradient behind that of its input's, while the cotangent of both is near, and not
// at the end, when an optimiser asks for it and the cotangents of all layers have to be kept. A greedy form of what
// Sethi and Ullman, "The Generation of Optimal Code for Arithmetic Expressions" (1970), do for registers; left out is
// to look further ahead than one unit.

import type { Node, Tensor } from "@fidelity/core";
import { storageBytes } from "@fidelity/core";
import type { Unit } from "./fuse.ts";
import { resolveAlias } from "./fuse.ts";

/** The dependencies between units; more can be added to them. */
export class UnitOrder {
  readonly #units: readonly Unit[];
  readonly #producer = new Map<Tensor, Unit>();
  readonly #readers = new Map<Tensor, Unit[]>();
  readonly #reads = new Map<Unit, ReadonlySet<Tensor>>();
  readonly #dependencies = new Map<Unit, Set<Unit>>();
  /** Values that the caller reads: they have memory of their own, to the end. */
  readonly #kept: ReadonlySet<Tensor>;

  constructor(units: readonly Unit[], results: readonly Tensor[]) {
    this.#units = units;
    this.#kept = new Set(results.map(resolveAlias));
    for (const unit of units) for (const result of resultsOf(unit)) this.#producer.set(result, unit);
    for (const unit of units) {
      const read = this.#valuesRead(unit);
      const dependencies = new Set<Unit>();
      for (const base of read) {
        const producer = this.#producer.get(base);
        if (producer !== undefined && producer !== unit) dependencies.add(producer);
        this.#readers.set(base, [...(this.#readers.get(base) ?? []), unit]);
      }
      this.#reads.set(unit, read);
      this.#dependencies.set(unit, dependencies);
    }
  }

  #valuesRead(unit: Unit): Set<Tensor> {
    const nodes: readonly Node[] = unit.kind === "fused" ? unit.nodes : [unit.node];
    const own = new Set(nodes);
    const read = new Set<Tensor>();
    const visit = (tensor: Tensor): void => {
      const base = resolveAlias(tensor);
      // What a fused unit computes is its own, even if another one writes it, too.
      if (read.has(base) || (unit.kind === "fused" && own.has(base.node))) return;
      read.add(base);
      // Virtual nodes (broadcasts) belong to no unit: their readers read what is behind them.
      if (!this.#producer.has(base)) base.node.inputs.forEach(visit);
    };
    for (const node of nodes) node.inputs.forEach(visit);
    return read;
  }

  producerOf(tensor: Tensor): Unit | undefined {
    return this.#producer.get(tensor);
  }

  readersOf(tensor: Tensor): readonly Unit[] {
    return this.#readers.get(tensor) ?? [];
  }

  require(unit: Unit, before: Unit): void {
    this.#dependencies.get(unit)!.add(before);
  }

  dependsOn(unit: Unit, on: Unit): boolean {
    const seen = new Set<Unit>();
    const stack = [unit];
    while (stack.length > 0) {
      const next = stack.pop()!;
      if (next === on) return true;
      if (seen.has(next)) continue;
      seen.add(next);
      stack.push(...this.#dependencies.get(next)!);
    }
    return false;
  }

  /** The units in an order in which they can run. */
  sorted(): Unit[] {
    const waitsFor = new Map([...this.#dependencies].map(([unit, { size }]) => [unit, size]));
    const followers = new Map<Unit, Unit[]>(this.#units.map((unit) => [unit, []]));
    for (const [unit, dependencies] of this.#dependencies) {
      for (const dependency of dependencies) followers.get(dependency)!.push(unit);
    }
    const readersLeft = new Map([...this.#readers].map(([value, readers]) => [value, new Set(readers)]));
    const sorted: Unit[] = [];
    const done = new Set<Unit>();
    for (const first of this.#sortedByNeed()) {
      const candidates = [first];
      for (let i = 0; i < candidates.length; i++) {
        const unit = candidates[i]!;
        if (done.has(unit)) continue;
        if (unit !== first && (waitsFor.get(unit)! > 0 || !this.#freesMemory(unit, readersLeft))) continue;
        done.add(unit);
        sorted.push(unit);
        for (const follower of followers.get(unit)!) {
          waitsFor.set(follower, waitsFor.get(follower)! - 1);
          candidates.push(follower);
        }
        for (const value of this.#reads.get(unit)!) {
          const left = readersLeft.get(value)!;
          left.delete(unit);
          if (left.size === 1) candidates.push(...left);
        }
      }
    }
    return sorted;
  }

  /** The order of the graph: each unit just before the first that needs it. */
  #sortedByNeed(): Unit[] {
    const sorted: Unit[] = [];
    const done = new Set<Unit>();
    const visit = (unit: Unit): void => {
      if (done.has(unit)) return;
      done.add(unit);
      for (const dependency of this.#dependencies.get(unit)!) visit(dependency);
      sorted.push(unit);
    };
    this.#units.forEach(visit);
    return sorted;
  }

  /** Whether what a unit writes is less than what nobody else will read. */
  #freesMemory(unit: Unit, readersLeft: ReadonlyMap<Tensor, ReadonlySet<Unit>>): boolean {
    const bytesOf = (value: Tensor): number => (this.#kept.has(value) ? 0 : storageBytes(value.type));
    const taken = resultsOf(unit).reduce((bytes, result) => bytes + bytesOf(result), 0);
    const freed = [...this.#reads.get(unit)!].reduce((bytes, value) => {
      const dies = this.#producer.has(value) && readersLeft.get(value)!.size === 1;
      return dies ? bytes + bytesOf(value) : bytes;
    }, 0);
    return freed > taken;
  }
}

function resultsOf(unit: Unit): readonly Tensor[] {
  return unit.kind === "fused" ? unit.outputs : unit.node.results;
}
