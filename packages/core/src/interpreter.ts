// The reference device: a plain interpreter of graphs in float64, op by op through each op's `evaluate`. It is slow on
// purpose and never optimised: what every other backend is compared with has to be easy to believe.
// Storage still has the layout and the precision of its dtype; only what lies between a run's inputs and results is
// float64.

import { FidelityError } from "@fidelity/units";
import type { CompileOptions, Device, DeviceTensor, Executable } from "./device.ts";
import type { Graph, Node, Tensor, TensorType } from "./graph.ts";
import { formatType, sameType, topologicalOrder } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import { decodeTensor, encodeTensor } from "./host.ts";
import { roundUp, storageBytes } from "./storage.ts";

/** A graph was given the wrong inputs, or a device was used out of order. */
export class ExecutionError extends FidelityError {}

/** Sees every op that is interpreted, those in the bodies of loops and branches before the op that holds them. */
export type Observer = (node: Node, inputs: readonly HostTensor[], results: readonly HostTensor[]) => void;

let observer: Observer | undefined;

/** Runs `body` with an observer of all that it interprets. */
export function observing<R>(observe: Observer, body: () => R): R {
  const before = observer;
  observer = observe;
  try {
    return body();
  } finally {
    observer = before;
  }
}

/** The results of `graph` for the given inputs. Values are dropped after their last use. */
export function interpret(graph: Graph, inputs: readonly HostTensor[]): HostTensor[] {
  requireInputs(
    graph,
    inputs.map((input) => input.type),
  );
  const values = new Map<Tensor, HostTensor>();
  graph.parameters.forEach((parameter, i) => values.set(parameter, inputs[i]!));
  const order = topologicalOrder(graph.results);
  const uses = new Map<Tensor, number>();
  const count = (tensor: Tensor): void => void uses.set(tensor, (uses.get(tensor) ?? 0) + 1);
  for (const node of order) node.inputs.forEach(count);
  graph.results.forEach(count);
  for (const node of order) {
    if (node.results.every((result) => values.has(result))) continue;
    if (node.op.name === "parameter") {
      throw new ExecutionError(`${graph.name}: depends on ${String(node.results[0])}, which is no parameter of it`, {
        hint: "pass tensors of an outer function as arguments",
      });
    }
    const operands = node.inputs.map((input) => values.get(input)!);
    const results = node.op.evaluate(
      operands,
      node.attrs,
      node.results.map((result) => result.type),
    );
    observer?.(node, operands, results);
    node.results.forEach((result, i) => {
      if (uses.has(result)) values.set(result, results[i]!);
    });
    for (const input of node.inputs) {
      const left = uses.get(input)! - 1;
      uses.set(input, left);
      if (left === 0) values.delete(input);
    }
  }
  return graph.results.map((result) => values.get(result)!);
}

function requireInputs(graph: Graph, given: readonly TensorType[]): void {
  const expected = graph.parameters.map((parameter) => parameter.type);
  const fits = given.length === expected.length && expected.every((type, i) => sameType(type, given[i]!));
  if (fits) return;
  throw new ExecutionError(`${graph.name}: inputs do not match the parameters`, {
    expected: expected.map(formatType).join(", "),
    got: given.map(formatType).join(", "),
  });
}

/** A device that interprets. It needs no compiler and no threads. */
export function createInterpreter(): Device {
  return new InterpreterDevice();
}

class InterpreterDevice implements Device {
  readonly target = "interpreter";
  readonly threads = 1;
  #closed = false;

  tensor(type: TensorType): DeviceTensor {
    this.#requireOpen();
    return new InterpreterTensor(type);
  }

  async compile(graph: Graph, options: CompileOptions = {}): Promise<Executable> {
    this.#requireOpen();
    return new InterpreterExecutable(graph, options);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #requireOpen(): void {
    if (this.#closed) throw new ExecutionError("the interpreter is closed", { hint: "make a new one" });
  }
}

class InterpreterTensor implements DeviceTensor {
  readonly type: TensorType;
  /** Whose memory this is: its own, or that of the tensor that it is a view of. */
  readonly #owner: InterpreterTensor;
  #buffer: ArrayBuffer | undefined;

