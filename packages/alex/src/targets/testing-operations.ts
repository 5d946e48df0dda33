// The cases that every target's operations are tested with: kernels of one operation each, in every type that the loop
// IR has for vectors of 16, 32 or 64 bytes and for scalars, over inputs of small and large numbers, NaN, infinities and
// negative zero. A target's test runs them and compares the bytes with those that the evaluator leaves.

import { F32, F64, I32, INDEX, buildKernel, loopType, verifyKernel } from "@fidelity/core";
import type { BinaryOp, Kernel, KernelBuilder, LoopType, LoopValue, MemoryKind, UnaryOp } from "@fidelity/core";

/** Bytes of a vector. */
export type VectorBytes = 16 | 32 | 64;

export interface OperationCase {
  /** What of the loop IR the case is about; several cases share it. */
  readonly about: string;
  readonly kernel: Kernel;
}

export interface OperationCases {
  readonly cases: readonly OperationCase[];
  /** What the first buffer of each kernel holds. */
  readonly inputs: Uint8Array;
  /** Bytes of each buffer. */
  readonly bufferBytes: number;
}

/** All cases for vectors of so many bytes. */
export function operationCases(vectorBytes: VectorBytes): OperationCases {
  const maker = new CaseMaker(vectorBytes);
  maker.binary();
  maker.division();
  maker.shifts();
  maker.unary();
  maker.fma();
  maker.masks();
  maker.lanes();
  maker.conversions();
  maker.widths();
  maker.cells();
  maker.lookups();
  maker.permutes();
  return { cases: maker.cases, inputs: maker.inputs, bufferBytes: maker.bufferBytes };
}

const FLOATS32 = [1.5, -2.5, 3e9, -0, 0.5, NaN, -Infinity, 7, -1.5, 2.5, 3, -1e-3, 2, -3, 0.25, 100];
const FLOATS64 = [1.5, -2.5, 3e9, -0, NaN, 4.5, -1e300, 0.1];
const INTEGERS32 = [5, -7, 2 ** 31 - 1, -(2 ** 31), 1, 65536, -65537, 255, 3, 2, -1, 1000];

/** The value at a place of a list that goes on with other, seeded ones. */
function valueAt(list: readonly number[], i: number, more: (random: number) => number): number {
  return list[i] ?? more(((i * 2654435761) % 2 ** 32) / 2 ** 32);
}

/** Input bytes: `partBytes` each of float32, float64 and int32 numbers and of plain bytes. */
function makeInputs(partBytes: number): Uint8Array {
  const bytes = new Uint8Array(4 * partBytes);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < partBytes / 4; i++) {
    view.setFloat32(
      4 * i,
      valueAt(FLOATS32, i, (random) => (random - 0.5) * 64),
      true,
    );
    view.setInt32(
      2 * partBytes + 4 * i,
      valueAt(INTEGERS32, i, (random) => (random - 0.5) * 2 ** 32),
      true,
    );
  }
  for (let i = 0; i < partBytes / 8; i++) {
    view.setFloat64(
      partBytes + 8 * i,
      valueAt(FLOATS64, i, (random) => (random - 0.5) * 1e10),
      true,
    );
  }
  for (let i = 0; i < partBytes; i++) bytes[3 * partBytes + i] = (i * 37 + 203) & 0xff;
  return bytes;
}

type Generate = (k: KernelBuilder, input: LoopValue, output: LoopValue) => void;

class CaseMaker {
  readonly cases: OperationCase[] = [];
  readonly inputs: Uint8Array;
  readonly bufferBytes: number;
  readonly #size: VectorBytes;
  readonly #vector: Readonly<Record<"i8" | "i16" | "i32" | "f32" | "f64", LoopType>>;
  readonly #floats: readonly LoopType[];
  readonly #integers: readonly LoopType[];
  readonly #numbers: readonly LoopType[];
  /** Where the inputs of a kind begin. */
  readonly #at: Readonly<Record<LoopType["kind"], number>>;

