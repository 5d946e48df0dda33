// Devices that show what they are given to compile. Models bring their own ways of tracing their programs (a session's
// step, a training step); whoever wants to look at those programs hands them such a device.

import { storageBytes } from "@fidelity/core";
import type { CompileOptions, Device, DeviceTensor, Executable, Graph, TensorType } from "@fidelity/core";

/** A graph that a device was asked to compile, with the tensors that were bound to it. */
export interface Captured {
  readonly graph: Graph;
  readonly options: CompileOptions;
  parameters?: readonly DeviceTensor[];
  results?: readonly DeviceTensor[];
}

/** `device`, with all that it compiles noted in `captured`. Closing is left to the device's own owner. */
export function recordingDevice(device: Device, captured: Captured[]): Device {
  return {
    target: device.target,
    threads: device.threads,
    tensor: (type) => device.tensor(type),
    close: () => Promise.resolve(),
    async compile(graph, options = {}) {
      const entry: Captured = { graph, options };
      captured.push(entry);
      const executable = await device.compile(graph, options);
      return {
        name: executable.name,
        parameterTypes: executable.parameterTypes,
        resultTypes: executable.resultTypes,
        arenaBytes: executable.arenaBytes,
        bind(parameters, results) {
          entry.parameters = parameters;
          entry.results = results;
          executable.bind(parameters, results);
        },
        run: () => executable.run(),
        runAsync: () => executable.runAsync(),
        free: () => executable.free(),
      };
    },
  };
}

/**
 * A device that compiles nothing and runs nothing, after tinygrad's null device: graphs are looked at without the
 * memory that their tensors would take.
 */
export function nullDevice(captured: Captured[]): Device {
  return {
    target: "null",
    threads: 1,
    tensor: nullTensor,
    close: () => Promise.resolve(),
    compile(graph, options = {}) {
      captured.push({ graph, options });
      return Promise.resolve(nullExecutable(graph));
    },
  };
}

/** Tensors larger than this have no memory at all on a null device. */
const NULL_BYTES_MAX = 2 ** 20;

function nullTensor(type: TensorType): DeviceTensor {
  const sizeBytes = storageBytes(type);
  let memory: ArrayBuffer | undefined;
  const buffer = (): ArrayBuffer => (memory ??= new ArrayBuffer(sizeBytes > NULL_BYTES_MAX ? 0 : sizeBytes));
  return {
    type,
    bytes: () => new Uint8Array(buffer()),
    f32: () => new Float32Array(buffer()),
    i32: () => new Int32Array(buffer()),
    view: nullTensor,
    free: () => undefined,
  };
}

function nullExecutable(graph: Graph): Executable {
  return {
    name: graph.name,
    parameterTypes: graph.parameters.map(({ type }) => type),
    resultTypes: graph.results.map(({ type }) => type),
    arenaBytes: 0,
    bind: () => undefined,
    run: () => undefined,
    runAsync: () => Promise.resolve(),
    free: () => undefined,
  };
}
