// Support for tests of the cuda target: running joined programs on a GPU, keeping their PTX, and why a machine cannot
// do either.

import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { BufferArgument, Program, ScheduleItem, TensorType } from "@fidelity/core";
import type { RunJoined } from "../native/testing.node.ts";
import { searchTools } from "../native/toolchain.node.ts";
import { operationCases } from "../testing-operations.ts";
import { programOf } from "../wasm/testing.node.ts";
import type { CudaDevice } from "./device.node.ts";
import { openCudaDriver } from "./driver.node.ts";

/** Why nothing can be run on a GPU here, or false: for `skip`. */
export function whyNoCuda(): string | false {
  const { reason } = openCudaDriver();
  return reason === undefined ? false : `needs a GPU: ${reason}`;
}

/** Why no PTX can be made here, or false: for `skip`. It may have been made elsewhere. */
export function whyNoPtx(): string | false {
  const { missing } = searchTools();
  if (missing.length === 0 || (process.env.FIDELITY_PTX_CACHE ?? "") !== "") return false;
  return `needs ${missing.map((tool) => `${tool}-19`).join(", ")} (tools/setup.sh)`;
}

/** Keeps PTX in a directory of its own until `remove`, unless FIDELITY_PTX_CACHE says where. */
export function temporaryPtxDirectory(): { remove(): void } {
  if ((process.env.FIDELITY_PTX_CACHE ?? "") !== "") return { remove: () => {} };
  const directory = mkdtempSync(path.join(os.tmpdir(), "fidelity-test-"));
  process.env.FIDELITY_PTX_CACHE = directory;
  return {
    remove() {
      delete process.env.FIDELITY_PTX_CACHE;
      rmSync(directory, { recursive: true });
    },
  };
}

/** A program whose buffers are all in its arena, with the arena bound as slot 0. */
export function bindArena(program: Program): Program {
  const move = (argument: BufferArgument): BufferArgument => {
    const { placement } = program.buffers[argument.buffer];
    const offset = placement.kind === "arena" ? placement.offsetBytes : 0;
    return { ...argument, buffer: 0, offsetBytes: argument.offsetBytes + offset };
  };
  const moveItem = (item: ScheduleItem): ScheduleItem =>
    item.kind === "loop"
      ? {
          ...item,
          ...(item.limit && { limit: { ...item.limit, cell: move(item.limit.cell) } }),
          items: item.items.map(moveItem),
        }
      : { ...item, calls: item.calls.map((call) => ({ ...call, args: call.args.map(move) })) };
  return {
    ...program,
    buffers: [{ name: "all", sizeBytes: program.arenaBytes, placement: { kind: "binding", slot: 0 } }],
    bindingCount: 1,
    arenaBytes: 0,
    schedule: program.schedule.map(moveItem),
  };
}

/** Runs joined programs on a GPU. */
export function runnerOn(device: CudaDevice): RunJoined {
  return async (joined, { memory, arena }) => {
    const type: TensorType = { dtype: "i32", shape: [joined.arenaBytes / 4] };
    const signature = { parameterTypes: [type], resultTypes: [], donations: [] };
    const executable = await device.load(bindArena(joined), signature);
    const tensor = device.tensor(type);
    const bytes = new Uint8Array(memory.buffer, arena, joined.arenaBytes);
    tensor.bytes().set(bytes);
    executable.bind([tensor], []);
    executable.run();
    bytes.set(tensor.bytes());
    executable.free();
    tensor.free();
  };
}

/** Every operation in every type, over vectors of 16 bytes. */
export function operationPrograms(): { readonly programs: readonly Program[]; readonly inputs: Uint8Array } {
  const { cases, inputs, bufferBytes } = operationCases(16);
  return { programs: cases.map(({ kernel }) => programOf(kernel, bufferBytes)), inputs };
}
