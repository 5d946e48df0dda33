// Products of operands in narrow dtypes: one row times a weight in the dtype of its file, which is bound by reading it,
// and many rows, beside the same product of float32 (or, of bytes, against the ceiling of their dot products). Weights
// of blocks meet activations that are rounded to bytes, which is part of what is measured.

import { BLOCK_DTYPES, blockLinear, isBlocked, matmul, storageBytes, tensorType, trace } from "@fidelity/core";
import type { BlockDtype, Dtype, Tensor, TensorType } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { KernelCase, Reach } from "./kernels.ts";

/** What multiplies what, a of [m, k] and b of [n, k], or of [k, n]. */
interface NarrowShape {
  readonly dtypes: readonly [Dtype, Dtype];
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeB?: boolean;
}

/** All cases lie in memory at once, each with as much to measure its ceiling; one weight takes at most this share. */
const WEIGHT_SHARE_MAX = 1 / 8;

/** The products of a quick run, or of a whole one. */
export function narrowProducts(quick: boolean, { memoryBytes }: Reach): KernelCase[] {
  const [n, k] = quick ? [1024, 2560] : [8192, 2560];
  const halves = ["bf16", "f16"] as const;
  const rows: NarrowShape[] = [
    ...weightShapes(quick).flatMap((shape) =>
      (["f32", "bf16", ...BLOCK_DTYPES] as const).map((dtype) => {
        return { dtypes: ["f32", dtype] as const, m: 1, ...shape, transposeB: true };
      }),
    ),
    ...halves.flatMap((dtype) =>
      [true, false].map((transposeB) => ({ dtypes: ["f32", dtype] as const, m: 1, n, k, transposeB })),
    ),
    { dtypes: ["i8", "i8"], m: 1, n, k, transposeB: true },
  ];
  const size = quick ? 256 : 1024;
  const single = ["f32", "bf16", "f16", ...BLOCK_DTYPES] as const;
  const square = { m: size, n: size, k: size, transposeB: true };
  const prompt = { m: 128, n: 2560, k: 2560, transposeB: true };
  const matrices = [square, ...(quick ? [] : [prompt])].flatMap((shape) =>
    [...single.map((dtype) => ["f32", dtype] as const), ["bf16", "bf16"] as const].map((dtypes) => {
      return { ...shape, dtypes };
    }),
  );
  const bytes = [square, ...(quick ? [] : [prompt])].map((shape) => ({ ...shape, dtypes: ["i8", "i8"] as const }));
  const fits = (shape: NarrowShape): boolean => storageBytes(weightOf(shape)) <= WEIGHT_SHARE_MAX * memoryBytes;
  return [...rows, ...matrices, ...bytes].filter(fits).map(narrowProduct);
}

/** Weights of a layer, and of a head that no cache holds, that decoding reads once a token. */
function weightShapes(quick: boolean): readonly { readonly n: number; readonly k: number }[] {
  const layer = { n: 4096, k: 4096 };
  return quick ? [{ n: 1024, k: 1024 }] : [layer, { n: 128_256, k: 2560 }];
}

function nameOf({ dtypes, m, n, k, transposeB = false }: NarrowShape): string {
  return `${isBlocked(dtypes[1]) ? "block_linear" : "matmul"} ${dtypes.join(" ")} ${m}x${n}x${k}${
    transposeB ? " Bt" : ""
  }`;
}

function weightOf({ dtypes, n, k, transposeB = false }: NarrowShape): TensorType {
  return tensorType(dtypes[1], transposeB ? [n, k] : [k, n]);
}

function narrowProduct(shape: NarrowShape): KernelCase {
  const { dtypes, m, n, k, transposeB = false } = shape;
  const b = weightOf(shape);
  const multiply = (x: Tensor, y: Tensor): Tensor =>
    isBlocked(y.dtype)
      ? blockLinear(x as Tensor<Shape, "f32">, y as Tensor<Shape, BlockDtype>)
      : matmul(x as never, y as never, { transposeB } as never);
  const { graph } = trace("matmul", multiply, [tensorType(dtypes[0], [m, k]), b]);
  const name = nameOf(shape);
  const weightBytes = storageBytes(b);
  if (m === 1) return { name, graph, work: weightBytes, ceiling: { kind: "read", sizeBytes: weightBytes } };
  const work = 2 * m * n * k;
  if (dtypes[0] === "i8") return { name, graph, work, ceiling: { kind: "int8" } };
  const single = nameOf({ ...shape, dtypes: ["f32", "f32"] });
  return { name, graph, work, ceiling: { kind: "f32" }, ...(name !== single && { beside: single }) };
}
