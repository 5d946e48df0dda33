// The face of alex in Node: everything of the browser's, and devices with worker threads and native code.

export * from "./index.ts";
export { bestTarget, createDevice, DEVICE_TARGETS } from "./runtime/device.node.ts";
export type { DeviceOptions, DeviceTarget } from "./runtime/device.node.ts";
export * from "./targets/native/index.node.ts";
