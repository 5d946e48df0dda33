// The face of alex in browsers: everything that runs anywhere, and devices with web workers.

export * from "./index.ts";
export { createDevice } from "./runtime/device-browser.ts";
export type { DeviceOptions } from "./runtime/device-browser.ts";
