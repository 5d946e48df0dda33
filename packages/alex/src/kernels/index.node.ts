// The door `@fidelity/alex/kernels/node`: kernels from files.

export { loadKernels } from "./load.node.ts";
export type { LoadedKernels } from "./load.node.ts";
export { kernelsPlugin } from "./plugin.node.ts";
export type { KernelsPlugin } from "./plugin.node.ts";
