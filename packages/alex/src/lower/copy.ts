// A copy of bytes, in 16-byte vectors with a tail of bytes, or of pairs of them where the size is even.

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
    const [step, memory] = sizeBytes % 2 === 0 ? ([2, "u16"] as const) : ([1, "u8"] as const);
    k.loop(whole, end, step, (at) => k.store(k.load(I32, k.add(from!, at), 0, memory), k.add(to!, at), 0, memory));
  });
  return { kernel, chunks: Math.ceil(sizeBytes / CHUNK_BYTES) };
}
