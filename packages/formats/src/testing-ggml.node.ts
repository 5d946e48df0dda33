// llama.cpp's own quantising, for tests and benchmarks: the library `libggml-base` that comes with node-llama-cpp,
// called in this process. That for x64 is built for any such processor, so that each operation rounds to float32; those
// for other systems may join a product and a sum, and are not loaded.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { loadFfi } from "@fidelity/barewire/node";

/** llama.cpp's functions. Arrays must not be empty. */
export interface Ggml {
  /** The bytes that llama.cpp writes for rows of numbers in a type, by its number in GGUF. */
  quantize(
    type: number,
    values: Float32Array,
    columns: number,
    sizeBytes: number,
    importance?: Float32Array,
  ): Uint8Array;
  /** The numbers that it reads from bytes; `name` as in its functions: `q4_K`, `tq1_0`. */
  dequantizer(name: string): (bytes: Uint8Array, count: number) => Float32Array;
  /** Float32 as float16 and as bfloat16: bits. */
  halves(values: Float32Array): Uint16Array;
  brains(values: Float32Array): Uint16Array;
}

/** Loads the library, or tells why it cannot be had: no prebuilt binary for this system, or no `node:ffi`. */
export function loadGgml():
  | { readonly ggml: Ggml; readonly reason?: undefined }
  | { ggml?: undefined; reason: string } {
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return { reason };
  if (process.platform !== "linux" || process.arch !== "x64") return { reason: "llama.cpp's library is that for x64" };
  const path = libraryPath("linux-x64");
  if (path === undefined) return { reason: "node-llama-cpp's prebuilt library is not here" };
  const pointer = "pointer" as const;
  const row = { arguments: [pointer, pointer, "int64"], return: "void" } as const;
  const { functions } = ffi.dlopen(path, {
    ggml_quantize_chunk: {
      arguments: ["int32", pointer, pointer, "int64", "int64", "int64", pointer],
      return: "uint64",
    },
    ggml_fp32_to_fp16_row: row,
    ggml_fp32_to_bf16_row_ref: row,
  } as const);
  const address = (view: NodeJS.ArrayBufferView | undefined): bigint =>
    view === undefined ? 0n : ffi.getRawPointer(view);
  const bitsBy = (convert: typeof functions.ggml_fp32_to_fp16_row) => (values: Float32Array) => {
    const bits = new Uint16Array(values.length);
    convert(address(values), address(bits), BigInt(values.length));
    return bits;
  };
  const ggml: Ggml = {
    quantize(type, values, columns, sizeBytes, importance) {
      const bytes = new Uint8Array(sizeBytes);
      const [rows, width] = [BigInt(values.length / columns), BigInt(columns)];
      functions.ggml_quantize_chunk(type, address(values), address(bytes), 0n, rows, width, address(importance));
      return bytes;
    },
    dequantizer(name) {
      const symbol = `dequantize_row_${name}`;
      const decode = ffi.dlopen(path, { [symbol]: row } as const).functions[symbol];
      return (bytes, count) => {
        const target = new Float32Array(count);
        decode(address(bytes), address(target), BigInt(count));
        return target;
      };
    },
    halves: bitsBy(functions.ggml_fp32_to_fp16_row),
    brains: bitsBy(functions.ggml_fp32_to_bf16_row_ref),
  };
  return { ggml };
}

function libraryPath(platform: string): string | undefined {
  const require = createRequire(import.meta.url);
  let folder: string;
  try {
    folder = dirname(dirname(require.resolve(`@node-llama-cpp/${platform}`)));
  } catch {
    return undefined;
  }
  const path = join(folder, "bins", platform, "libggml-base.so");
  return existsSync(path) ? path : undefined;
}
