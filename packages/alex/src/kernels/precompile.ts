// Kernels compiled before they ship: a kernel's module as bytes and where everything lies in its memory, as plain data
// that a build writes into the program. precompiled.ts turns it back into the function.

import { roundUp, storageBytes } from "@fidelity/core";
import { ADDRESS_BYTES } from "../targets/team.ts";
import { CONTROL_BYTES, compileProgramToWasm, scratchStrideBytes } from "../targets/wasm/index.ts";
import type { CompiledKernel } from "./compile.ts";
import { tensorTypeOf } from "./op.ts";
import type { PrecompiledArgument, PrecompiledKernel } from "./precompiled.ts";

const PAGE_BYTES = 65536;

/** Compiles a kernel for one thread with a memory of its own. */
export function precompileKernel(kernel: CompiledKernel): PrecompiledKernel {
  const program = kernel.program();
  const { inputs, results, donations } = kernel.signature;
  let end = ADDRESS_BYTES;
  const place = (sizeBytes: number): number => {
    const at = end;
    end += roundUp(Math.max(sizeBytes, 1), ADDRESS_BYTES);
    return at;
  };
  const control = place(CONTROL_BYTES);
  const table = place(program.bindingCount * 4);
  const outer = kernel.ir.arrays.filter(({ role }) => role !== "local");
  const placed = outer.map((array): PrecompiledArgument => {
    const type = tensorTypeOf(array);
    const [isRead, isWritten] = [inputs.includes(array), results.includes(array)];
    return { name: array.name, type, address: place(storageBytes(type)), isRead, isWritten };
  });
  const addressOf = (array: (typeof outer)[number]): number => placed[outer.indexOf(array)]!.address;
  const bindings = [...inputs.map(addressOf), ...results.map(addressOf)].map((address) => address / ADDRESS_BYTES);
  for (const { parameter, result } of donations) bindings[inputs.length + result] = bindings[parameter]!;
  const [arena, scratch] = [place(program.arenaBytes), place(scratchStrideBytes(program))];
  const pages = Math.ceil(end / PAGE_BYTES);
  const binary = compileProgramToWasm(program, { maximumPages: pages });
  const returns = kernel.ir.result === undefined ? undefined : placed[outer.indexOf(kernel.ir.result)];
  return {
    name: kernel.name,
    wasm: toBase64(binary),
    pages,
    arguments: placed.slice(0, kernel.ir.parameterCount),
    ...(returns !== undefined && { returns }),
    bindings,
    table,
    addresses: [table / ADDRESS_BYTES, arena / ADDRESS_BYTES, scratch / ADDRESS_BYTES, control],
  };
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
