// The loop IR: types, the builder, programs, the verifier, the printer, the evaluator and elementary functions.

export * from "./ir.ts";
export * from "./builder.ts";
export * from "./program.ts";
export * from "./math.ts";
export { evaluateKernel, evaluateProgram } from "./evaluate.ts";
