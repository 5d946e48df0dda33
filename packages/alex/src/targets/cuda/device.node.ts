// The device that is a GPU: tensors that it shares with the host, and executables whose runs are launches on one
// stream. Programs of a device run one after the other, so they share one arena and one scratch memory, as large as the
// largest of them needs.

import { compileGraph } from "../../compile.ts";
import { checkDonations } from "../../runtime/binding.ts";
import type { Signature } from "../../runtime/binding.ts";
import { SILENT, describeProgram } from "../../runtime/debug.ts";
import type { DebugSink } from "../../runtime/debug.ts";
import { DeviceClosedError } from "../../runtime/errors.ts";
import { storageBytes } from "@fidelity/core";
import type { CompileOptions, Device, Graph, Program, TensorType } from "@fidelity/core";
import { compileProgramToPtx } from "./compile.node.ts";
import { requireCudaDriver } from "./driver.node.ts";
import type { CudaDriver } from "./driver.node.ts";
import { CudaUnavailableError } from "./errors.ts";
import { CudaExecutable } from "./executable.node.ts";
import { CUDA_VECTORS, cudaMachineOf } from "./machine.ts";
import type { CudaMachine } from "./machine.ts";
import { kernelSymbol } from "./print-program.ts";
import { CudaTensor } from "./tensor.node.ts";
import { Workspace } from "./workspace.node.ts";

export interface CudaDeviceOptions {
  /** Where reports go. */
  readonly debug?: DebugSink;
}

/** A GPU. Make it with `createDevice({ target: "cuda" })`. */
export class CudaDevice implements Device {
  readonly target = "cuda";
  /** Threads of the host that run kernels: the caller's, which starts them. */
  readonly threads = 1;
  /** The GPU's name. */
  readonly name: string;
  readonly machine: CudaMachine;
  readonly #driver: CudaDriver;
  readonly #debug: DebugSink;
  readonly #workspace: Workspace;
  readonly #tensors = new Set<CudaTensor>();
  readonly #executables = new Set<CudaExecutable>();
  #isClosed = false;

  /** Throws `CudaUnavailableError`, and `CudaError` when the driver refuses. */
  constructor({ debug = SILENT }: CudaDeviceOptions = {}) {
    this.#driver = requireCudaDriver();
    this.#debug = debug;
    this.name = this.#driver.name;
    const machine = cudaMachineOf(this.#driver.capability);
    if (machine === undefined) throw new CudaUnavailableError(`${this.name}, of ${this.#driver.capability / 10}`);
    this.machine = machine;
    this.#driver.retain();
    this.#workspace = new Workspace(this.#driver);
  }

  /** Throws `CudaError` when there is not so much memory. */
  tensor(type: TensorType): CudaTensor {
    this.#checkOpen();
    const memory = this.#driver.allocateMapped(Math.max(storageBytes(type), 1));
    const tensor = new CudaTensor(type, memory, (freed) => this.#free(freed));
    this.#tensors.add(tensor);
    return tensor;
  }

  /**
   * @throws BindError on impossible donations; PtxMissingError when there are no tools to compile with; CudaError
   */
  async compile(graph: Graph, options: CompileOptions = {}): Promise<CudaExecutable> {
    this.#checkOpen();
    const signature: Signature = {
      parameterTypes: graph.parameters.map((parameter) => parameter.type),
      resultTypes: graph.results.map((result) => result.type),
      donations: options.donations ?? [],
    };
    checkDonations(options.name ?? graph.name, signature);
    return this.load(compileGraph(graph, { ...options, target: CUDA_VECTORS }), signature);
  }

  /** Makes a program executable; its binding slots are the parameters, then the results, then its constants. */
  async load(program: Program, signature: Signature): Promise<CudaExecutable> {
    this.#checkOpen();
    checkDonations(program.name, signature);
    const started = performance.now();
    const ptx = await compileProgramToPtx(program, { machine: this.machine });
    this.#checkOpen();
    const names = program.kernels.map((_, kernel) => kernelSymbol(kernel));
    const module = this.#driver.loadModule(ptx, names);
    const { level } = this.#debug;
    if (level >= 1) {
      const timeMs = performance.now() - started;
      this.#debug.line(describeProgram(program, this.target, ptx.length, timeMs, level));
    }
    const home = {
      driver: this.#driver,
      workspace: this.#workspace,
      owns: (tensor: CudaTensor) => this.#tensors.has(tensor.owner),
      onFree: (freed: CudaExecutable) => void this.#executables.delete(freed),
    };
    const executable = new CudaExecutable(home, program, signature, module);
    this.#executables.add(executable);
    return executable;
  }

  /** Waits for the runs in progress and frees all memory; tensors and executables are dead afterwards. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#driver.synchronize();
    for (const executable of this.#executables) executable.free();
    for (const tensor of this.#tensors) tensor.free();
    this.#workspace.free();
    this.#driver.release();
  }

  /** A kernel in progress may be at work on the tensor: freeing waits for it. */
  #free(tensor: CudaTensor): void {
    this.#tensors.delete(tensor);
    this.#driver.synchronize();
    this.#driver.freeMapped(tensor.memory);
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new DeviceClosedError("the device was closed", { hint: "create another device" });
  }
}
