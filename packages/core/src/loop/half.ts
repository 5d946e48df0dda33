// float16 in 32-bit arithmetic: IEEE 754 binary16 from and to float32, for vectors of any number of lanes, where there
// is no instruction for it. Infinities, NaN, subnormal numbers and the sign of zero come through; to nearest, ties to
// even. After F. Giesen's conversions (2012): the exponent is moved by a multiplication, or a rounding addition for
// what becomes subnormal, so that nothing has to be shifted by a number that depends on the lane.

import { loopType } from "./ir.ts";
import type { LoopValue } from "./ir.ts";
import type { KernelBuilder } from "./builder.ts";

/** Bits of a fraction that float32 has and float16 has not. */
const FRACTION_BITS = 13;
/** From the exponents of float16 in the place of float32's to the numbers that they stand for. */
const REBIAS = 2 ** 112;
/** float32 bits of 2^16, from which on magnitudes are infinite or no numbers, of 2^-14, and of infinity. */
const [OVERFLOW, NORMAL, INFINITE] = [0x47800000, 0x38800000, 0x7f800000];
/** float32 bits of 1/2: its last bit is worth as much as that of a subnormal float16. */
const ROUNDING = 0x3f000000;

/** The float32 that float16 bits stand for; `bits` are the lower halves of i32, the upper ones 0. */
export function float32OfHalf(k: KernelBuilder, bits: LoopValue): LoopValue {
  const integers = bits.type;
  const floats = loopType("f32", integers.lanes);
  const constant = (value: number): LoopValue => k.constant(integers, value);
  const moved = k.shift("shl", k.binary("and", bits, constant(0x7fff)), FRACTION_BITS);
  const scaled = k.bitcast(integers, k.mul(k.bitcast(floats, moved), k.constant(floats, REBIAS)));
  // The highest exponent is infinity's.
  const infinite = k.compare("ge", moved, constant(0x1f << 23));
  const magnitude = k.select(infinite, k.binary("or", scaled, constant(INFINITE)), scaled);
  const sign = k.shift("shl", k.binary("and", bits, constant(0x8000)), 16);
  return k.bitcast(floats, k.binary("or", magnitude, sign));
}

/** The bits of the float16 nearest to a float32, as i32 of which the upper halves are 0. NaN becomes a quiet one. */
export function halfOfFloat32(k: KernelBuilder, x: LoopValue): LoopValue {
  const floats = x.type;
  const integers = loopType("i32", floats.lanes);
  const constant = (value: number): LoopValue => k.constant(integers, value);
  const bits = k.bitcast(integers, x);
  const magnitude = k.binary("and", bits, constant(0x7fffffff));
  const sign = k.shift("shr_u", k.binary("xor", bits, magnitude), 16);
  // Just below half a unit, and one more where the last bit that stays is odd.
  const odd = k.binary("and", k.shift("shr_u", magnitude, FRACTION_BITS), constant(1));
  const raised = k.add(k.add(magnitude, constant(0xfff - (112 << 23))), odd);
  const normal = k.shift("shr_u", raised, FRACTION_BITS);
  const sum = k.add(k.bitcast(floats, magnitude), k.constant(floats, 0.5));
  const subnormal = k.sub(k.bitcast(integers, sum), constant(ROUNDING));
  const nan = k.compare("gt", magnitude, constant(INFINITE));
  const special = k.select(nan, constant(0x7e00), constant(0x7c00));
  const finite = k.select(k.compare("lt", magnitude, constant(NORMAL)), subnormal, normal);
  return k.binary("or", k.select(k.compare("ge", magnitude, constant(OVERFLOW)), special, finite), sign);
}
