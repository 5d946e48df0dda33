// The public face of alex: the compiler from graphs to programs, the wasm target, and the device that runs programs on
// a thread team. In Node, `@fidelity/alex/node` makes devices.

export { compileGraph, compileStages, emitAfter, PASSES, UnknownPassError } from "./compile.ts";
export type { Compilation, CompiledStages, CompilerOptions, Pass } from "./compile.ts";
export type { MemoryPlan } from "./passes/memory_plan.ts";
export {
  ADDRESS_BYTES,
  compileProgramToWasm,
  CONTROL_BYTES,
  scratchStrideBytes,
  WasmTargetError,
} from "./targets/wasm/index.ts";
export type { WasmProgramExports, WasmProgramOptions } from "./targets/wasm/index.ts";
export { CpuDevice } from "./runtime/device.ts";
export type { GraphCompiler, CpuDeviceOptions } from "./runtime/device.ts";
export { memoryReachBytes } from "./runtime/target.ts";
export * from "./runtime/errors.ts";
export { writtenTensor } from "./runtime/written-tensor.ts";
export * from "./explain/index.ts";
export * from "./view/index.ts";
