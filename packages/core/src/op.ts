// What an op is: one value that holds its shape rule, its reference in float64, its derivative, its lowering, and the
// cases that every suite runs. Each op is one file in ops/, and one line in the table ops/index.ts.

import { FidelityError } from "@fidelity/units";
import type { Cotangents } from "./derive/transpose.ts";
import type { Attrs, Node, Tensor, TensorType } from "./graph.ts";
import { formatType } from "./graph.ts";
import type { HostTensor } from "./host.ts";
import type { KernelBuilder } from "./loop/builder.ts";
import type { LoopValue, WideFloat } from "./loop/ir.ts";

/** A tensor or nothing: the derivative of what does not depend on the inputs is known to be zero, and never built. */
export type MaybeTensor = Tensor | undefined;

/** How an op is differentiated. Reverse mode is the transposition of the linear part that `jvp` builds. */
export type Derivative<A extends Attrs> =
  /** Piecewise constant, or not a number at all. */
  | { readonly kind: "zero" }
  /** There is one, and no rule for it: differentiating through the op is refused by name. */
  | { readonly kind: "none"; readonly hint: string }
  /** As what `lowering.expand` (or `expand` here) rewrites it to. */
  | { readonly kind: "expand"; readonly expand?: (inputs: readonly Tensor[], attrs: A) => readonly Tensor[] }
  | {
      readonly kind: "rules";
      /** The rules are not those of the function but of a smooth stand-in (straight-through estimators). */
      readonly surrogate?: true;
      /** What to do instead, for the error of reverse mode through an op whose derivative has no `transpose`. */
      readonly reverseHint?: string;
      /** Tangents of the results from tangents of the inputs; at least one of them is given. */
      jvp(node: Node, tangents: readonly MaybeTensor[], attrs: A): readonly MaybeTensor[];
      /**
       * For an op that is linear in the inputs marked in `linear`: their cotangents, from those of the results. At
       * least one of `cotangents` is given. What is not linear in any input has no such rule.
       */
      transpose?(
        node: Node,
        cotangents: readonly MaybeTensor[],
        linear: readonly boolean[],
        attrs: A,
      ): readonly MaybeTensor[];
      /** The same for an op that holds a graph, through which cotangents go in whatever way they are held. */
      transposeBody?<C>(
        held: Cotangents<C>,
        node: Node,
        cotangents: readonly (C | undefined)[],
        attrs: A,
      ): readonly (C | undefined)[];
    };

/** Where an elementwise op finds itself: element (row, column) of its result seen as [rows, last axis]. */
export interface ElementContext<A extends Attrs> {
  readonly k: KernelBuilder;
  readonly attrs: A;
  readonly result: TensorType;
  /** Lanes of the values handed in and expected back; 1 in tails and for values that are one a row. */
  readonly lanes: number;
  /** Index along the last axis, an i32 vector of `lanes`. */
  columnIndex(): LoopValue;
}

/** A buffer of the program under construction. */
export type BufferHandle = number & { readonly _buffer: unique symbol };

/** What kernel generators may know of a target. */
export interface VectorTarget {
  /** float32 lanes of the target's vectors: a power of two from 4 on. */
  readonly lanes: number;
  /** Whether the engine makes one operation of two on neighbouring vectors, so that twice as many fit in registers. */
  readonly joinsVectors: boolean;
  /** Vector registers; 16 unless said. */
  readonly registers?: number;
  /** Entries of the largest table of bytes that one instruction looks up (`lookup` in loop/ir.ts); 16 unless said. */
  readonly lookupEntries?: number;
  /** Whether `permute` of a vector of i16 is one instruction, of which as many start as of `dot4`; not unless said. */
  readonly permutes?: boolean;
  /**
   * Whether additions of i16 that saturate run beside `permute`, and others get in its way; elsewhere the others run
   * beside a few permutations in a row. Not unless said.
   */
  readonly saturatesBesidePermutes?: boolean;
  /** Whether `dot4` is one instruction, or takes no longer than `dot2` and an addition; unless said, it is. */
  readonly dot4?: boolean;
  /** Whether there are matrix registers (`TileInst` in loop/ir.ts); not unless said. */
  readonly tiles?: boolean;
  /** Whether memory cells of f16 are converted by instructions, and not by integer arithmetic; not unless said. */
  readonly halves?: boolean;
  /** Whether vectors have an instruction for `scale` (loop/ir.ts); not unless said. */
  readonly scales?: boolean;
  /** Whether the second operand of `dot4` may be any unsigned bytes, and not only 0..127; not unless said. */
  readonly dot4Unsigned?: boolean;
  /** The cache that what lies in memory is asked into well ahead of its use; the first one unless said. */
  readonly prefetchCache?: 1 | 2;
  /** Floats wider than float64 that there are in registers; none unless said. */
  readonly wideFloats?: readonly WideFloat[];
  /** Caches of one core; those of `DEFAULT_CACHE_BYTES` unless said. */
  readonly cacheBytes?: CacheBytes;
  /**
   * Elements that a chunk of simple work covers about, a multiple of four vectors; `DEFAULT_CHUNK_ELEMENTS` unless
   * said. Few where there is a thread for every chunk.
   */
  readonly chunkElements?: number;
}

