// Text of the states between the graph and the program, for `--emit-after`.

import type { Kernel, Node } from "@fidelity/core";
import { formatType } from "@fidelity/core";
import type { Unit } from "./fuse.ts";
import type { MemoryPlan } from "./memory_plan.ts";
import type { Slot } from "./schedule.ts";

export function printUnits(units: readonly Unit[]): string {
  // Numbered in the order of their first appearance, so that equal graphs print equally.
  const numbers = new Map<Node, number>();
  const numberOf = (node: Node): number => {
    let number = numbers.get(node);
    if (number === undefined) numbers.set(node, (number = numbers.size));
    return number;
  };
  return units.map((unit, i) => `unit ${i}: ${printUnit(unit, numberOf)}`).join("\n");
}

function printUnit(unit: Unit, numberOf: (node: Node) => number): string {
  const printNode = (node: Node): string => {
    const operands = node.inputs.map((input) => `%${numberOf(input.node)}`).join(", ");
    const types = node.results.map(({ type }) => formatType(type)).join(", ");
    return `%${numberOf(node)} = ${node.op.name}(${operands}) : ${types}`;
  };
  if (unit.kind !== "fused") return `${unit.kind} ${printNode(unit.node)}`;
  const lines = unit.nodes.map((node) => {
    return `  ${printNode(node)}${unit.outputs.includes(node.results[0]!) ? " (written)" : ""}`;
  });
  return [`fused over [${unit.rows}, ${unit.columns}]`, ...lines].join("\n");
}

export function printSlots(slots: readonly Slot[], kernels: readonly Kernel[], indent = ""): string {
  return slots.map((slot, i) => `${indent}${i}: ${printSlot(slot, kernels, indent)}`).join("\n");
}

function printSlot(slot: Slot, kernels: readonly Kernel[], indent: string): string {
  if (slot.kind === "loop") {
    const limit = slot.limit === undefined ? "" : `, the ${slot.limit.keeps} ${slot.limit.view.buffer.name}`;
    return `loop ${slot.count} times${limit}\n${printSlots(slot.slots, kernels, `${indent}  `)}`;
  }
  const calls = slot.calls.map(({ kernel, chunks, label, work }) => {
    const size = `${chunks} chunks, ~${Math.round(work / 1000)} kop`;
    return `${indent}   ${kernels[kernel]!.name} #${kernel}, ${size}: ${label}`;
  });
  return [slot.kind, ...calls].join("\n");
}

export function printPlan({ offsets, lifetimes, sizeBytes }: MemoryPlan): string {
  const total = lifetimes.reduce((sum, { buffer }) => sum + buffer.sizeBytes, 0);
  const rows = [...lifetimes]
    .sort((a, b) => offsets.get(a.buffer)! - offsets.get(b.buffer)! || a.first - b.first)
    .map(({ buffer, first, last }) => {
      const place = `${String(offsets.get(buffer)).padStart(10)} +${String(buffer.sizeBytes).padEnd(10)}`;
      return `  ${place} slots ${first}..${last}  ${buffer.name}`;
    });
  return [`arena: ${sizeBytes} bytes for ${total} bytes in ${lifetimes.length} buffers`, ...rows].join("\n");
}