  constructor(size: VectorBytes) {
    const part = 4 * size;
    this.#size = size;
    this.inputs = makeInputs(part);
    this.bufferBytes = 4 * part;
    this.#vector = {
      i8: loopType("i8", size),
      i16: loopType("i16", size / 2),
      i32: loopType("i32", size / 4),
      f32: loopType("f32", size / 4),
      f64: loopType("f64", size / 8),
    };
    const { i8, i16, i32, f32, f64 } = this.#vector;
    this.#floats = [F32, F64, f32, f64];
    this.#integers = [I32, i8, i16, i32];
    this.#numbers = [...this.#floats, ...this.#integers, INDEX];
    this.#at = {
      f32: 0,
      mask: 0,
      f64: part,
      i32: 2 * part,
      index: 2 * part,
      i16: 3 * part,
      i8: 3 * part,
      f80: part,
      f128: part,
    };
  }

  #add(about: string, what: string, generate: Generate): void {
    const kernel = buildKernel(what, 2, (k, [input, output]) => generate(k, input, output));
    verifyKernel(kernel);
    this.cases.push({ about, kernel });
  }

  #typeBytes(type: LoopType): number {
    return type.lanes > 1 ? this.#size : type.kind === "f64" ? 8 : 4;
  }

  /** Pairs of operands of a type from the inputs. */
  #operands(k: KernelBuilder, type: LoopType, input: LoopValue): readonly (readonly [LoopValue, LoopValue])[] {
    const at = this.#at[type.kind];
    const size = this.#typeBytes(type);
    return [0, 1, 2].map((i) => [
      k.load(type, input, at + i * size),
      k.load(type, input, at + (i === 2 ? 0 : i + 1) * size),
    ]);
  }

  /** Numbers are stored as they are, masks as 0 and 1 of a type with as many lanes. */
  #keep(k: KernelBuilder, value: LoopValue, output: LoopValue, place: number): void {
    const { lanes, kind } = value.type;
    if (kind !== "mask") return k.store(value, output, place * this.#size);
    const as = lanes === 1 ? I32 : [...Object.values(this.#vector)].find((type) => type.lanes === lanes);
    if (as === undefined) throw new RangeError(`no type of ${lanes} lanes`);
    k.store(k.select(value, k.constant(as, 1), k.constant(as, 0)), output, place * this.#size);
  }

  binary(): void {
    const [numbers, floats, integers] = [this.#numbers, this.#floats, this.#integers];
    const table: readonly [readonly BinaryOp[], readonly LoopType[]][] = [
      [["add", "sub", "min", "max", "eq", "ne", "lt", "le", "gt", "ge"], numbers],
      [["add_sat"], [this.#vector.i16]],
      [["average"], [this.#vector.i8]],
      [["mul"], numbers.filter((type) => type !== this.#vector.i8)],
      [["div"], [...floats, INDEX]],
      [["rem"], [INDEX]],
      [
        ["and", "or", "xor"],
        [...integers, INDEX],
      ],
    ];
    for (const [ops, types] of table) {
      for (const op of ops) {
        for (const type of types) {
          this.#add("binary operations of every type", `${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
            this.#operands(k, type, input).forEach(([a, b], i) => {
              // What wraps is another number in 64 bits than in 32; differences of addresses are never negative.
              const [x, y] = type === INDEX && op === "sub" ? [k.max(a, b), k.min(a, b)] : [a, b];
              this.#keep(k, k.binary(op, x, y), output, i);
            });
          });
        }
      }
    }
  }

  division(): void {
    this.#add("i32 division rounds to zero", "div.i32", (k, input, output) => {
      const at = this.#at.i32;
      k.store(k.div(k.load(I32, input, at + 4), k.load(I32, input, at + 36)), output);
      k.store(k.rem(k.load(I32, input, at + 4), k.load(I32, input, at + 36)), output, 4);
    });
  }

  shifts(): void {
    for (const type of this.#integers) {
      for (const op of ["shl", "shr_s", "shr_u"] as const) {
        const about = "shifts by a run-time count, taken modulo the lane's bits";
        this.#add(about, `${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
          const value = k.load(type, input, this.#at.i8);
          [0, 16, 32, 4].forEach((at, i) =>
            this.#keep(k, k.binary(op, value, k.load(I32, input, this.#at.i32 + at)), output, i),
          );
          this.#keep(k, k.shift(op, value, 3), output, 4);
        });
      }
    }
  }

  unary(): void {
    const table: readonly [readonly UnaryOp[], readonly LoopType[]][] = [
      [
        ["neg", "abs"],
        [...this.#floats, ...this.#integers],
      ],
      [["floor", "nearest"], this.#floats],
      [["not"], this.#integers],
    ];
    for (const [ops, types] of table) {
      for (const op of ops) {
        for (const type of types) {
          this.#add("unary operations of every type", `${op}.${type.kind}.${type.lanes}`, (k, input, output) => {
            this.#operands(k, type, input).forEach(([a], i) => this.#keep(k, k.unary(op, a), output, i));
          });
        }
      }
    }
    for (const type of this.#floats) {
      this.#add("unary operations of every type", `sqrt.${type.kind}.${type.lanes}`, (k, input, output) => {
        this.#operands(k, type, input).forEach(([a], i) =>
          this.#keep(k, k.unary("sqrt", k.unary("abs", a)), output, i),
        );
      });
    }
  }

  fma(): void {
    for (const type of this.#floats) {
      const about = "fma is exact where both ways of rounding agree";
      this.#add(about, `fma.${type.kind}.${type.lanes}`, (k, _, output) => {
        const [a, b, c] = [3, -5, 7].map((value) => k.constant(type, value));
        this.#keep(k, k.fma(a, b, c), output, 0);
      });
    }
  }

  masks(): void {
    for (const type of this.#numbers) {
      const about = "masks combine, and select by lane or as a whole";
      this.#add(about, `select.${type.kind}.${type.lanes}`, (k, input, output) => {
        const [[a, b], [c, d]] = this.#operands(k, type, input);
        const less = k.compare("lt", a, b);
        const more = k.compare("gt", c, d);
        const mixed = k.binary("xor", k.binary("and", less, k.unary("not", more)), k.binary("or", less, more));
        this.#keep(k, k.select(mixed, a, c), output, 0);
        this.#keep(k, k.select(k.compare("lt", k.chunk, k.index(1)), a, c), output, 1);
        this.#keep(k, mixed, output, 2);
      });
    }
    for (const type of Object.values(this.#vector)) {
      const about = "lanes of masks are extracted, inserted and splat";
      this.#add(about, `mask lanes.${type.kind}`, (k, input, output) => {
        const [[a, b]] = this.#operands(k, type, input);
        const mask = k.compare("lt", a, b);
        const bit = k.extract(mask, 1);
        this.#keep(k, bit, output, 0);
        this.#keep(k, k.splat(bit, type.lanes), output, 1);
        this.#keep(k, k.insert(mask, k.unary("not", bit), 0), output, 2);
        this.#keep(k, k.constant(loopType("mask", type.lanes), 1), output, 3);
      });
    }
  }

  lanes(): void {
    for (const type of Object.values(this.#vector)) {
      this.#add("lanes are splat, extracted, inserted and shuffled", `lanes.${type.kind}`, (k, input, output) => {
        const [[a, b]] = this.#operands(k, type, input);
        const last = type.lanes - 1;
        const mixed = Array.from({ length: type.lanes }, (_, i) => (i * 5 + 1) % (2 * type.lanes));
        this.#keep(k, k.splat(k.extract(a, last), type.lanes), output, 0);
        this.#keep(k, k.insert(a, k.extract(b, 0), last), output, 1);
        this.#keep(k, k.shuffle(a, b, mixed), output, 2);
        this.#keep(k, k.loadSplat(type, input, this.#at[type.kind] + 8), output, 3);
        this.#keep(k, k.extract(b, 1), output, 4);
      });
    }
  }

  conversions(): void {
    this.#add("conversions and bit casts", "convert", (k, input, output) => {
      const { f32, f64, i32, i8 } = this.#at;
      const vector = this.#vector;
      for (let i = 0; i < 8; i++) {
        k.store(k.convert(I32, k.load(F32, input, f32 + 4 * i)), output, 4 * i);
        k.store(k.convert(I32, k.load(F64, input, f64 + 8 * i)), output, 32 + 4 * i);
        k.store(k.convert(F64, k.load(F32, input, f32 + 4 * i)), output, 64 + 8 * i);
      }
      k.store(k.convert(F32, k.load(F64, input, f64 + 24)), output, 128);
      k.store(k.convert(F32, k.load(I32, input, i32)), output, 132);
      k.store(k.convert(F64, k.load(I32, input, i32 + 12)), output, 136);
      const byte = k.load(loopType("i8"), input, i8 + 1);
      k.store(k.convert(F32, byte), output, 144);
      k.store(k.convert(loopType("i8"), k.load(I32, input, i32 + 24)), output, 148);
      k.store(k.convert(loopType("i16"), k.load(I32, input, i32 + 24)), output, 150);
      k.store(k.convert(INDEX, k.load(I32, input, i32 + 4)), output, 152);
      k.store(k.bitcast(I32, k.load(F32, input, f32)), output, 160);
      k.store(k.bitcast(F32, k.i32(0x40490fdb)), output, 164);
      k.store(k.convert(vector.i32, k.load(vector.f32, input, f32)), output, 11 * this.#size);
      k.store(k.convert(vector.f32, k.load(vector.i32, input, i32)), output, 12 * this.#size);
      k.store(k.bitcast(vector.f64, k.load(vector.i32, input, i32)), output, 13 * this.#size);
    });
  }

  widths(): void {
    this.#add("narrowing, widening and dot products of bytes", "width", (k, input, output) => {
      const { f32, f64, i32, i8 } = this.#at;
      const vector = this.#vector;
      const size = this.#size;
      const words = k.load(vector.i32, input, i32);
      const shorts = k.load(vector.i16, input, i8);
      const bytes = k.load(vector.i8, input, i8 + size);
      const positive = k.binary("and", k.load(vector.i8, input, i8 + 2 * size), k.constant(vector.i8, 127));
      const results = [
        k.narrow(words, k.load(vector.i32, input, i32 + size)),
        k.narrow(shorts, k.load(vector.i16, input, i8 + 2 * size)),
        k.narrow(k.load(vector.f64, input, f64), k.load(vector.f64, input, f64 + size)),
        k.widen(bytes, "low"),
        k.widen(bytes, "high", false),
        k.widen(shorts, "high"),
        k.widen(shorts, "low", false),
        k.widen(k.load(vector.f32, input, f32 + size), "high"),
        k.dot4(bytes, positive, words),
        k.dot2(bytes, positive),
      ];
      results.forEach((value, i) => k.store(value, output, i * size));
    });
  }

  lookups(): void {
    for (const entries of [16, 32, 64, 128, 256]) {
      this.#add("lookups in tables of bytes", `lookup.${entries}`, (k, input, output) => {
        const bytes = k.load(this.#vector.i8, input, this.#at.i8);
        const table = Array.from({ length: entries }, (_, i) => (i * 73 + 29) & 0xff);
        this.#keep(k, k.lookup(bytes, table), output, 0);
        this.#keep(k, k.lookup(k.binary("xor", bytes, k.constant(bytes.type, 0x5a)), table), output, 1);
      });
    }
  }

  permutes(): void {
    this.#add("lanes permuted by indices of which the high bits do not count", "permute", (k, input, output) => {
      const type = this.#vector.i16;
      this.#operands(k, type, input).forEach(([a, b], i) => this.#keep(k, k.permute(a, b), output, i));
    });
    this.#add("permutations in a row, before anything uses one", "permute.row", (k, input, output) => {
      const operands = this.#operands(k, this.#vector.i16, input);
      const found = operands.map(([a, b]) => k.permute(a, b));
      // The last one is not used.
      found.slice(0, -1).forEach((value, i) => this.#keep(k, k.add(value, found[0]!), output, i));
    });
  }

  cells(): void {
    const kinds: readonly MemoryKind[] = ["i8", "u8", "i16", "u16"];
    for (const memory of kinds) {
      this.#add("loads from narrow cells and stores to them", `memory.${memory}`, (k, input, output) => {
        const { i32, i8 } = this.#at;
        const vector = this.#vector;
        const size = this.#size;
        const isByte = memory.endsWith("8");
        k.store(k.load(vector.i32, input, i8, memory), output);
        k.store(k.load(I32, input, i8 + 17, memory), output, size);
        if (isByte) k.store(k.load(vector.i16, input, i8 + 1, memory), output, 2 * size);
        if (memory.startsWith("u")) k.store(k.load(INDEX, input, i8 + 19, memory), output, 3 * size);
        k.store(k.load(vector.i32, input, i32), output, 4 * size, memory);
        k.store(k.load(I32, input, i32 + 8), output, 5 * size, memory);
        if (isByte) k.store(k.load(vector.i16, input, i8 + 8), output, 6 * size, memory);
      });
    }
  }
}
