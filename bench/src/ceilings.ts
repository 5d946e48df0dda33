// The ceilings as sources to measure beside what is compared with them.

import { ceilingName, ceilingProgram, hostMachine, vectorsOf, writtenTensor } from "@fidelity/alex/node";
import type { Ceiling, CpuDevice } from "@fidelity/alex/node";
import { tensorType } from "@fidelity/core";
import type { TensorType } from "@fidelity/core";
import { repeated } from "./measure.ts";
import type { Source } from "./measure.ts";

export { ceilingName };
export type { Ceiling };

/** Lanes of WebAssembly's vectors. */
const WASM_LANES = 4;

/** Whether code for a device may use matrix registers. */
export function hasTiles({ target }: CpuDevice): boolean {
  return target === "native" && vectorsOf(hostMachine()).tiles === true;
}

/** float32 lanes of a device's vectors. */
function lanesOf({ target }: CpuDevice): number {
  return target === "native" ? vectorsOf(hostMachine()).lanes : WASM_LANES;
}

/** A source of a ceiling's rate: operations a second, an accumulated product counting as two, or bytes a second. */
export async function ceilingSource(device: CpuDevice, ceiling: Ceiling, sampleMs: number): Promise<Source> {
  const name = ceilingName(ceiling);
  const { program, work } = ceilingProgram(ceiling, lanesOf(device));
  const parameterTypes: TensorType[] = program.buffers.map(({ sizeBytes }) => tensorType("f32", [sizeBytes / 4]));
  const executable = await device.load(program, { parameterTypes, resultTypes: [], donations: [] });
  executable.bind(
    parameterTypes.map((type) => writtenTensor(device, type)),
    [],
  );
  return repeated(name, work, sampleMs, () => executable.run());
}
