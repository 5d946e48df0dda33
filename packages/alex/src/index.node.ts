// The face of alex in Node: everything of the browser's, and devices with worker threads, native code and GPUs.

export * from "./index.ts";
export { bestTarget, createDevice, DEVICE_TARGETS } from "./runtime/device.node.ts";
export type { DeviceOptions, DeviceTarget, GpuDeviceOptions } from "./runtime/device.node.ts";
export { TARGETS } from "./targets/index.node.ts";
export type { CpuDeviceOptions, TargetName } from "./targets/index.node.ts";
export type { Target } from "./targets/index.ts";
export * from "./targets/cuda/index.node.ts";
export * from "./targets/native/index.node.ts";
export { canRun, PrebuiltError, PrebuiltPrograms, PrebuiltWriter } from "./targets/native/prebuilt.node.ts";
export type { BuiltProgram, PrebuiltManifest, PrebuiltProgram } from "./targets/native/prebuilt.node.ts";
export * from "./tune/index.node.ts";
export * from "./view/index.node.ts";
