// A copy of bytes, in 16-byte vectors with a tail of 2-byte cells: every storage size is a multiple of two (bf16).

import type { Kernel } from "@fidelity/core";
import { buildKernel, I32, loopType } from "@fidelity/core";

const CHUNK_BYTES = 65536;

export function lowerCopy(sizeBytes: number): { kernel: Kernel; chunks: number } {
  const kernel = buildKernel("copy", 2, (k, [from, to]) => {
    const first = k.mul(k.chunk, k.index(CHUNK_BYTES));
    const end = k.min(k.index(sizeBytes), k.add(first, k.index(CHUNK_BYTES)));
    const vector = loopType("i32", 4);
    const whole = k.sub(end, k.rem(end, k.index(16)));
    k.loop(first, whole, 16, (at) => k.store(k.load(vector, k.add(from!, at)), k.add(to!, at)));
    if (sizeBytes % 16 === 0) return;
    k.loop(whole, end, 2, (at) => k.store(k.load(I32, k.add(from!, at), 0, "u16"), k.add(to!, at), 0, "i16"));
  });
  return { kernel, chunks: Math.ceil(sizeBytes / CHUNK_BYTES) };
}