/** Sizes of the data caches nearest to one core. */
export interface CacheBytes {
  readonly l1: number;
  readonly l2: number;
}

/** What nearly every processor of the last ten years has at least. */
export const DEFAULT_CACHE_BYTES: CacheBytes = { l1: 32 * 1024, l2: 512 * 1024 };

/** What is as large as this is written past the caches: nothing of it would be there for its reader. */
export const PAST_CACHES_BYTES = 64 * 2 ** 20;

/** The vector registers of x86-64 before AVX-512, and of WebAssembly engines on it. */
export const DEFAULT_REGISTERS = 16;

/** The table of i8x16.swizzle, pshufb and tbl. */
export const DEFAULT_LOOKUP_ENTRIES = 16;

/** Claiming a chunk costs little beside that many elements, which stay in a usual first-level cache. */
export const DEFAULT_CHUNK_ELEMENTS = 8192;

/** A target with what nobody said filled in. */
export function completeTarget(target: VectorTarget): Required<VectorTarget> {
  return {
    registers: DEFAULT_REGISTERS,
    lookupEntries: DEFAULT_LOOKUP_ENTRIES,
    permutes: false,
    saturatesBesidePermutes: false,
    dot4: true,
    tiles: false,
    halves: false,
    scales: false,
    dot4Unsigned: false,
    prefetchCache: 1,
    wideFloats: [],
    cacheBytes: DEFAULT_CACHE_BYTES,
    chunkElements: DEFAULT_CHUNK_ELEMENTS,
    ...target,
  };
}

/** How kernels are cut into blocks, chunks and loops: numbers and flags, whose names the op's file explains. */
export type Schedule = Readonly<Record<string, number | boolean>>;

/** What a kernel lowering may use. Calls run in the order in which they are added. */
export interface LowerContext extends Required<VectorTarget> {
  readonly node: Node;
  input(index: number): BufferHandle;
  result(index: number): BufferHandle;
  /** Memory that lives only during this lowering's calls. */
  temporary(sizeBytes: number): BufferHandle;
  /**
   * Memory that one input alone decides, such as its panels, filled by a call that reads the input and writes the
   * memory: made once for neighbouring nodes that prepare the same input alike.
   */
  prepare(
    name: string,
    input: number,
    sizeBytes: number,
    chunks: number,
    work: number,
    generate: (k: KernelBuilder, buffers: readonly LoopValue[]) => void,
  ): BufferHandle;
  /** Whether the result that `inPlaceResult` names lies in the memory of the input that `inPlace` names. */
  readonly inPlace: boolean;
  /**
   * The schedule to lower this node by, of those that are worth a try for its types on this target: one that was
   * measured to be the fastest on this machine, or the first where none was. All of them give the same bits: a schedule
   * says in which order memory is passed, and not in which order numbers are added. Asked for once in a lowering.
   */
  choose<S extends Schedule>(candidates: readonly S[]): S;
  /**
   * Adds `chunks` independent runs of one kernel over these buffers. Kernels that come out the same are compiled once.
   * `work` is an estimate of operations in all chunks together; small calls are not shared among threads.
   */
  call(
    name: string,
    chunks: number,
    work: number,
    buffers: readonly BufferHandle[],
    generate: (k: KernelBuilder, buffers: readonly LoopValue[]) => void,
  ): void;
}

/** A row that a `rowTail` works on. */
export interface TailRow {
  readonly type: TensorType;
  /** The result's memory, and the row's number in it. */
  readonly result: LoopValue;
  readonly index: LoopValue;
  /** Where the row's float32 elements are. */
  readonly values: LoopValue;
  readonly lanes: number;
}

