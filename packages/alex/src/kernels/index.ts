// The door `@fidelity/alex/kernels`: what a file of kernels imports. Types, the functions that make their values, and
// the mark `kernel`. It holds no compiler, which is behind `@fidelity/alex/kernels/compile`, only what runs kernels
// that a build has compiled.

export { kernel, t } from "./kernel.ts";
export type { Captures, KernelFunction, KernelType } from "./kernel.ts";
export { KernelValueError, matrix, tensor, ternary, vector } from "./types.ts";
export type { Element, f32, f64, i32, Matrix, Quantity, Tensor, Ternary, TernaryRow, Trit, Vector } from "./types.ts";
export { precompiledKernel } from "./precompiled.ts";
export type { PrecompiledArgument, PrecompiledKernel } from "./precompiled.ts";
