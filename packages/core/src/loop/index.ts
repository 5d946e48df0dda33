// The loop IR: types, the builder, programs, the verifier, the printer, the evaluator and elementary functions.

export * from "./ir.ts";
export * from "./builder.ts";
export * from "./program.ts";
export * from "./math.ts";
export { evaluateKernel, evaluateProgram } from "./evaluate.ts";
export { LoopVerifyError, verifyKernel } from "./verify.ts";
export { verifyProgram } from "./verify-program.ts";
export { printKernel, printProgram } from "./print.ts";
export { operandsOf } from "./operands.ts";
