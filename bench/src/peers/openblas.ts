// OpenBLAS as a peer for float32 products: Debian's libopenblas0-pthread, called in this process on the same memory
// (tools/setup.sh bench installs it). It is told its processor: version 0.3.21 does not know the newest ones, and takes
// its kernels for AVX2 there, at half the speed.

import { readFileSync, globSync } from "node:fs";
import { loadFfi } from "@fidelity/barewire/node";

/** The Fortran name, whose arguments are all pointers. */
const GEMM = "sgemm_";
const LIBRARY = "/usr/lib/*/openblas-pthread/libopenblas.so.0";

/** A row-major product [m, k] x [k, n], each operand stored as it is or transposed. */
export interface BlasProduct {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

export interface OpenBlas {
  /** With the processor that it took for this one. */
  readonly name: string;
  /** What computes c = a b with this many threads. */
  product(shape: BlasProduct, a: Float32Array, b: Float32Array, c: Float32Array, threads: number): () => void;
}

let opened: OpenBlas | undefined | null = null;

/** The library; undefined where it is not installed or cannot be called. */
export function openBlas(): OpenBlas | undefined {
  if (opened === null) opened = open();
  return opened;
}

function open(): OpenBlas | undefined {
  const { ffi } = loadFfi();
  const [path] = globSync(LIBRARY);
  if (ffi === undefined || path === undefined) return undefined;
  // Read by the library when it is loaded. What the environment says may be an older processor's.
  if (hasAvx512()) process.env["OPENBLAS_CORETYPE"] = "SKYLAKEX";
  const pointers = Array.from({ length: 13 }, () => "pointer" as const);
  const { functions } = ffi.dlopen(path, {
    [GEMM]: { arguments: pointers, return: "void" },
    openblas_set_num_threads: { arguments: ["int32"], return: "void" },
    openblas_get_corename: { arguments: [], return: "pointer" },
  } as const);
  const address = (view: NodeJS.ArrayBufferView): bigint => ffi.getRawPointer(view);
  const multiply = functions[GEMM] as unknown as (...args: readonly bigint[]) => void;
  const core = ffi.toString(functions.openblas_get_corename());
  return {
    name: `OpenBLAS, ${core}`,
    product({ m, n, k, transposeA, transposeB }, a, b, c, threads) {
      // Its matrices are column-major: the transposed product of the transposed operands, in the other order.
      const sizes = Int32Array.of(n, m, k, transposeB ? k : n, transposeA ? m : k, n);
      const scales = Float32Array.of(1, 0);
      const letters = new TextEncoder().encode(`${transposeB ? "T" : "N"}${transposeA ? "T" : "N"}`);
      const size = (i: number): bigint => address(sizes) + BigInt(4 * i);
      const [one, zero] = [address(scales), address(scales) + 4n];
      const letter = (i: number): bigint => address(letters) + BigInt(i);
      const [left, right, result] = [address(b), address(a), address(c)];
      const args = [letter(0), letter(1), size(0), size(1), size(2), one, left, size(3), right, size(4)];
      const all = [...args, zero, result, size(5)];
      const run = (): void => {
        functions.openblas_set_num_threads(threads);
        multiply(...all);
      };
      // What the addresses are of lives as long as the function.
      return Object.assign(run, { memory: [sizes, scales, letters, a, b, c] });
    },
  };
}

function hasAvx512(): boolean {
  try {
    return readFileSync("/proc/cpuinfo", "utf8").includes(" avx512f ");
  } catch {
    return false;
  }
}
