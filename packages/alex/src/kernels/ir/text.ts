// A kernel as a text by which it is known again in another process: all of its IR but the places in the source. What is
// read in several places (arrays, variables, shared expressions) is written once and then by its number.

import type { KernelIr } from "./kernel_ir.ts";

/** The text of a kernel: equal for kernels that compute the same in the same way, whatever their files. */
export function kernelText(ir: KernelIr): string {
  const numbers = new Map<object, number>();
  const write = (value: unknown): string => {
    if (typeof value !== "object" || value === null) return Object.is(value, -0) ? "-0" : (JSON.stringify(value) ?? "");
    const number = numbers.get(value);
    if (number !== undefined) return `#${number}`;
    numbers.set(value, numbers.size);
    if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
    const fields = Object.entries(value).filter(([key]) => key !== "span");
    return `{${fields.map(([key, field]) => `${key}:${write(field)}`).join(",")}}`;
  };
  return write(ir);
}
