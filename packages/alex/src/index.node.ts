// The face of alex in Node: everything of the browser's, and devices with worker threads.

export * from "./index.ts";
export { createDevice } from "./runtime/device.node.ts";
export type { DeviceOptions } from "./runtime/device.node.ts";
