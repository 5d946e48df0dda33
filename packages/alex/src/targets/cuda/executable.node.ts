// A program that a GPU has loaded. The arguments of each launch lie in a block of memory, as the driver wants them: the
// values, and behind them the address of each. They are written when tensors are bound, and again before a launch in a
// loop, whose strides move its addresses.

import { setImmediate } from "node:timers/promises";
import { formatType, roundUp, sameType } from "@fidelity/core";
import type { DeviceTensor, Executable, Program, TensorType } from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Signature } from "../../runtime/binding.ts";
import { BindError, DeviceClosedError } from "../../runtime/errors.ts";
import { ALIGNMENT_MAX_BYTES } from "../alignment.ts";
import type { CudaDriver, CudaModule } from "./driver.node.ts";
import { planLaunches, runLaunches, scratchBytesOf } from "./launches.ts";
import type { Launch, LaunchAddress, LaunchItem } from "./launches.ts";
import { kernelSymbol, scratchStrideBytes } from "./print-program.ts";
import { CudaTensor } from "./tensor.node.ts";
import type { Workspace } from "./workspace.node.ts";

/** Scratch memory that one launch may take, about: threads beyond it wait for others. */
const SCRATCH_BYTES_MAX = 256 * 2 ** 20;

/** What an executable needs of its device. */
export interface CudaHome {
  readonly driver: CudaDriver;
  readonly workspace: Workspace;
  readonly owns: (tensor: CudaTensor) => boolean;
  readonly onFree: (executable: CudaExecutable) => void;
}

/** The arguments of a launch: chunks, scratch memory, then the buffers' addresses. */
class LaunchBlock {
  readonly address: bigint;
  readonly values: BigInt64Array;
  readonly #buffer: ArrayBuffer;

