// The opcodes that compiled programs use, from the WebAssembly core specification 3.0 (appendix "Index of
// Instructions") and the threads proposal. An opcode behind a prefix is `prefix << 12 | code`.

/** SIMD128 and relaxed SIMD. */
export const simd = (code: number): number => 0xfd000 | code;
const numeric = (code: number): number => 0xfc000 | code;
const atomic = (code: number): number => 0xfe000 | code;

export const OP = {
  select: 0x1b,
  selectTyped: 0x1c,
  i32Load: 0x28,
  f32Load: 0x2a,
  f64Load: 0x2b,
  i32Load8S: 0x2c,
  i32Load8U: 0x2d,
  i32Load16S: 0x2e,
  i32Load16U: 0x2f,
  i32Store: 0x36,
  f32Store: 0x38,
  f64Store: 0x39,
  i32Store8: 0x3a,
  i32Store16: 0x3b,
  i32Eqz: 0x45,
  i32Eq: 0x46,
  i32Ne: 0x47,
  i32LtS: 0x48,
  i32LtU: 0x49,
  i32GtS: 0x4a,
  i32GtU: 0x4b,
  i32GeU: 0x4f,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32Mul: 0x6c,
  i32And: 0x71,
  i32Xor: 0x73,
  i32ShrS: 0x75,
  f32Mul: 0x94,
  f32Add: 0x92,
  f64Mul: 0xa2,
  f64Add: 0xa0,
  i32WrapI64: 0xa7,
  f32ConvertI32S: 0xb2,
  f32DemoteF64: 0xb6,
  f64ConvertI32S: 0xb7,
  f64PromoteF32: 0xbb,
  i32ReinterpretF32: 0xbc,
  f32ReinterpretI32: 0xbe,
  i32Extend8S: 0xc0,
  i32Extend16S: 0xc1,
  i64ExtendI32S: 0xac,
  i32TruncSatF32S: numeric(0),
  i32TruncSatF64S: numeric(2),
  notify: atomic(0x00),
  wait32: atomic(0x01),
  i32AtomicLoad: atomic(0x10),
  i32AtomicStore: atomic(0x17),
  i32AtomicAdd: atomic(0x1e),
  i32AtomicSub: atomic(0x25),
} as const;

export const SIMD = {
  load: simd(0x00),
  load8x8S: simd(0x01),
  load8x8U: simd(0x02),
  load16x4S: simd(0x03),
  load16x4U: simd(0x04),
  store: simd(0x0b),
  const: simd(0x0c),
  shuffle: simd(0x0d),
  not: simd(0x4d),
  and: simd(0x4e),
  or: simd(0x50),
  xor: simd(0x51),
  bitselect: simd(0x52),
  store32Lane: simd(0x5a),
  store64Lane: simd(0x5b),
  load32Zero: simd(0x5c),
  f32x4DemoteF64x2Zero: simd(0x5e),
  f64x2PromoteLowF32x4: simd(0x5f),
  i8x16NarrowI16x8S: simd(0x65),
  i16x8NarrowI32x4S: simd(0x85),
  i16x8ExtendLowI8x16S: simd(0x87),
  i16x8ExtendHighI8x16S: simd(0x88),
  i16x8ExtendLowI8x16U: simd(0x89),
  i16x8ExtendHighI8x16U: simd(0x8a),
  i32x4ExtendLowI16x8S: simd(0xa7),
  i32x4ExtendHighI16x8S: simd(0xa8),
  i32x4ExtendLowI16x8U: simd(0xa9),
  i32x4ExtendHighI16x8U: simd(0xaa),
  i32x4TruncSatF32x4S: simd(0xf8),
  f32x4ConvertI32x4S: simd(0xfa),
  f32x4RelaxedMadd: simd(0x105),
  f64x2RelaxedMadd: simd(0x107),
  i32x4RelaxedDot: simd(0x113),
} as const;

/** splat, extract_lane (signed), replace_lane, load-and-splat, relaxed_laneselect, by vector shape. */
export const LANES: Readonly<Record<string, readonly [number, number, number, number, number]>> = {
  i8x16: [simd(0x0f), simd(0x15), simd(0x17), simd(0x07), simd(0x109)],
  i16x8: [simd(0x10), simd(0x18), simd(0x1a), simd(0x08), simd(0x10a)],
  i32x4: [simd(0x11), simd(0x1b), simd(0x1c), simd(0x09), simd(0x10b)],
  i64x2: [simd(0x12), simd(0x1d), simd(0x1e), simd(0x0a), simd(0x10c)],
  f32x4: [simd(0x13), simd(0x1f), simd(0x20), simd(0x09), simd(0x10b)],
  f64x2: [simd(0x14), simd(0x21), simd(0x22), simd(0x0a), simd(0x10c)],
};

