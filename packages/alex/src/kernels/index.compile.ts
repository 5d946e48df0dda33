// The door `@fidelity/alex/kernels/compile`: kernels from text to programs, and on a device.

export { compileFunction, compileKernelSource } from "./compile.ts";
export type { CompiledKernel, FunctionInput, KernelCompilation, KernelOptions } from "./compile.ts";
export { compileKernel } from "./run.ts";
export type { CompileKernelOptions, DeviceKernel, KernelLibrary } from "./run.ts";
export { DIAGNOSTIC_CODES, formatDiagnostic, KernelError, SourceText } from "./diagnostics.ts";
export type { Diagnostic, DiagnosticCode, Problem, Span } from "./diagnostics.ts";
export type { Intent, IntentName } from "./analysis/intents.ts";
export { evaluateKernelIr } from "./ir/evaluate.ts";
export type { Arithmetic, KernelIr } from "./ir/kernel_ir.ts";
export { precompileKernel } from "./precompile.ts";
export { printKernelIr } from "./ir/print.ts";
export type { PrintedLine } from "./ir/print.ts";
export { tokensOf } from "./syntax/tokens.ts";
export type { Token, TokenKind } from "./syntax/tokens.ts";
