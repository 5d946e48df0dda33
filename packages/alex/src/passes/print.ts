// Text of the states between the graph and the program, for `--emit-after`.

import type { Kernel } from "@fidelity/core";
import { formatType } from "@fidelity/core";
import type { Unit } from "./fuse.ts";
import type { MemoryPlan } from "./memory_plan.ts";
import type { Slot } from "./schedule.ts";

export function printUnits(units: readonly Unit[]): string {
  return units.map((unit, i) => {
    if (unit.kind !== "fused") {
      const results = unit.node.results.map(({ type }) => formatType(type)).join(", ");
      return `unit ${i}: ${unit.kind} ${unit.node.op.name} -> ${results}`;
    }
    const lines = unit.nodes.map((node) => {
      const written = unit.outputs.includes(node.results[0]!) ? " (written)" : "";
      return `  %${node.id} = ${node.op.name}(${node.inputs.map((input) => `%${input.node.id}`).join(", ")}) : ${formatType(node.results[0]!.type)}${written}`;
    });
    return [`unit ${i}: fused over [${unit.rows}, ${unit.columns}]`, ...lines].join("\n");
  }).join("\n");
}

export function printSlots(slots: readonly Slot[], kernels: readonly Kernel[], indent = ""): string {
  return slots.map((slot, i) => {
    if (slot.kind === "loop") return `${indent}${i}: loop ${slot.count} times\n${printSlots(slot.slots, kernels, `${indent}  `)}`;
    const calls = slot.calls.map(({ kernel, chunks, label, work }) =>
      `${indent}   ${kernels[kernel]!.name} #${kernel}, ${chunks} chunks, ~${Math.round(work / 1000)} kop: ${label}`);
    return [`${indent}${i}: ${slot.kind}`, ...calls].join("\n");
  }).join("\n");
}

export function printPlan({ offsets, lifetimes, sizeBytes }: MemoryPlan): string {
  const total = lifetimes.reduce((sum, { buffer }) => sum + buffer.sizeBytes, 0);
  const rows = [...lifetimes]
    .sort((a, b) => offsets.get(a.buffer)! - offsets.get(b.buffer)! || a.first - b.first)
    .map(({ buffer, first, last }) => `  ${String(offsets.get(buffer)).padStart(10)} +${String(buffer.sizeBytes).padEnd(10)} slots ${first}..${last}  ${buffer.name}`);
  return [`arena: ${sizeBytes} bytes for ${total} bytes in ${lifetimes.length} buffers`, ...rows].join("\n");
}