/** How an op becomes loops. */
export type Lowering<A extends Attrs> =
  /** One value from the values of the inputs at the same place; joined with its neighbours into one loop. */
  | { readonly kind: "elementwise"; value(context: ElementContext<A>, operands: readonly LoopValue[]): LoopValue }
  /** Combines elements along `attrs.axes`; the last axis joins elementwise neighbours, others have their own loop. */
  | { readonly kind: "reduce"; readonly combine: "sum" | "max" }
  /** Repeats along axes of size 1; joins elementwise neighbours as an access pattern. */
  | { readonly kind: "broadcast" }
  /** Rewritten to other ops before lowering. */
  | { readonly kind: "expand"; expand(inputs: readonly Tensor[], attrs: A): readonly Tensor[] }
  /** The same bytes under another type. */
  | { readonly kind: "alias" }
  /** Loops of its own. */
  | {
      readonly kind: "kernel";
      /** The input whose memory a result may take over when nobody else needs it. */
      readonly inPlace?: number;
      /** Which result that is; the first unless said. */
      readonly inPlaceResult?: number;
      lower(context: LowerContext, attrs: A): void;
      /**
       * For an op that works on rows of its only input: the work on one row whose float32 elements have just been
       * computed, so that it can end the loop that computes them. What it gives is the same as that of `lower`.
       */
      rowTail?(k: KernelBuilder, row: TailRow): void;
    }
  /** A value with no computation: parameters and constants. */
  | { readonly kind: "source" }
  /** A loop over a body graph; the compiler knows how to schedule it. */
  | { readonly kind: "loop" };

/** One instance of an op to test: input types, attributes, and the range that inputs are drawn from. */
export interface OpCase {
  readonly inputs: readonly TensorType[];
  readonly attrs: Attrs;
  /** Bounds of each input's values; [-2, 2] where absent. Integer dtypes draw integers. */
  readonly ranges?: readonly (readonly [low: number, high: number] | undefined)[];
  /** Makes random inputs into ones that the op is meant for, such as positive definite matrices. */
  readonly prepare?: (inputs: readonly HostTensor[]) => readonly HostTensor[];
}

/** Draws integers for random cases: `int(1, 5)` is in 1..5. */
export interface CaseDraw {
  int(low: number, high: number): number;
  pick<T>(options: readonly T[]): T;
}

export interface OpDef<A extends Attrs = Attrs> {
  readonly name: string;
  /** One line with the equation, for the documentation's table. */
  readonly summary: string;
  /** The shape rule: result types, or a `ShapeMismatchError`. */
  infer(inputs: readonly TensorType[], attrs: A): readonly TensorType[];
  /** The reference: plain loops in float64. */
  evaluate(inputs: readonly HostTensor[], attrs: A, results: readonly TensorType[]): readonly HostTensor[];
  readonly derivative: Derivative<A>;
  readonly lowering: Lowering<A>;
  /** A cheaper equal form known at construction, such as x + 0. */
  simplify?(inputs: readonly Tensor[], attrs: A): readonly Tensor[] | undefined;
  /** A random instance with small dims, for the suites that run over the registry. */
  sample(draw: CaseDraw): OpCase;
  /** Largest error of a compiled float32 result, relative to the largest magnitude in the result. Default 1e-5. */
  readonly tolerance?: number;
  /**
   * What tells an op that is not in the registry from all others, in any process: programs with it are kept by that.
   * Its attributes are left out of it.
   */
  identity?(): string;
}

/** Shapes or dtypes that an op cannot take. */
export class ShapeMismatchError extends FidelityError {
  readonly op: string;
  readonly inputs: readonly TensorType[];

  constructor(op: string, problem: string, inputs: readonly TensorType[], hint?: string) {
    super(`${op}: ${problem}`, { got: inputs.map(formatType).join(", "), ...(hint !== undefined && { hint }) });
    this.op = op;
    this.inputs = inputs;
  }
}

/** An index, found at run time, that lies outside what it indexes. */
export class IndexRangeError extends FidelityError {
  readonly op: string;

  constructor(op: string, problem: string) {
    super(`${op}: ${problem}`, { hint: "compiled programs clamp such an index instead of failing" });
    this.op = op;
  }
}

/** A precise `ShapeMismatchError` unless `condition` holds. */
export function requireShape(
  condition: boolean,
  op: string,
  problem: string,
  inputs: readonly TensorType[],
  hint?: string,
): asserts condition {
  if (!condition) throw new ShapeMismatchError(op, problem, inputs, hint);
}
