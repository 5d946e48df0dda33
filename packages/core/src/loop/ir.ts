// The loop IR: what ops lower to and what targets print. Static shapes, structured loops with carried values, vectors
// with an explicit lane count, and memory as an address plus a constant offset. It is SSA: every value is defined once,
// by one instruction or as a block argument. It knows nothing of tensors, graphs or targets.
// The shape follows MLIR's `scf`, `arith` and `vector` dialects, so that printing to MLIR stays a walk.
// Left out: function calls, unstructured control flow, and atomics (the schedule of a program owns those).

/**
 * Element kinds. `index` is an address or a counter in bytes or elements, a scalar: unsigned in division, comparison,
 * min and max, and of 32 or 64 bits, as the target's addresses are: nothing may depend on where it wraps, but that
 * adding a negative distance goes back. In memory it has 32 bits. Integers wrap. Scalars of i8 and i16 are only moved
 * and converted. `mask` is a comparison's result. The wide floats are scalars that live in registers only: what there
 * is of them is conversion from and to f64, neg, add, sub, mul, div, comparisons, select, and being carried by loops.
 * Not every target has them: `VectorTarget.wideFloats` says which.
 */
export type LoopKind = "index" | "i8" | "i16" | "i32" | "f32" | "f64" | WideFloat | "mask";

/** IEEE's extended format of the x87 unit, with 64 bits, and the quadruple one, with 113. */
export type WideFloat = "f80" | "f128";

/** A scalar (`lanes` 1) or a vector type. Types are interned: compare them with `===`. */
export interface LoopType {
  readonly kind: LoopKind;
  readonly lanes: number;
}

const internedTypes = new Map<string, LoopType>();

/** The interned type of `lanes` elements of `kind`. */
export function loopType(kind: LoopKind, lanes = 1): LoopType {
  const key = `${kind}x${lanes}`;
  let type = internedTypes.get(key);
  if (type === undefined) internedTypes.set(key, (type = Object.freeze({ kind, lanes })));
  return type;
}

export const INDEX = loopType("index");
export const I32 = loopType("i32");
export const F32 = loopType("f32");
export const F64 = loopType("f64");

/** `f32x4`, or `f32` for a scalar. */
export function formatLoopType(type: LoopType): string {
  return type.lanes === 1 ? type.kind : `${type.kind}x${type.lanes}`;
}

/** An SSA value. */
export interface LoopValue {
  readonly type: LoopType;
  /** Unique within its kernel, in order of definition. */
  readonly id: number;
}

/**
 * Pure operations by arity. Comparisons give masks; `fma` may round once or twice (relaxed); `min` and `max` of floats
 * give NaN when either is, and either of -0 and 0; `nearest` rounds halves to even; shift counts are i32 scalars,
 * modulo the lane's bits. `add_sat`, of vectors of i16, goes no further than the kind does: some processors have other
 * units for it than for `add`. `average`, of vectors of i8, is half of the sum of two unsigned bytes, rounded up.
 * `scale` is a 2^b for vectors of f32 and whole numbers b, or infinite ones, for which a may be NaN; not every target
 * has it: `VectorTarget.scales` says which.
 */
export type UnaryOp = "neg" | "abs" | "sqrt" | "floor" | "nearest" | "not";
export type BinaryOp =
  | "add"
  | "add_sat"
  | "average"
  | "sub"
  | "mul"
  | "div"
  | "rem"
  | "scale"
  | "min"
  | "max"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr_s"
  | "shr_u"
  | "eq"
  | "ne"
  | "lt"
  | "le"
  | "gt"
  | "ge";

/**
 * How a memory cell is narrower than the register. Cells of integers are sign- or zero-extended on load and truncated
 * on store; those of f16 hold f32 registers, rounded to nearest, ties to even, on store.
 */
export type MemoryKind = "i8" | "u8" | "i16" | "u16" | "f16";

