// The cuda target: programs of the loop IR to PTX, by way of MLIR's gpu dialect and LLVM, kept on disk by the hash of
// their text; and a device that runs them where there is a GPU.
//
//   print-program.ts   program -> gpu.module (the native target's print-operation.ts prints what is in the kernels)
//   compile.node.ts   gpu.module <-> disk
//   toolchain.node.ts  gpu.module -> mlir-opt, mlir-translate, opt, llc -> PTX; ptxas for reports
//   launches.ts        schedule -> launches with their grids
//   driver.node.ts     CUDA's driver interface
//   device.node.ts     tensors, executables, runs

export { compileProgramToPtx, ptxDirectory } from "./compile.node.ts";
export type { PtxOptions } from "./compile.node.ts";
export { CudaDevice } from "./device.node.ts";
export type { CudaDeviceOptions } from "./device.node.ts";
export { openCudaDriver } from "./driver.node.ts";
export { CudaError, CudaUnavailableError, PtxMissingError } from "./errors.ts";
export { CUDA_VECTORS, SM_90, cudaMachineOf } from "./machine.ts";
export type { CudaMachine } from "./machine.ts";
export { PtxAssemblerError, assemblePtx, findPtxAssembler } from "./toolchain.node.ts";
export type { KernelResources } from "./toolchain.node.ts";
