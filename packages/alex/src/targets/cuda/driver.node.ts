// NVIDIA's driver interface (CUDA Driver API, libcuda.so.1), by node:ffi: one device, its primary context, and one
// stream, on which everything happens in order. This file is the only one that knows the interface. Nothing of CUDA's
// toolkit is needed: the driver assembles PTX.
// Left out: several devices in one process, several streams, managed memory.

import { recordCopy } from "@fidelity/barewire";
import { loadFfi } from "@fidelity/barewire/node";
import type { Ffi } from "@fidelity/barewire/node";
import { CudaError, CudaUnavailableError } from "./errors.ts";
import type { Grid } from "./launches.ts";

const LIBRARY = "libcuda.so.1";

/** Functions by the names that headers give the versions in use. Results are error numbers, 0 for none. */
const FUNCTIONS = {
  cuInit: { arguments: ["uint32"], return: "int32" },
  cuGetErrorName: { arguments: ["int32", "pointer"], return: "int32" },
  cuDeviceGet: { arguments: ["pointer", "int32"], return: "int32" },
  cuDeviceGetName: { arguments: ["pointer", "int32", "int32"], return: "int32" },
  cuDeviceGetAttribute: { arguments: ["pointer", "int32", "int32"], return: "int32" },
  cuDeviceTotalMem_v2: { arguments: ["pointer", "int32"], return: "int32" },
  cuDevicePrimaryCtxRetain: { arguments: ["pointer", "int32"], return: "int32" },
  cuDevicePrimaryCtxRelease_v2: { arguments: ["int32"], return: "int32" },
  cuCtxSetCurrent: { arguments: ["pointer"], return: "int32" },
  cuCtxSynchronize: { arguments: [], return: "int32" },
  cuStreamQuery: { arguments: ["pointer"], return: "int32" },
  cuModuleLoadDataEx: { arguments: ["pointer", "pointer", "uint32", "pointer", "pointer"], return: "int32" },
  cuModuleGetFunction: { arguments: ["pointer", "pointer", "pointer"], return: "int32" },
  cuModuleUnload: { arguments: ["pointer"], return: "int32" },
  cuMemAlloc_v2: { arguments: ["pointer", "uint64"], return: "int32" },
  cuMemFree_v2: { arguments: ["pointer"], return: "int32" },
  cuMemcpyHtoD_v2: { arguments: ["pointer", "pointer", "uint64"], return: "int32" },
  cuMemcpyDtoH_v2: { arguments: ["pointer", "pointer", "uint64"], return: "int32" },
  cuMemHostAlloc: { arguments: ["pointer", "uint64", "uint32"], return: "int32" },
  cuMemHostGetDevicePointer_v2: { arguments: ["pointer", "pointer", "uint32"], return: "int32" },
  cuMemFreeHost: { arguments: ["pointer"], return: "int32" },
  cuLaunchKernel: {
    arguments: [
      "pointer",
      ...(["uint32", "uint32", "uint32", "uint32", "uint32", "uint32", "uint32"] as const),
      ...(["pointer", "pointer", "pointer"] as const),
    ],
    return: "int32",
  },
} as const;

type Functions = ReturnType<typeof openLibrary>["functions"];

function openLibrary(ffi: Ffi) {
  return ffi.dlopen(LIBRARY, FUNCTIONS);
}

/** Numbers of the interface's enumerations. */
const ATTRIBUTE = { multiprocessors: 16, capabilityMajor: 75, capabilityMinor: 76 } as const;
const HOST_ALLOC_MAPPED = 2;
const JIT_ERROR_LOG = 5;
const JIT_ERROR_LOG_BYTES = 6;
const NOT_READY = 600;

/** Memory of the host that the device reads and writes in place. */
export interface MappedMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly hostAddress: bigint;
  readonly deviceAddress: bigint;
}

/** A loaded module, and its functions by name. */
export interface CudaModule {
  readonly handle: bigint;
  readonly functions: ReadonlyMap<string, bigint>;
}