export type LoopInst =
  | { readonly op: "const"; readonly value: number; readonly result: LoopValue }
  | { readonly op: UnaryOp; readonly a: LoopValue; readonly result: LoopValue }
  | { readonly op: BinaryOp; readonly a: LoopValue; readonly b: LoopValue; readonly result: LoopValue }
  /** a * b + c. */
  | {
      readonly op: "fma";
      readonly a: LoopValue;
      readonly b: LoopValue;
      readonly c: LoopValue;
      readonly result: LoopValue;
    }
  | {
      readonly op: "select";
      readonly mask: LoopValue;
      readonly a: LoopValue;
      readonly b: LoopValue;
      readonly result: LoopValue;
    }
  /**
   * Value conversion: integer to float (signed), float to i32 (truncating, saturating, NaN to 0), f32 to f64 and back,
   * i32 to index and back, scalar i8 and i16 to i32 (signed) and back (the low bits), f64 to wide floats and back.
   */
  | { readonly op: "convert"; readonly a: LoopValue; readonly result: LoopValue }
  /** The same bits under another type of the same size. */
  | { readonly op: "bitcast"; readonly a: LoopValue; readonly result: LoopValue }
  | { readonly op: "splat"; readonly a: LoopValue; readonly result: LoopValue }
  | { readonly op: "extract"; readonly a: LoopValue; readonly lane: number; readonly result: LoopValue }
  | {
      readonly op: "insert";
      readonly a: LoopValue;
      readonly b: LoopValue;
      readonly lane: number;
      readonly result: LoopValue;
    }
  /** Lanes of the concatenation of a and b, both of the result's type. */
  | {
      readonly op: "shuffle";
      readonly a: LoopValue;
      readonly b: LoopValue;
      readonly lanes: readonly number[];
      readonly result: LoopValue;
    }
  /**
   * i32 lane i: c[i] + sum over j < 4 of a[4i + j] * b[4i + j]; a is signed bytes, b must lie in 0..127, or is any
   * unsigned bytes where `VectorTarget.dot4Unsigned` says so.
   */
  | {
      readonly op: "dot4";
      readonly a: LoopValue;
      readonly b: LoopValue;
      readonly c: LoopValue;
      readonly result: LoopValue;
    }
  /**
   * Lane i: a[2i] * b[2i] + a[2i + 1] * b[2i + 1]. An i16 of bytes, of which a's are signed and b's must lie in 0..127,
   * or an i32 of signed i16.
   */
  | { readonly op: "dot2"; readonly a: LoopValue; readonly b: LoopValue; readonly result: LoopValue }
  /** i8 lane i: the byte of `table` at a[i] modulo the table's length, a power of two from 16 to 256. */
  | {
      readonly op: "lookup";
      readonly a: LoopValue;
      readonly table: readonly number[];
      readonly result: LoopValue;
    }
  /** i16 lane i: lane b[i] of a, b[i] modulo the number of lanes, a power of two. */
  | { readonly op: "permute"; readonly a: LoopValue; readonly b: LoopValue; readonly result: LoopValue }
  /** i32 pairs to i16, or i16 pairs to i8, saturating, or f64 pairs to f32: lanes of a, then of b. */
  | { readonly op: "narrow"; readonly a: LoopValue; readonly b: LoopValue; readonly result: LoopValue }
  /** The low or high half of the lanes, twice as wide: i8 to i16, i16 to i32, f32 to f64. */
  | {
      readonly op: "widen";
      readonly a: LoopValue;
      readonly half: "low" | "high";
      readonly signed: boolean;
      readonly result: LoopValue;
    }
  /** Loads from address + offset; with `memory`, each lane is read from a narrower cell. */
  | {
      readonly op: "load";
      readonly address: LoopValue;
      readonly offset: number;
      readonly memory?: MemoryKind;
      readonly result: LoopValue;
    }
  /** Loads one scalar and repeats it in every lane. */
  | { readonly op: "load_splat"; readonly address: LoopValue; readonly offset: number; readonly result: LoopValue }
  | {
      readonly op: "store";
      readonly address: LoopValue;
      readonly offset: number;
      readonly memory?: MemoryKind;
      /** Past the caches, where a target can: for what nobody reads soon. The address is a multiple of the vector. */
      readonly nontemporal?: true;
      readonly value: LoopValue;
    }
  /**
   * Asks for the cache line of address + offset, into the first or the second cache; no effect otherwise, and the
   * address may lie outside the memory.
   */
  | { readonly op: "prefetch"; readonly address: LoopValue; readonly offset: number; readonly cache: 1 | 2 }
  | TileInst
  /**
   * For iv = low; iv < high; iv += step: `body` has arguments [iv, ...carried] and yields the next carried values;
   * `results` are the carried values after the last iteration (the inits when there was none).
   */
  | {
      readonly op: "for";
      readonly low: LoopValue;
      readonly high: LoopValue;
      readonly step: number;
      readonly inits: readonly LoopValue[];
      readonly body: Block;
      readonly results: readonly LoopValue[];
    }
  | {
      readonly op: "if";
      readonly condition: LoopValue;
      readonly then: Block;
      readonly else: Block;
      readonly results: readonly LoopValue[];
    };

/**
 * Matrix registers, of which a member of a team has `TILE.count` beside its values: 16 rows of 64 bytes each, numbered,
 * undefined when a kernel begins. Not every target has them: `VectorTarget.tiles` says so.
 * `tile_multiply` adds a product of bytes to i32 sums: with sums S[16][16], left A[16][64] and right B[16][64],
 *   S[i][j] += sum over k < 16, b < 4 of A[i][4k + b] B[k][4j + b],   A signed, B unsigned.
 */
export type TileInst =
  | { readonly op: "tile_zero"; readonly tile: number }
  /** Rows from address + offset on, `stride` bytes apart. */
  | {
      readonly op: "tile_load" | "tile_store";
      readonly tile: number;
      readonly address: LoopValue;
      readonly offset: number;
      readonly stride: number;
    }
  | { readonly op: "tile_multiply"; readonly sums: number; readonly left: number; readonly right: number };

/** Matrix registers: how many there are, and their size. */
export const TILE = { count: 8, rows: 16, rowBytes: 64 } as const;

/** A straight run of instructions; its arguments are visible inside, as are all values defined before it. */
export interface Block {
  readonly args: readonly LoopValue[];
  readonly insts: readonly LoopInst[];
  readonly yields: readonly LoopValue[];
}

/**
 * One kernel. The body's arguments are [chunk, scratch, ...buffers], all `index`: which chunk of the work to do, the
 * address of this team member's own scratch memory (64-byte aligned), and the base address of each buffer.
 */
export interface Kernel {
  readonly name: string;
  readonly bufferCount: number;
  readonly scratchBytes: number;
  readonly body: Block;
  /** Number of SSA values; ids run below it. */
  readonly valueCount: number;
}
