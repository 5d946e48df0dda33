// Kernels by what they are about, so that colours mean the same everywhere on a page.

export const CATEGORIES = {
  product: "products",
  rows: "fused rows",
  mix: "mixing along time",
  codes: "packing and quantising",
  move: "moving",
} as const;

export type Category = keyof typeof CATEGORIES;

const PATTERNS: readonly (readonly [Category, RegExp])[] = [
  ["codes", /pack$|quantize|ternarize/],
  ["product", /matmul|row_product|ternary|gemm/],
  ["mix", /recurrence|attention|rope|scan/],
  ["move", /copy|slice|transpose|gather|scatter|concat|broadcast|pad|zeros/],
];

export function categoryOf(kernelName: string): Category {
  return PATTERNS.find(([, pattern]) => pattern.test(kernelName))?.[0] ?? "rows";
}