/** The driver with one device. Every method throws `CudaError` when the driver refuses. */
export class CudaDriver {
  readonly name: string;
  /** Compute capability: 90 is 9.0. */
  readonly capability: number;
  readonly multiprocessors: number;
  readonly memoryBytes: number;
  readonly #ffi: Ffi;
  readonly #functions: Functions;
  readonly #device: number;
  /** Where the driver writes what it gives; of its own memory, so that its address stays. */
  readonly #out = new ArrayBuffer(256);
  readonly #outAddress: bigint;

  /** Use `openCudaDriver`. */
  constructor(ffi: Ffi, functions: Functions) {
    this.#ffi = ffi;
    this.#functions = functions;
    this.#outAddress = ffi.getRawPointer(this.#out);
    this.#check("cuInit", functions.cuInit(0));
    this.#check("cuDeviceGet", functions.cuDeviceGet(this.#outAddress, 0));
    this.#device = new Int32Array(this.#out)[0];
    this.#check("cuDeviceGetName", functions.cuDeviceGetName(this.#outAddress, this.#out.byteLength, this.#device));
    this.name = ffi.toString(this.#outAddress) ?? "unknown";
    this.multiprocessors = this.#attribute(ATTRIBUTE.multiprocessors);
    this.capability = this.#attribute(ATTRIBUTE.capabilityMajor) * 10 + this.#attribute(ATTRIBUTE.capabilityMinor);
    this.#check("cuDeviceTotalMem", functions.cuDeviceTotalMem_v2(this.#outAddress, this.#device));
    this.memoryBytes = Number(this.#given());
  }

  /** Makes the device's context this thread's; `release` gives it back. */
  retain(): void {
    const { cuDevicePrimaryCtxRetain, cuCtxSetCurrent } = this.#functions;
    this.#check("cuDevicePrimaryCtxRetain", cuDevicePrimaryCtxRetain(this.#outAddress, this.#device));
    this.#check("cuCtxSetCurrent", cuCtxSetCurrent(this.#given()));
  }

  release(): void {
    this.#check("cuDevicePrimaryCtxRelease", this.#functions.cuDevicePrimaryCtxRelease_v2(this.#device));
  }

  /** Memory on the device, with whatever was in it. */
  allocate(sizeBytes: number): bigint {
    this.#check("cuMemAlloc", this.#functions.cuMemAlloc_v2(this.#outAddress, BigInt(sizeBytes)));
    return this.#given();
  }

  free(address: bigint): void {
    this.#check("cuMemFree", this.#functions.cuMemFree_v2(address));
  }

  /** Copies bytes to the device. */
  upload(address: bigint, bytes: Uint8Array): void {
    this.#check("cuMemcpyHtoD", this.#functions.cuMemcpyHtoD_v2(address, bytes, BigInt(bytes.byteLength)));
    recordCopy({ from: "cpu", to: "gpu", sizeBytes: bytes.byteLength, label: "upload" });
  }

  /** The unsigned 32-bit number at an address, once everything that was started is done. */
  readWord(address: bigint): number {
    const bytes = new Uint8Array(4);
    this.#check("cuMemcpyDtoH", this.#functions.cuMemcpyDtoH_v2(bytes, address, BigInt(bytes.byteLength)));
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  /** Zeroed memory of the host that the device works on in place. */
  allocateMapped(sizeBytes: number): MappedMemory {
    const { cuMemHostAlloc, cuMemHostGetDevicePointer_v2 } = this.#functions;
    this.#check("cuMemHostAlloc", cuMemHostAlloc(this.#outAddress, BigInt(sizeBytes), HOST_ALLOC_MAPPED));
    const hostAddress = this.#given();
    this.#check("cuMemHostGetDevicePointer", cuMemHostGetDevicePointer_v2(this.#outAddress, hostAddress, 0));
    const bytes = new Uint8Array(this.#ffi.toArrayBuffer(hostAddress, sizeBytes, false));
    bytes.fill(0);
    return { bytes, hostAddress, deviceAddress: this.#given() };
  }

  /** Views of the memory are empty afterwards. */
  freeMapped({ bytes, hostAddress }: MappedMemory): void {
    bytes.buffer.transfer();
    this.#check("cuMemFreeHost", this.#functions.cuMemFreeHost(hostAddress));
  }

  /** Has the driver assemble PTX, and finds functions in it. */
  loadModule(ptx: string, names: readonly string[]): CudaModule {
    const handle = this.#loadModule(ptx);
    const functions = new Map(names.map((name) => [name, this.#getFunction(handle, name)]));
    return { handle, functions };
  }

  unloadModule({ handle }: CudaModule): void {
    this.#check("cuModuleUnload", this.#functions.cuModuleUnload(handle));
  }

  /** The address of memory that has a place outside of the collected heap, such as a whole ArrayBuffer's. */
  addressOf(buffer: ArrayBuffer): bigint {
    return this.#ffi.getRawPointer(buffer);
  }

  /** Starts a kernel; `parameters` is the address of an array of its arguments' addresses, read before this returns. */
  launch(kernel: bigint, { blocks, blockThreads }: Grid, parameters: bigint): void {
    const status = this.#functions.cuLaunchKernel(kernel, blocks, 1, 1, blockThreads, 1, 1, 0, 0n, parameters, 0n);
    this.#check("cuLaunchKernel", status);
  }

  /** Waits until everything that was started is done. */
  synchronize(): void {
    this.#check("cuCtxSynchronize", this.#functions.cuCtxSynchronize());
  }

  /** Whether everything that was started is done. */
  isIdle(): boolean {
    const status = this.#functions.cuStreamQuery(0n);
    if (status === NOT_READY) return false;
    this.#check("cuStreamQuery", status);
    return true;
  }

  #loadModule(ptx: string): bigint {
    const log = new Uint8Array(new ArrayBuffer(4096));
    const options = Int32Array.of(JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES);
    const values = BigUint64Array.of(this.#ffi.getRawPointer(log), BigInt(log.byteLength));
    const status = this.#functions.cuModuleLoadDataEx(this.#outAddress, ptx, options.length, options, values);
    const said = new TextDecoder().decode(log.subarray(0, log.indexOf(0))).trim();
    this.#check("cuModuleLoadDataEx", status, said === "" ? undefined : said);
    return this.#given();
  }

  #getFunction(module: bigint, name: string): bigint {
    this.#check(`cuModuleGetFunction ${name}`, this.#functions.cuModuleGetFunction(this.#outAddress, module, name));
    return this.#given();
  }

  #attribute(attribute: number): number {
    const { cuDeviceGetAttribute } = this.#functions;
    this.#check("cuDeviceGetAttribute", cuDeviceGetAttribute(this.#outAddress, attribute, this.#device));
    return new Int32Array(this.#out)[0];
  }

  /** The 64-bit number or handle that a call wrote. */
  #given(): bigint {
    return new BigUint64Array(this.#out)[0];
  }

  #check(call: string, status: number, detail?: string): void {
    if (status === 0) return;
    const isNamed = this.#functions.cuGetErrorName(status, this.#outAddress) === 0;
    throw new CudaError(call, (isNamed ? this.#ffi.toString(this.#given()) : null) ?? `error ${status}`, detail);
  }
}

/** The driver of this machine's first GPU, or why it cannot be had. Never throws. */
export function openCudaDriver():
  | { readonly driver: CudaDriver; readonly reason?: undefined }
  | { readonly driver?: undefined; readonly reason: string } {
  opened ??= open();
  return opened;
}

let opened: ReturnType<typeof openCudaDriver> | undefined;

function open(): ReturnType<typeof openCudaDriver> {
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return { reason };
  try {
    return { driver: new CudaDriver(ffi, openLibrary(ffi).functions) };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error) };
  }
}

/** The driver of this machine's first GPU. Throws `CudaUnavailableError`. */
export function requireCudaDriver(): CudaDriver {
  const { driver, reason } = openCudaDriver();
  if (driver === undefined) throw new CudaUnavailableError(reason);
  return driver;
}
