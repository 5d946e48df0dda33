// Every operation in every type that the target has, run as WebAssembly and compared with the loop IR's evaluator over
// the same memory.

import assert from "node:assert/strict";
import { test } from "node:test";
import { F32, F64, I32, INDEX, buildKernel, loopType, verifyKernel } from "@fidelity/core";
import type { BinaryOp, KernelBuilder, LoopType, LoopValue, MemoryKind, UnaryOp } from "@fidelity/core";
import { WasmTargetError } from "./emit-operation.ts";
import { compileProgramToWasm } from "./emit-program.ts";
import { PAGES, compareWithEvaluator, programOf } from "./testing.node.ts";

const vector = {
  i8: loopType("i8", 16),
  i16: loopType("i16", 8),
  i32: loopType("i32", 4),
  f32: loopType("f32", 4),
  f64: loopType("f64", 2),
} as const;
const FLOATS = [F32, F64, vector.f32, vector.f64];
const INTEGERS = [I32, vector.i8, vector.i16, vector.i32];
const NUMBERS = [...FLOATS, ...INTEGERS, INDEX];
const ALL_BYTES = 256;

/** Builds a kernel over input and output bytes, checks it and compares its effects. */
function agrees(what: string, generate: (k: KernelBuilder, input: LoopValue, output: LoopValue) => void): void {
  const kernel = buildKernel(what, 2, (k, [input, output]) => generate(k, input, output));
  verifyKernel(kernel);
  compareWithEvaluator(programOf(kernel, ALL_BYTES), INPUTS);
}

/** Input bytes: small and large numbers of each kind at fixed places, 64 bytes a kind. */
const INPUTS = (() => {
  const bytes = new Uint8Array(ALL_BYTES);
  const view = new DataView(bytes.buffer);
  [1.5, -2.5, 3e9, -0, 0.5, NaN, -Infinity, 7, -1.5, 2.5, 3, -1e-3, 2, -3, 0.25, 100].forEach((value, i) => {
    view.setFloat32(4 * i, value, true);
  });
  [1.5, -2.5, 3e9, -0, NaN, 4.5, -1e300, 0.1].forEach((value, i) => view.setFloat64(64 + 8 * i, value, true));
  [5, -7, 2 ** 31 - 1, -(2 ** 31), 1, 65536, -65537, 255, 3, 2, -1, 1000].forEach((value, i) => {
    view.setInt32(128 + 4 * i, value, true);
  });
  for (let i = 192; i < 256; i++) bytes[i] = (i * 37 + 11) & 0xff;
  return bytes;
})();

/** Where the inputs of a kind begin. */
const INPUT_AT = { f32: 0, f64: 64, i32: 128, index: 128, i16: 192, i8: 192, mask: 0 } as const;
const typeBytes = (type: LoopType): number => (type.lanes > 1 ? 16 : type.kind === "f64" ? 8 : 4);

/** Pairs of operands of a type from the inputs. */
function operands(k: KernelBuilder, type: LoopType, input: LoopValue): readonly (readonly [LoopValue, LoopValue])[] {
  const at = INPUT_AT[type.kind];
  const size = typeBytes(type);
  return [0, 1, 2].map((i) => [
    k.load(type, input, at + i * size),
    k.load(type, input, at + (i === 2 ? 0 : i + 1) * size),
  ]);
}

/** Numbers are stored as they are, masks as 0 and 1 of a type with as many lanes. */
function keep(k: KernelBuilder, value: LoopValue, output: LoopValue, place: number): void {
  const { lanes, kind } = value.type;
  if (kind !== "mask") return k.store(value, output, place * 16);
  const as =
    lanes === 1 ? I32 : lanes === 2 ? vector.f64 : lanes === 4 ? vector.i32 : lanes === 8 ? vector.i16 : vector.i8;
  k.store(k.select(value, k.constant(as, 1), k.constant(as, 0)), output, place * 16);
}

