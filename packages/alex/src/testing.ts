// Support for tests: graphs compiled to wasm and run once on the calling thread.

import type { CompileOptions, Graph, HostTensor, Program } from "@fidelity/core";
import { decodeTensor, encodeTensor, roundUp, storageBytes } from "@fidelity/core";
import { compileGraph } from "./compile.ts";
import type { ScheduleSource } from "./lower/lowering.ts";
import { compileProgramToWasm, scratchStrideBytes } from "./targets/wasm/emit-program.ts";
import { ADDRESS_BYTES } from "./targets/team.ts";
import type { WasmProgramExports } from "./targets/wasm/emit-program.ts";

const PAGE_BYTES = 65536;

/** Compiles a graph to wasm, runs it on these inputs, and gives the results. Donated results come back like others. */
export function runCompiled(
  graph: Graph,
  inputs: readonly HostTensor[],
  options: CompileOptions & {
    readonly joinsVectors?: boolean;
    readonly dot4Unsigned?: boolean;
    readonly chunkElements?: number;
    readonly schedules?: ScheduleSource;
  } = {},
): HostTensor[] {
  const program = compileGraph(graph, {
    ...options,
    target: {
      lanes: 4,
      joinsVectors: options.joinsVectors ?? false,
      dot4Unsigned: options.dot4Unsigned ?? false,
      ...(options.chunkElements !== undefined && { chunkElements: options.chunkElements }),
    },
    verify: true,
  });
  const donors = new Map((options.donations ?? []).map(({ parameter, result }) => [result, parameter]));
  let end = 1024;
  const place = (sizeBytes: number): number => {
    const at = end;
    end += roundUp(Math.max(sizeBytes, 1), 64);
    return at;
  };
  const control = place(256);
  const bindings = place(program.bindingCount * 4);
  const parameters = graph.parameters.map(({ type }) => place(storageBytes(type)));
  const results = graph.results.map(({ type }, i) =>
    donors.has(i) ? parameters[donors.get(i)!]! : place(storageBytes(type)),
  );
  const addresses = [...parameters, ...results];
  for (const { buffer, bytes } of program.constants) addresses[slotOf(program, buffer)] = place(bytes.byteLength);
  const arena = place(program.arenaBytes);
  const scratch = place(scratchStrideBytes(program));
  const pages = Math.ceil(end / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const bytesAt = (address: number, sizeBytes: number): Uint8Array => new Uint8Array(memory.buffer, address, sizeBytes);
  // Memory that nobody should read before writing it is full of NaN, so that doing so shows.
  bytesAt(arena, program.arenaBytes).fill(0xff);
  inputs.forEach((input, i) => encodeTensor(input, bytesAt(parameters[i]!, storageBytes(input.type))));
  for (const { buffer, bytes } of program.constants)
    bytesAt(addresses[slotOf(program, buffer)]!, bytes.byteLength).set(bytes);
  new Int32Array(memory.buffer, bindings, program.bindingCount).set(
    addresses.map((address) => address / ADDRESS_BYTES),
  );
  const module = new WebAssembly.Module(
    compileProgramToWasm(program, { maximumPages: pages }) as Uint8Array<ArrayBuffer>,
  );
  const { run } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as WasmProgramExports;
  run(0, bindings / ADDRESS_BYTES, arena / ADDRESS_BYTES, scratch / ADDRESS_BYTES, control);
  return graph.results.map(({ type }, i) => decodeTensor(type, bytesAt(results[i]!, storageBytes(type))));
}

function slotOf(program: Program, buffer: number): number {
  const { placement } = program.buffers[buffer]!;
  return placement.kind === "binding" ? placement.slot : -1;
}
