// The page of a program: its stages as far as this machine can show them, measured ceilings, and a profile of a run.

import {
  createDevice,
  explainProgram,
  hostMachine,
  measureCeilings,
  nativeStages,
  findToolchain,
  profileProgram,
  renderView,
  vectorsOf,
  wasmStage,
} from "@fidelity/alex/node";
import type { Ceilings, CpuDevice, Explanation, Profile, ViewStage } from "@fidelity/alex/node";
import type { VectorTarget } from "@fidelity/core";
import { plural } from "../table.ts";
import { sourcePlaces } from "./emit.ts";
import type { Subject } from "./subjects.ts";

export type CompileTarget = "wasm" | "native";

/** The vectors that `createDevice` compiles for, where the engine's flags are as it sets them. */
const WASM_VECTORS: VectorTarget = { lanes: 4, joinsVectors: true };

/** What kernels are generated for. Throws `UnknownMachineError`. */
export function vectorTarget(target: CompileTarget): VectorTarget {
  return target === "native" ? vectorsOf(hostMachine()) : WASM_VECTORS;
}

export interface MeasureOptions {
  readonly target: CompileTarget;
  readonly threads: number;
  /** The position that kernels with a cache are looked at. */
  readonly position?: number;
}

/** An explanation with what was measured for it. */
export interface Measured {
  readonly explanation: Explanation;
  readonly profile?: Profile;
}

/** Runs `use` with a device of the options' target, and closes it. */
async function withDevice<T>({ target, threads }: MeasureOptions, use: (device: CpuDevice) => Promise<T>): Promise<T> {
  const device = createDevice({ target, threads });
  try {
    return await use(device);
  } finally {
    await device.close();
  }
}

/** The ceilings of this machine. */
export function ceilingsHere(options: MeasureOptions): Promise<Ceilings> {
  return withDevice(options, (device) => measureCeilings(device, { target: vectorTarget(options.target) }));
}

/** Explains a program, its ceilings measured and its calls timed. */
export function profileSubject(subject: Subject, options: MeasureOptions, ceilings: Ceilings): Promise<Measured> {
  const { position } = options;
  return withDevice(options, (device) =>
    subject.withTensors(device, async (tensors) => {
      const profile = await profileProgram(device, subject.stages.program, tensors);
      const explanation = explainProgram(subject.stages, {
        ceilings,
        ...(position !== undefined && { assumedIndex: position }),
      });
      return { explanation, profile };
    }),
  );
}

/** The page as text. Throws `ToolMissingError` for a native one where LLVM is not there. */
export async function viewOf(
  subject: Subject,
  { explanation, profile }: Measured,
  options: MeasureOptions,
): Promise<string> {
  const { title, stages, source, kernel } = subject;
  const { target, threads } = options;
  const placeOf = sourcePlaces(subject);
  const machine = target === "native" ? hostMachine().name : "WebAssembly";
  return renderView({
    title,
    target: `${machine}, ${plural(threads, "thread")}`,
    program: stages.program,
    explanation,
    stages: await targetStages(subject, target),
    ...(profile !== undefined && { profile }),
    ...(source !== undefined && {
      source: {
        file: source.file,
        text: source.text,
        intents: kernel?.intents.map(({ name, what, how, span }) => {
          return { name, what, how, line: source.position(span.start).line };
        }),
        lineOf: (number, inst) => placeOf(number, inst)?.line,
      },
    }),
  });
}

async function targetStages({ stages: { program } }: Subject, target: CompileTarget): Promise<ViewStage[]> {
  if (target === "wasm") return [{ id: "wat", title: "WebAssembly", kernels: wasmStage(program).kernels }];
  const { mlir, llvm, asm } = await nativeStages(program, hostMachine(), findToolchain());
  return [
    { id: "mlir", title: "MLIR", kernels: mlir },
    { id: "llvm", title: "LLVM IR", kernels: llvm },
    { id: "asm", title: "Assembly", kernels: asm },
  ];
}
