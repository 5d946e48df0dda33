// The native stages, which need the tools of LLVM.

export { mlirStage, nativeStages } from "./native_stages.node.ts";
export type { NativeStages } from "./native_stages.node.ts";
