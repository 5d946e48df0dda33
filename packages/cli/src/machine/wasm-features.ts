// Whether this engine accepts a WebAssembly feature: the smallest module that uses it is handed to `validate`. The idea
// is that of wasm-feature-detect; the modules here are built from their sections.

const TYPE = 1;
const FUNCTION = 3;
const MEMORY = 5;
const CODE = 10;

const NO_PARAMETERS_V128 = [0x60, 0, 1, 0x7b]; // () -> v128
const NO_PARAMETERS = [0x60, 0, 0]; // () -> ()

/** v128.const of zeros. */
const ZEROS = [0xfd, 0x0c, ...new Array<number>(16).fill(0)];

export type WasmFeature = "simd" | "relaxed-simd" | "threads" | "memory64";

const MODULES: Readonly<Record<WasmFeature, Uint8Array<ArrayBuffer>>> = {
  simd: moduleOf(functionOf(NO_PARAMETERS_V128, ZEROS)),
  // i32x4.relaxed_dot_i8x16_i7x16_add_s: the instruction that packed decoding lives on
  "relaxed-simd": moduleOf(functionOf(NO_PARAMETERS_V128, [...ZEROS, ...ZEROS, ...ZEROS, 0xfd, 0x93, 0x02])),
  // A shared memory of 1 page, and atomic.fence.
  threads: moduleOf(functionOf(NO_PARAMETERS, [0xfe, 0x03, 0]), [0x03, 1, 1]),
  memory64: moduleOf(functionOf(NO_PARAMETERS, []), [0x04, 1]),
};

/** Whether the engine would compile a module that uses the feature. */
export function supportsWasm(feature: WasmFeature): boolean {
  return WebAssembly.validate(MODULES[feature]);
}

interface WasmFunction {
  readonly type: readonly number[];
  readonly body: readonly number[];
}

function functionOf(type: readonly number[], body: readonly number[]): WasmFunction {
  return { type, body: [0, ...body, 0x0b] }; // no locals, and the end
}

/** A module of one function and, when given, one memory with these limits. Everything is shorter than 128 bytes. */
function moduleOf({ type, body }: WasmFunction, memory?: readonly number[]): Uint8Array<ArrayBuffer> {
  const sections = [
    section(TYPE, type),
    section(FUNCTION, [0]),
    ...(memory === undefined ? [] : [section(MEMORY, memory)]),
    section(CODE, [body.length, ...body]),
  ];
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);
}

/** A section that holds a vector of one entry. */
function section(id: number, entry: readonly number[]): number[] {
  return [id, entry.length + 1, 1, ...entry];
}
