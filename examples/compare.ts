// What the examples share: arguments with reproducible values, and a run of a kernel both ways: as the TypeScript that
// it is, and compiled.

import { createDevice } from "@fidelity/alex/node";
import { compileKernel } from "@fidelity/alex/kernels/compile";
import { loadKernels } from "@fidelity/alex/kernels/node";
import type { KernelFunction } from "@fidelity/alex/kernels";

/** Numbers in [-1, 1), the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** Fills a vector or a matrix and gives it back. */
export function fill<Values>(values: Values, seed: number): Values {
  const random = randomFrom(seed);
  const visit = (part: unknown): void => {
    if (part instanceof Float32Array) for (let i = 0; i < part.length; i++) part[i] = random();
    else if (Array.isArray(part)) part.forEach(visit);
  };
  visit(values);
  return values;
}

/** `count` weights of -1, 0 and 1. */
export function fillTernary(count: number, seed: number): number[] {
  const random = randomFrom(seed);
  return Array.from({ length: count }, () => Math.round(random() * 1.5));
}

/** All numbers in some arguments and a result, in order. */
function numbersIn(value: unknown): number[] {
  if (typeof value === "number") return [value];
  if (value instanceof Float32Array || value instanceof Int8Array) return [...value];
  return Array.isArray(value) ? value.flatMap(numbersIn) : [];
}

/** The largest difference of two runs, relative to the largest number in the first. */
export function difference(a: unknown, b: unknown): number {
  const [left, right] = [numbersIn(a), numbersIn(b)];
  const largest = left.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  return left.reduce((most, value, i) => Math.max(most, Math.abs(value - right[i])), 0) / largest;
}

/** Runs a kernel as TypeScript and compiled, and prints both results and what the compiler saw in it. */
export async function compare<Args extends readonly unknown[]>(
  file: string,
  fn: KernelFunction & ((...args: never[]) => number | void),
  inputs: () => Args,
): Promise<void> {
  const run = fn as unknown as (...args: readonly unknown[]) => number | void;
  const plain = inputs();
  const expected = [...plain, run(...plain)];
  console.log(`as TypeScript: ${show(expected)}`);
  const kernels = await loadKernels(file);
  const compiled = kernels.get(fn.name);
  const device = createDevice();
  const onDevice = await compileKernel(device, compiled);
  const args = inputs();
  const got = [...args, onDevice(...args)];
  console.log(`compiled (${device.target}): ${show(got)}`);
  console.log(`largest difference: ${difference(expected, got).toExponential(1)} of the largest number`);
  for (const { name, what, how, span } of compiled.intents) {
    const { line } = compiled.source.position(span.start);
    console.log(`  line ${line}: ${name}, ${what}: ${how}`);
  }
  await device.close();
}

function show(values: readonly unknown[]): string {
  const last = values.findLast((value) => value !== undefined);
  const numbers = numbersIn(last);
  const shown = numbers.slice(0, 4).map((value) => value.toPrecision(6));
  return `[${shown.join(", ")}${numbers.length > 4 ? ", ..." : ""}]`;
}