  constructor(driver: CudaDriver, count: number) {
    this.#buffer = new ArrayBuffer(16 * count);
    this.values = new BigInt64Array(this.#buffer, 0, count);
    const start = driver.addressOf(this.#buffer);
    this.address = start + BigInt(8 * count);
    new BigUint64Array(this.#buffer, 8 * count).forEach((_, i, all) => (all[i] = start + BigInt(8 * i)));
  }
}

/** An executable of the cuda target. Made by `CudaDevice.compile` and `CudaDevice.load`. */
export class CudaExecutable implements Executable {
  readonly name: string;
  readonly parameterTypes: readonly TensorType[];
  readonly resultTypes: readonly TensorType[];
  readonly arenaBytes: number;
  readonly #home: CudaHome;
  readonly #signature: Signature;
  readonly #module: CudaModule;
  readonly #kernels: readonly bigint[];
  readonly #items: readonly LaunchItem[];
  readonly #blocks = new Map<Launch, LaunchBlock>();
  readonly #constants: bigint | undefined;
  /** Addresses by binding slot. */
  readonly #slots: bigint[];
  #tensors: readonly CudaTensor[] | undefined;
  #generation = -1;
  #isFreed = false;

  constructor(home: CudaHome, program: Program, signature: Signature, module: CudaModule) {
    this.name = program.name;
    this.parameterTypes = signature.parameterTypes;
    this.resultTypes = signature.resultTypes;
    this.arenaBytes = program.arenaBytes;
    this.#home = home;
    this.#signature = signature;
    this.#module = module;
    this.#kernels = program.kernels.map((_, kernel) => module.functions.get(kernelSymbol(kernel)) ?? 0n);
    const { driver, workspace } = home;
    const strides = program.kernels.map(scratchStrideBytes);
    const { multiprocessors } = driver;
    this.#items = planLaunches(program, strides, { multiprocessors, scratchBytesMax: SCRATCH_BYTES_MAX });
    workspace.reserve(program.arenaBytes, scratchBytesOf(this.#items, strides));
    this.#makeBlocks(this.#items);
    this.#slots = new Array<bigint>(program.bindingCount).fill(0n);
    this.#constants = this.#placeConstants(program);
  }

  bind(parameters: readonly DeviceTensor[], results: readonly DeviceTensor[]): void {
    this.#checkOpen();
    const tensors = checkTensors(this.name, this.#signature, this.#home.owns, parameters, results);
    tensors.forEach(({ memory }, slot) => (this.#slots[slot] = memory.deviceAddress));
    this.#tensors = tensors;
    this.#fillBlocks();
  }

  run(): void {
    this.#start();
    this.#home.driver.synchronize();
  }

  async runAsync(): Promise<void> {
    this.#start();
    while (!this.#home.driver.isIdle()) await setImmediate();
  }

  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    const { driver, onFree } = this.#home;
    driver.synchronize();
    driver.unloadModule(this.#module);
    if (this.#constants !== undefined) driver.free(this.#constants);
    onFree(this);
  }

  /** Starts all launches. */
  #start(): void {
    this.#checkReady();
    if (this.#generation !== this.#home.workspace.generation) this.#fillBlocks();
    const { driver } = this.#home;
    const start = (launch: Launch, turns: readonly number[]): void => {
      const block = this.#blocks.get(launch);
      invariant(block !== undefined, "a launch has no arguments");
      if (turns.length > 0) this.#fillBlock(launch, block, turns);
      driver.launch(this.#kernels[launch.kernel], launch.grid, block.address);
    };
    runLaunches(this.#items, start, (cell, turns) => driver.readWord(this.#addressOf(cell, turns)));
  }

  #makeBlocks(items: readonly LaunchItem[]): void {
    for (const item of items) {
      if (item.kind === "loop") this.#makeBlocks(item.items);
      else this.#blocks.set(item.launch, new LaunchBlock(this.#home.driver, 2 + item.launch.addresses.length));
    }
  }

  #fillBlocks(): void {
    for (const [launch, block] of this.#blocks) this.#fillBlock(launch, block, []);
    this.#generation = this.#home.workspace.generation;
  }

  #fillBlock({ chunks, addresses }: Launch, { values }: LaunchBlock, turns: readonly number[]): void {
    values[0] = BigInt(chunks);
    values[1] = this.#home.workspace.scratchAddress;
    addresses.forEach((address, i) => (values[2 + i] = this.#addressOf(address, turns)));
  }

  #addressOf({ slot, offsetBytes, strideBytes }: LaunchAddress, turns: readonly number[]): bigint {
    const base = slot === undefined ? this.#home.workspace.arenaAddress : this.#slots[slot];
    return base + BigInt(strideBytes.reduce((sum, stride, depth) => sum + stride * (turns[depth] ?? 0), offsetBytes));
  }

  /** Copies constants to the device. Gives their memory. */
  #placeConstants({ constants, buffers }: Program): bigint | undefined {
    if (constants.length === 0) return undefined;
    const { driver } = this.#home;
    const sizes = constants.map(({ buffer, bytes }) => Math.max(buffers[buffer].sizeBytes, bytes.byteLength, 1));
    const places = sizes.map((size) => roundUp(size, ALIGNMENT_MAX_BYTES));
    let address = driver.allocate(places.reduce((sum, size) => sum + size, 0));
    const start = address;
    constants.forEach(({ buffer, bytes }, i) => {
      const { placement } = buffers[buffer];
      if (bytes.byteLength > 0) driver.upload(address, bytes);
      if (placement.kind === "binding") this.#slots[placement.slot] = address;
      address += BigInt(places[i]);
    });
    return start;
  }

  #checkOpen(): void {
    if (this.#isFreed) throw new DeviceClosedError("an executable was used after it was freed", { where: this.name });
  }

  #checkReady(): void {
    this.#checkOpen();
    if (this.#tensors === undefined) {
      throw new BindError("an executable cannot run before its tensors are bound", { where: this.name });
    }
    const freed = this.#tensors.findIndex((tensor) => !tensor.isAlive);
    if (freed >= 0) throw new BindError("a bound tensor was freed", { where: `${this.name}: slot ${freed}` });
  }
}

/** Checks the tensors for a program, and gives those of all slots, parameters first. Throws `BindError`. */
function checkTensors(
  name: string,
  { parameterTypes, resultTypes, donations }: Signature,
  owns: (tensor: CudaTensor) => boolean,
  parameters: readonly DeviceTensor[],
  results: readonly DeviceTensor[],
): CudaTensor[] {
  const types = [...parameterTypes, ...resultTypes];
  const given = [...parameters, ...results];
  if (parameters.length !== parameterTypes.length || results.length !== resultTypes.length) {
    throw new BindError("the number of tensors is wrong", {
      where: name,
      expected: `${parameterTypes.length} parameters and ${resultTypes.length} results`,
      got: `${parameters.length} and ${results.length}`,
    });
  }
  const donors = new Map(donations.map(({ parameter, result }) => [parameterTypes.length + result, parameter]));
  const slots = given.map((tensor, slot) => {
    const where = `${name}: slot ${slot}`;
    if (!(tensor instanceof CudaTensor) || !owns(tensor)) {
      throw new BindError("a tensor is not one of this device, or was freed", { where });
    }
    if (!sameType(tensor.type, types[slot])) {
      const [expected, got] = [types[slot], tensor.type].map(formatType);
      throw new BindError("a tensor has the wrong type", { where, expected, got });
    }
    return tensor;
  });
  const written = new Set([...donors.values(), ...resultTypes.map((_, i) => parameterTypes.length + i)]);
  slots.forEach((tensor, slot) => {
    const donor = donors.get(slot);
    if (donor !== undefined && slots[donor] !== tensor) {
      throw new BindError("a donated result is another tensor than its parameter", { where: `${name}: slot ${slot}` });
    }
    const first = slots.indexOf(tensor);
    if (first === slot || first === donor || (!written.has(slot) && !written.has(first))) return;
    throw new BindError("a tensor that the program writes is bound twice", { where: `${name}: slot ${slot}` });
  });
  return slots;
}
