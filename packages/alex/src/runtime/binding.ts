// What tensors an executable may run on: of its types, in its device's memory, alive, and no two of them sharing memory
// that the program writes, except a result that is its parameter by donation.

import { formatType, sameType } from "@fidelity/core";
import type { CompileOptions, TensorType } from "@fidelity/core";
import { BindError } from "./errors.ts";
import { RegionTensor } from "./tensor.ts";

/** The types of a program's tensors. Slot i of the bindings is parameter i; results follow, then constants. */
export interface Signature {
  readonly parameterTypes: readonly TensorType[];
  readonly resultTypes: readonly TensorType[];
  readonly donations: NonNullable<CompileOptions["donations"]>;
}

/** Checks donations by themselves: positions that exist, equal types, no tensor twice. Throws `BindError`. */
export function checkDonations(name: string, signature: Signature): void {
  const { parameterTypes, resultTypes, donations } = signature;
  const parameters = new Set<number>();
  const results = new Set<number>();
  for (const { parameter, result } of donations) {
    const from = parameterTypes[parameter];
    const to = resultTypes[result];
    const where = (): string => `${name}: parameter ${parameter} donated to result ${result}`;
    if (from === undefined || to === undefined) {
      throw new BindError("a donation names a tensor that does not exist", {
        where: where(),
        expected: `a parameter below ${parameterTypes.length} and a result below ${resultTypes.length}`,
      });
    }
    if (!sameType(from, to)) {
      const got = `${formatType(from)} and ${formatType(to)}`;
      throw new BindError("a donation needs a parameter and a result of one type", { where: where(), got });
    }
    if (parameters.has(parameter) || results.has(result)) {
      throw new BindError("a tensor is donated twice", {
        where: where(),
        hint: "donate each parameter to one result only",
      });
    }
    parameters.add(parameter);
    results.add(result);
  }
}

/** Checks the tensors for a program, and gives those of all slots, parameters first. Throws `BindError`. */
export function checkTensors(
  name: string,
  signature: Signature,
  memory: WebAssembly.Memory,
  parameters: readonly unknown[],
  results: readonly unknown[],
): RegionTensor[] {
  checkCount(name, "parameters", signature.parameterTypes.length, parameters.length);
  checkCount(name, "results", signature.resultTypes.length, results.length);
  const slots = [
    ...signature.parameterTypes.map((type, i) => checkTensor(`${name}: parameter ${i}`, memory, parameters[i], type)),
    ...signature.resultTypes.map((type, i) => checkTensor(`${name}: result ${i}`, memory, results[i], type)),
  ];
  const first = signature.parameterTypes.length;
  const donated = new Map(signature.donations.map(({ parameter, result }) => [first + result, parameter]));
  for (const [result, parameter] of donated) {
    if (slots[result].address === slots[parameter].address) continue;
    throw new BindError("a donated result is another tensor than its parameter", {
      where: `${name}: parameter ${parameter} donated to result ${result - first}`,
      hint: "bind the parameter's tensor as the result, too",
    });
  }
  checkOverlaps(name, slots, first, donated);
  return slots;
}

function checkCount(name: string, what: string, expected: number, got: number): void {
  if (expected === got) return;
  throw new BindError(`the number of ${what} is wrong`, { where: name, expected: `${expected}`, got: `${got}` });
}

function checkTensor(where: string, memory: WebAssembly.Memory, tensor: unknown, type: TensorType): RegionTensor {
  if (!(tensor instanceof RegionTensor)) {
    const hint = "make tensors with the tensor() of the device that compiled the graph";
    throw new BindError("a tensor is not one of this device", { where, hint });
  }
  if (!sameType(tensor.type, type)) {
    throw new BindError("a tensor has the wrong type", {
      where,
      expected: formatType(type),
      got: formatType(tensor.type),
    });
  }
  if (!tensor.isAlive) throw new BindError("a tensor was freed", { where });
  if (tensor.region.buffer !== memory.buffer) throw new BindError("a tensor belongs to another device", { where });
  return tensor;
}

interface Span {
  readonly slot: number;
  readonly start: number;
  readonly end: number;
  readonly isWritten: boolean;
}

/** Sweeps over the tensors by address. Tensors that are only read may share memory; one that is written may not. */
function checkOverlaps(
  name: string,
  slots: readonly RegionTensor[],
  firstResult: number,
  donated: ReadonlyMap<number, number>,
): void {
  const written = new Set([...donated.values()]);
  const spans: Span[] = slots
    .map(({ address, region }, slot) => {
      const isWritten = slot >= firstResult || written.has(slot);
      return { slot, start: address, end: address + region.sizeBytes, isWritten };
    })
    .filter(({ slot, start, end }) => !donated.has(slot) && end > start)
    .sort((a, b) => a.start - b.start);
  // The span that reaches furthest so far; one that was written never has company, so the last one stands for all.
  let furthest: Span | undefined;
  for (const span of spans) {
    if (furthest !== undefined && span.start < furthest.end && (span.isWritten || furthest.isWritten)) {
      throw new BindError("a tensor that the program writes shares memory with another one", {
        where: `${name}: ${slotName(furthest.slot, firstResult)} and ${slotName(span.slot, firstResult)}`,
        hint: "give each result a tensor of its own, or donate the parameter when compiling",
      });
    }
    if (span.isWritten && slots[span.slot].region.access === "r") {
      throw new BindError("a read-only tensor would be written", {
        where: `${name}: ${slotName(span.slot, firstResult)}`,
      });
    }
    if (furthest === undefined || span.end > furthest.end) furthest = span;
  }
}

function slotName(slot: number, firstResult: number): string {
  return slot < firstResult ? `parameter ${slot}` : `result ${slot - firstResult}`;
}
