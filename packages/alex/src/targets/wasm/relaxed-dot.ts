// What an engine makes of i32x4.relaxed_dot_i8x16_i7x16_add_s where the second operand is above 127. The specification
// of relaxed SIMD leaves that to the engine, which has to do the same everywhere: the byte is signed (sdot of aarch64),
// or unsigned and sums of pairs saturate (vpmaddubsw), or unsigned and exact (vpdpbusd). So the engine is asked.

import { ModuleBuilder, VALUE } from "./encoder.ts";
import { LANES, SIMD } from "./opcodes.ts";

/** Four bytes of each operand; products of one sign, of both, and as large as can be. */
const OPERANDS: readonly (readonly [a: number, b: number])[] = [
  [0x7f7f7f7f, 0xffffffff],
  [0x80808080, 0xffffffff],
  [0x807f017f, 0x80ff7f81],
  [0x01ff807f, 0xc0a0fe7f],
];

let answer: boolean | undefined;

/** Whether `dot4` takes any unsigned bytes (`VectorTarget.dot4Unsigned`) in the code of this engine. */
export function dotTakesUnsigned(): boolean {
  return (answer ??= ask());
}

function ask(): boolean {
  const module = new ModuleBuilder(1);
  const { index, body } = module.function("dot", [VALUE.i32, VALUE.i32], [VALUE.i32]);
  const [splat, extract] = LANES.i32x4;
  body.get(0).op(splat).get(1).op(splat).i32(1).op(splat).op(SIMD.i32x4RelaxedDot).op(extract).immediates(0);
  module.export("dot", index);
  const bytes = module.encode() as Uint8Array<ArrayBuffer>;
  if (!WebAssembly.validate(bytes)) return false;
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { dot } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } }).exports as {
    dot(a: number, b: number): number;
  };
  return OPERANDS.every(([a, b]) => dot(a, b) === sumOfProducts(a, b) + 1);
}

function sumOfProducts(a: number, b: number): number {
  const products = [0, 8, 16, 24].map((bit) => ((a << (24 - bit)) >> 24) * ((b >>> bit) & 0xff));
  return products.reduce((sum, product) => sum + product);
}