const SCALAR_BITS = { and: 0x71, or: 0x72, xor: 0x73 };
const SCALAR_INTEGER = { add: 0x6a, sub: 0x6b, mul: 0x6c, eq: 0x46, ne: 0x47, shl: 0x74, shr_s: 0x75, shr_u: 0x76, ...SCALAR_BITS };
const VECTOR_BITS = { and: SIMD.and, or: SIMD.or, xor: SIMD.xor };

/** Two-operand instructions by loop type, then by loop op. What is missing has no single instruction. */
export const BINARY: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  index: { ...SCALAR_INTEGER, div: 0x6e, rem: 0x70, lt: 0x49, le: 0x4d, gt: 0x4b, ge: 0x4f },
  i32: { ...SCALAR_INTEGER, div: 0x6d, rem: 0x6f, lt: 0x48, le: 0x4c, gt: 0x4a, ge: 0x4e },
  mask: SCALAR_BITS,
  f32: {
    add: 0x92, sub: 0x93, mul: 0x94, div: 0x95, min: 0x96, max: 0x97,
    eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60,
  },
  f64: {
    add: 0xa0, sub: 0xa1, mul: 0xa2, div: 0xa3, min: 0xa4, max: 0xa5,
    eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66,
  },
  maskx2: VECTOR_BITS,
  maskx4: VECTOR_BITS,
  maskx8: VECTOR_BITS,
  maskx16: VECTOR_BITS,
  i8x16: {
    ...VECTOR_BITS, shl: simd(0x6b), shr_s: simd(0x6c), shr_u: simd(0x6d), add: simd(0x6e), sub: simd(0x71),
    min: simd(0x76), max: simd(0x78),
    eq: simd(0x23), ne: simd(0x24), lt: simd(0x25), gt: simd(0x27), le: simd(0x29), ge: simd(0x2b),
  },
  i16x8: {
    ...VECTOR_BITS, shl: simd(0x8b), shr_s: simd(0x8c), shr_u: simd(0x8d), add: simd(0x8e), sub: simd(0x91),
    mul: simd(0x95), min: simd(0x96), max: simd(0x98),
    eq: simd(0x2d), ne: simd(0x2e), lt: simd(0x2f), gt: simd(0x31), le: simd(0x33), ge: simd(0x35),
  },
  i32x4: {
    ...VECTOR_BITS, shl: simd(0xab), shr_s: simd(0xac), shr_u: simd(0xad), add: simd(0xae), sub: simd(0xb1),
    mul: simd(0xb5), min: simd(0xb6), max: simd(0xb8),
    eq: simd(0x37), ne: simd(0x38), lt: simd(0x39), gt: simd(0x3b), le: simd(0x3d), ge: simd(0x3f),
  },
  f32x4: {
    add: simd(0xe4), sub: simd(0xe5), mul: simd(0xe6), div: simd(0xe7), min: simd(0xe8), max: simd(0xe9),
    eq: simd(0x41), ne: simd(0x42), lt: simd(0x43), gt: simd(0x44), le: simd(0x45), ge: simd(0x46),
  },
  f64x2: {
    add: simd(0xf0), sub: simd(0xf1), mul: simd(0xf2), div: simd(0xf3), min: simd(0xf4), max: simd(0xf5),
    eq: simd(0x47), ne: simd(0x48), lt: simd(0x49), gt: simd(0x4a), le: simd(0x4b), ge: simd(0x4c),
  },
};

/** One-operand instructions by loop type, then by loop op. */
export const UNARY: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  mask: { not: OP.i32Eqz },
  maskx2: { not: SIMD.not },
  maskx4: { not: SIMD.not },
  maskx8: { not: SIMD.not },
  maskx16: { not: SIMD.not },
  f32: { abs: 0x8b, neg: 0x8c, floor: 0x8e, nearest: 0x90, sqrt: 0x91 },
  f64: { abs: 0x99, neg: 0x9a, floor: 0x9c, nearest: 0x9e, sqrt: 0x9f },
  i8x16: { abs: simd(0x60), neg: simd(0x61), not: SIMD.not },
  i16x8: { abs: simd(0x80), neg: simd(0x81), not: SIMD.not },
  i32x4: { abs: simd(0xa0), neg: simd(0xa1), not: SIMD.not },
  f32x4: { abs: simd(0xe0), neg: simd(0xe1), floor: simd(0x68), nearest: simd(0x6a), sqrt: simd(0xe3) },
  f64x2: { abs: simd(0xec), neg: simd(0xed), floor: simd(0x75), nearest: simd(0x94), sqrt: simd(0xef) },
};
