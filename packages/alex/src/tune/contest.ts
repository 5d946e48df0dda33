// How long the schedules of a task take on a device: each is compiled as a program of the node alone, and runs over
// operands that are not in a cache already, as they are not in the middle of a large program.

import { emit, storageBytes, trace } from "@fidelity/core";
import type { DeviceTensor, Graph, TensorType, VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import type { CpuDevice } from "../runtime/device.ts";
import type { CpuExecutable } from "../runtime/executable.ts";
import { writtenTensor } from "../runtime/written-tensor.ts";
import type { TuneTask } from "./tasks.ts";
import type { Contest } from "./tune.ts";

/** All operands together, so that most of a last-level cache was used in between: at most this many sets of them. */
const OPERAND_BYTES = 64 * 2 ** 20;
const SETS_MAX = 16;
/** A sample lasts at least this long. */
const SAMPLE_MS = 2;

/** Parameters and results of the node. */
interface Operands {
  readonly parameters: readonly DeviceTensor[];
  readonly results: readonly DeviceTensor[];
}

/** Compiles the schedules of a task for a device. Throws what compiling throws, and `OutOfMemoryError`. */
export async function openContest(device: CpuDevice, target: VectorTarget, task: TuneTask): Promise<Contest> {
  const graph = graphOfNode(task);
  const signature = {
    parameterTypes: graph.parameters.map(({ type }) => type),
    resultTypes: graph.results.map(({ type }) => type),
    donations: [],
  };
  const sets = operandSets(device, [...signature.parameterTypes, ...signature.resultTypes], graph.parameters.length);
  const programs = task.candidates.map((_, i) => compileGraph(graph, { target, schedules: { find: () => i } }));
  const executables = await Promise.all(programs.map((program) => device.load(program, signature)));
  let next = 0;
  const run = (executable: CpuExecutable, repeats: number): number => {
    const started = performance.now();
    for (let i = 0; i < repeats; i++) {
      const { parameters, results } = sets[next++ % sets.length]!;
      executable.bind(parameters, results);
      executable.run();
    }
    return (performance.now() - started) / 1000;
  };
  const warmSeconds = Math.min(...executables.map((executable) => run(executable, 1)));
  const repeats = Math.max(1, Math.ceil(SAMPLE_MS / 1000 / Math.max(warmSeconds, 1e-7)));
  return {
    sample: (candidate) => run(executables[candidate]!, repeats) / repeats,
    close() {
      for (const executable of executables) executable.free();
      for (const { parameters, results } of sets) for (const tensor of [...parameters, ...results]) tensor.free();
    },
  };
}

function graphOfNode({ node, text }: TuneTask): Graph {
  const types = node.inputs.map(({ type }) => type);
  return trace(text, (...inputs) => emit(node.op, inputs, node.attrs), types).graph;
}

function operandSets(device: CpuDevice, types: readonly TensorType[], parameterCount: number): Operands[] {
  const bytes = types.reduce((sum, type) => sum + storageBytes(type), 0);
  const count = Math.max(1, Math.min(SETS_MAX, Math.floor(OPERAND_BYTES / bytes)));
  return Array.from({ length: count }, () => {
    const tensors = types.map((type) => writtenTensor(device, type));
    const parameters = tensors.slice(0, parameterCount);
    for (const tensor of parameters) if (tensor.type.dtype === "f32") fill(tensor.f32());
    return { parameters, results: tensors.slice(parameterCount) };
  });
}

/** Small numbers, neither zero nor denormal for long, so that no product takes a short cut. */
function fill(values: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = ((i * 7919) % 2003) / 2003 - 0.5;
}