test("binary operations of every type", () => {
  const table: readonly [readonly BinaryOp[], readonly LoopType[]][] = [
    [["add", "sub", "min", "max", "eq", "ne", "lt", "le", "gt", "ge"], NUMBERS],
    [["mul"], NUMBERS.filter((type) => type !== vector.i8)],
    [["div"], [...FLOATS, INDEX]],
    [["rem"], [INDEX]],
    [
      ["and", "or", "xor"],
      [...INTEGERS, INDEX],
    ],
  ];
  for (const [ops, types] of table) {
    for (const op of ops) {
      for (const type of types) {
        agrees(`${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
          operands(k, type, input).forEach(([a, b], i) => keep(k, k.binary(op, a, b), output, i));
        });
      }
    }
  }
});

test("i32 division rounds to zero", () => {
  agrees("div.i32", (k, input, output) => {
    k.store(k.div(k.load(I32, input, 132), k.load(I32, input, 164)), output);
    k.store(k.rem(k.load(I32, input, 132), k.load(I32, input, 164)), output, 4);
  });
});

test("shifts by a run-time count, taken modulo the lane's bits", () => {
  for (const type of INTEGERS) {
    for (const op of ["shl", "shr_s", "shr_u"] as const) {
      agrees(`${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
        const value = k.load(type, input, 192);
        [128, 144, 160, 132].forEach((at, i) => keep(k, k.binary(op, value, k.load(I32, input, at)), output, i));
      });
    }
  }
});

test("unary operations of every type", () => {
  const table: readonly [readonly UnaryOp[], readonly LoopType[]][] = [
    [
      ["neg", "abs"],
      [...FLOATS, ...INTEGERS],
    ],
    [["floor", "nearest"], FLOATS],
    [["not"], INTEGERS],
  ];
  for (const [ops, types] of table) {
    for (const op of ops) {
      for (const type of types) {
        agrees(`${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
          operands(k, type, input).forEach(([a], i) => keep(k, k.unary(op, a), output, i));
        });
      }
    }
  }
  for (const type of FLOATS) {
    agrees(`sqrt.${type.kind}`, (k, input, output) => {
      operands(k, type, input).forEach(([a], i) => keep(k, k.unary("sqrt", k.unary("abs", a)), output, i));
    });
  }
});

test("fma is exact where both ways of rounding agree", () => {
  for (const type of FLOATS) {
    agrees(`fma.${type.kind}.${type.lanes}`, (k, _, output) => {
      const [a, b, c] = [3, -5, 7].map((value) => k.constant(type, value));
      keep(k, k.fma(a, b, c), output, 0);
    });
  }
});

test("masks combine, and select by lane or as a whole", () => {
  for (const type of NUMBERS) {
    agrees(`select.${type.kind}.${type.lanes}`, (k, input, output) => {
      const [[a, b], [c, d]] = operands(k, type, input);
      const less = k.compare("lt", a, b);
      const more = k.compare("gt", c, d);
      const mixed = k.binary("xor", k.binary("and", less, k.unary("not", more)), k.binary("or", less, more));
      keep(k, k.select(mixed, a, c), output, 0);
      keep(k, k.select(k.compare("lt", k.chunk, k.index(1)), a, c), output, 1);
      keep(k, mixed, output, 2);
    });
  }
});

test("lanes of masks are extracted, inserted and splat", () => {
  for (const type of [vector.i8, vector.i16, vector.i32, vector.f32, vector.f64]) {
    agrees(`mask lanes.${type.kind}`, (k, input, output) => {
      const [[a, b]] = operands(k, type, input);
      const mask = k.compare("lt", a, b);
      const bit = k.extract(mask, 1);
      keep(k, bit, output, 0);
      keep(k, k.splat(bit, type.lanes), output, 1);
      keep(k, k.insert(mask, k.unary("not", bit), 0), output, 2);
      keep(k, k.constant(loopType("mask", type.lanes), 1), output, 3);
    });
  }
});

test("lanes are splat, extracted, inserted and shuffled", () => {
  for (const type of Object.values(vector)) {
    agrees(`lanes.${type.kind}`, (k, input, output) => {
      const [[a, b]] = operands(k, type, input);
      const last = type.lanes - 1;
      keep(k, k.splat(k.extract(a, last), type.lanes), output, 0);
      keep(k, k.insert(a, k.extract(b, 0), last), output, 1);
      keep(
        k,
        k.shuffle(
          a,
          b,
          Array.from({ length: type.lanes }, (_, i) => (i * 5 + 1) % (2 * type.lanes)),
        ),
        output,
        2,
      );
      keep(k, k.loadSplat(type, input, INPUT_AT[type.kind] + 8), output, 3);
      keep(k, k.extract(b, 1), output, 4);
    });
  }
});

test("conversions and bit casts", () => {
  agrees("convert", (k, input, output) => {
    for (let i = 0; i < 8; i++) {
      k.store(k.convert(I32, k.load(F32, input, 4 * i)), output, 4 * i);
      k.store(k.convert(I32, k.load(F64, input, 64 + 8 * i)), output, 32 + 4 * i);
      k.store(k.convert(F64, k.load(F32, input, 4 * i)), output, 64 + 8 * i);
    }
    k.store(k.convert(vector.i32, k.load(vector.f32, input)), output, 128);
    k.store(k.convert(vector.f32, k.load(vector.i32, input, 128)), output, 144);
    k.store(k.convert(F32, k.load(F64, input, 88)), output, 160);
    k.store(k.convert(F32, k.load(I32, input, 128)), output, 164);
    k.store(k.convert(F64, k.load(I32, input, 140)), output, 168);
    const byte = k.load(loopType("i8"), input, 193);
    k.store(k.convert(F32, byte), output, 176);
    k.store(k.convert(loopType("i8"), k.load(I32, input, 152)), output, 180);
    k.store(k.convert(loopType("i16"), k.load(I32, input, 152)), output, 182);
    k.store(k.convert(INDEX, k.load(I32, input, 132)), output, 184);
    k.store(k.bitcast(I32, k.load(F32, input)), output, 192);
    k.store(k.bitcast(F32, k.i32(0x40490fdb)), output, 196);
    k.store(k.bitcast(vector.f64, k.load(vector.i32, input, 128)), output, 208);
  });
});

test("narrowing, widening and dot products of bytes", () => {
  agrees("width", (k, input, output) => {
    const i32 = k.load(vector.i32, input, 128);
    const i16 = k.load(vector.i16, input, 192);
    const i8 = k.load(vector.i8, input, 208);
    k.store(k.narrow(i32, k.load(vector.i32, input, 144)), output);
    k.store(k.narrow(i16, k.load(vector.i16, input, 224)), output, 16);
    k.store(k.narrow(k.load(vector.f64, input, 64), k.load(vector.f64, input, 80)), output, 32);
    k.store(k.widen(i8, "low"), output, 48);
    k.store(k.widen(i8, "high", false), output, 64);
    k.store(k.widen(i16, "high"), output, 80);
    k.store(k.widen(i16, "low", false), output, 96);
    k.store(k.widen(k.load(vector.f32, input, 16), "high"), output, 112);
    const positive = k.binary("and", k.load(vector.i8, input, 224), k.constant(vector.i8, 127));
    k.store(k.dot4(i8, positive, i32), output, 128);
  });
});

test("loads from narrow cells and stores to them", () => {
  const cells: readonly MemoryKind[] = ["i8", "u8", "i16", "u16"];
  for (const memory of cells) {
    agrees(`memory.${memory}`, (k, input, output) => {
      k.store(k.load(vector.i32, input, 192, memory), output);
      k.store(k.load(I32, input, 209, memory), output, 16);
      if (memory.endsWith("8")) k.store(k.load(vector.i16, input, 193, memory), output, 32);
      if (memory.startsWith("u")) k.store(k.load(INDEX, input, 211, memory), output, 48);
      k.store(k.load(vector.i32, input, 128), output, 64, memory);
      k.store(k.load(I32, input, 136), output, 80, memory);
      if (memory.endsWith("8")) k.store(k.load(vector.i16, input, 200), output, 96, memory);
    });
  }
});

test("what 128-bit vectors lack is refused by name", () => {
  const wide = buildKernel("wide", 1, (k, [a]) => k.store(k.load(loopType("f32", 8), a), a));
  const bytes = buildKernel("bytes", 1, (k, [a]) => k.store(k.mul(k.load(vector.i8, a), k.load(vector.i8, a)), a));
  for (const kernel of [wide, bytes]) {
    assert.throws(() => compileProgramToWasm(programOf(kernel, 64), { maximumPages: PAGES }), WasmTargetError);
  }
});
