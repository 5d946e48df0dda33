// Damaged copies of a file for tests of its reader: the same ones for the same seed.

/**
 * `count` copies of `original`, each with one to four damages: a byte changed, a 32-bit or 64-bit number replaced by an
 * extreme one, a range repeated, or the end cut off. Half of the damages are among the first bytes, where headers are.
 */
export function* mutations(
  original: Uint8Array,
  { seed, count }: { seed: number; count: number },
): Generator<Uint8Array> {
  let state = seed;
  const below = (bound: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  const extremes = [0n, 1n, 0x7fffffffn, 0xffffffffn, 2n ** 53n, 2n ** 63n - 1n, 2n ** 64n - 1n];
  for (let i = 0; i < count; i++) {
    let bytes = original.slice();
    for (let damages = 1 + below(4); damages > 0 && bytes.length > 8; damages--) {
      const at = below(below(2) === 0 ? Math.min(64, bytes.length - 8) : bytes.length - 8);
      switch (below(5)) {
        case 0:
          bytes[at] ^= 1 << below(8);
          break;
        case 1:
          bytes[at] = below(256);
          break;
        case 2:
          new DataView(bytes.buffer).setBigUint64(at, extremes[below(extremes.length)], true);
          break;
        case 3:
          bytes.copyWithin(at, below(bytes.length), below(bytes.length));
          break;
        default:
          bytes = bytes.slice(0, below(4) === 0 ? at : bytes.length);
      }
    }
    yield bytes;
  }
}
