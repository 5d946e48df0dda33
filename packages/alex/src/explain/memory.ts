// Where the memory of a program lies: its buffers, what is updated in place, and how good the plan of the arena is.

import { formatType, storageBytes } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { CompiledStages } from "../compile.ts";
import { inputName } from "./describe_units.ts";
import type { BufferExplanation, DonationExplanation, MemoryExplanation } from "./explanation.ts";

/** The buffers of a program in its order, with places and lives of those in the arena. */
export function explainBuffers({ compilation, program }: CompiledStages): BufferExplanation[] {
  const { plan, graph } = compilation;
  invariant(plan !== undefined, "a finished compilation has a memory plan");
  // Buffers of the plan are found again by their place and size among those with the name.
  const lives = new Map(
    plan.lifetimes.map(({ buffer, first, last }) => [
      `${plan.offsets.get(buffer)} ${buffer.id}`,
      { buffer, first, last },
    ]),
  );
  const unclaimed = new Set(lives.values());
  const inputs = graph.parameters.length;
  const bound = inputs + graph.results.length;
  return program.buffers.map(({ name, sizeBytes, placement }, id): BufferExplanation => {
    if (placement.kind === "binding") {
      const { slot } = placement;
      if (slot < inputs) return { id, name: inputName(graph.parameters[slot]!), kind: "parameter", sizeBytes };
      if (slot >= bound) return { id, name, kind: "constant", sizeBytes };
      return { id, name: `${name}: ${formatType(graph.results[slot - inputs]!.type)}`, kind: "result", sizeBytes };
    }
    const { offsetBytes } = placement;
    const life = [...unclaimed].find(({ buffer }) => {
      return buffer.name === name && buffer.sizeBytes === sizeBytes && plan.offsets.get(buffer) === offsetBytes;
    });
    invariant(life !== undefined, `buffer ${name} has a life`);
    unclaimed.delete(life);
    return { id, name, kind: "intermediate", sizeBytes, offsetBytes, first: life.first, last: life.last };
  });
}

/** Parameters that the caller gives away, and whether their results are computed where they lie. */
export function explainDonations({ compilation }: CompiledStages): DonationExplanation[] {
  const { donations, graph, inPlace } = compilation;
  return donations.map(({ parameter, result }) => {
    const tensor = graph.parameters[parameter]!;
    return {
      parameter: inputName(tensor),
      sizeBytes: storageBytes(tensor.type),
      isInPlace: inPlace?.has(result) ?? false,
    };
  });
}

export function explainMemory({ program }: CompiledStages, buffers: readonly BufferExplanation[]): MemoryExplanation {
  const sizeOf = (kind: BufferExplanation["kind"]): number =>
    buffers.reduce((sum, buffer) => (buffer.kind === kind ? sum + buffer.sizeBytes : sum), 0);
  const itemCount = program.schedule.length;
  const alive = new Float64Array(itemCount);
  for (const { sizeBytes, first, last } of buffers) {
    if (first !== undefined && last !== undefined)
      for (let item = first; item <= last; item++) alive[item]! += sizeBytes;
  }
  const peakItem = alive.reduce((best, bytes, item) => (bytes > alive[best]! ? item : best), 0);
  return {
    arenaBytes: program.arenaBytes,
    liveBytesMax: alive[peakItem] ?? 0,
    totalBytes: sizeOf("intermediate"),
    parameterBytes: sizeOf("parameter"),
    resultBytes: sizeOf("result"),
    constantBytes: sizeOf("constant"),
    scratchBytes: program.scratchBytes,
    peakItem,
    itemCount,
  };
}