  constructor(type: TensorType, owner?: InterpreterTensor) {
    this.type = type;
    this.#owner = owner ?? this;
    if (owner === undefined) this.#buffer = new ArrayBuffer(roundUp(storageBytes(type), 8));
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#storage(), 0, storageBytes(this.type));
  }

  f32(): Float32Array {
    return new Float32Array(this.#storage(), 0, Math.floor(storageBytes(this.type) / 4));
  }

  i32(): Int32Array {
    return new Int32Array(this.#storage(), 0, Math.floor(storageBytes(this.type) / 4));
  }

  view(type: TensorType): DeviceTensor {
    if (storageBytes(type) <= storageBytes(this.type)) return new InterpreterTensor(type, this.#owner);
    throw new ExecutionError("a view is larger than its tensor", {
      expected: `at most the ${storageBytes(this.type)} bytes of ${formatType(this.type)}`,
      got: formatType(type),
    });
  }

  free(): void {
    this.#buffer = undefined;
  }

  #storage(): ArrayBuffer {
    const buffer = this.#owner.#buffer;
    if (buffer === undefined) throw new ExecutionError(`a tensor ${formatType(this.type)} was used after free()`);
    return buffer;
  }
}

class InterpreterExecutable implements Executable {
  readonly name: string;
  readonly parameterTypes: readonly TensorType[];
  readonly resultTypes: readonly TensorType[];
  readonly arenaBytes = 0;
  readonly #graph: Graph;
  readonly #donations: NonNullable<CompileOptions["donations"]>;
  #parameters: readonly DeviceTensor[] | undefined;
  #results: readonly DeviceTensor[] = [];

  constructor(graph: Graph, options: CompileOptions) {
    this.name = options.name ?? graph.name;
    this.parameterTypes = graph.parameters.map((parameter) => parameter.type);
    this.resultTypes = graph.results.map((result) => result.type);
    this.#graph = graph;
    this.#donations = options.donations ?? [];
    for (const { parameter, result } of this.#donations) {
      const [from, to] = [this.parameterTypes[parameter], this.resultTypes[result]];
      if (from !== undefined && to !== undefined && sameType(from, to)) continue;
      throw new ExecutionError(`${this.name}: parameter ${parameter} cannot hold result ${result}`, {
        expected: "two tensors of one type",
        got: `${from === undefined ? "none" : formatType(from)}, ${to === undefined ? "none" : formatType(to)}`,
      });
    }
  }

  bind(parameters: readonly DeviceTensor[], results: readonly DeviceTensor[]): void {
    requireInputs(
      this.#graph,
      parameters.map((tensor) => tensor.type),
    );
    const given = results.map((tensor) => tensor.type);
    if (given.length !== this.resultTypes.length || !given.every((type, i) => sameType(type, this.resultTypes[i]!))) {
      throw new ExecutionError(`${this.name}: tensors do not match the results`, {
        expected: this.resultTypes.map(formatType).join(", "),
        got: given.map(formatType).join(", "),
      });
    }
    for (const { parameter, result } of this.#donations) {
      if (parameters[parameter] === results[result]) continue;
      throw new ExecutionError(
        `${this.name}: result ${result} is donated and must be the tensor of parameter ${parameter}`,
      );
    }
    this.#parameters = parameters;
    this.#results = results;
  }

  run(): void {
    if (this.#parameters === undefined) throw new ExecutionError(`${this.name}: run before bind`);
    const inputs = this.#parameters.map((tensor) => decodeTensor(tensor.type, tensor.bytes()));
    interpret(this.#graph, inputs).forEach((value, i) => encodeTensor(value, this.#results[i]!.bytes()));
  }

  async runAsync(): Promise<void> {
    this.run();
  }

  free(): void {
    this.#parameters = undefined;
    this.#results = [];
  }
}
