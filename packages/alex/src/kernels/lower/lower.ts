// A kernel as calls of loop IR kernels: arrays that keep what they held are copied to where they are written, memory of
// the kernel's own is cleared, and each stage becomes one call whose chunks are independent.

import { elementCount, F32, loopType } from "@fidelity/core";
import type { BufferHandle, KernelBuilder, LoopValue, LowerContext } from "@fidelity/core";
import { resolveAlias } from "../../passes/fuse.ts";
import type { KernelAnalysis } from "../analysis/analyse.ts";
import { accessesOf } from "../analysis/dependence.ts";
import type { Loop } from "../analysis/dependence.ts";
import type { Stage } from "../analysis/stages.ts";
import type { Span } from "../diagnostics.ts";
import type { KernelArray, KernelStmt } from "../ir/kernel_ir.ts";
import { visitExprs } from "../ir/kernel_ir.ts";
import { ELEMENT_BYTES } from "./memory.ts";
import { StatementLowering } from "./statements.ts";
import type { Part } from "./statements.ts";

/**
 * Where the values of each loop IR kernel came from: the span by the value's id. Stores are found by what they store.
 */
export type Positions = Map<string, Map<number, Span>>;

/** Which tensor of the op an array is. */
export interface Binding {
  readonly input?: number;
  readonly result?: number;
}

/** Operations of a chunk: long enough to be worth claiming, short enough to be shared out. */
const CHUNK_WORK = 65_536;
/** Rows of a chunk are a multiple of this, so that vectors and blocks of ternary rows are never cut. */
const ROW_MULTIPLE = 64;

/** Adds the calls of a kernel to a program under construction. */
export function lowerKernel(
  analysis: KernelAnalysis,
  bindings: ReadonlyMap<KernelArray, Binding>,
  context: LowerContext,
  positions: Positions,
): void {
  const handles = new Map<KernelArray, BufferHandle>();
  for (const array of analysis.ir.arrays) {
    const { input, result } = bindings.get(array) ?? {};
    if (result !== undefined) handles.set(array, context.result(result));
    else if (input !== undefined) handles.set(array, readableInput(context, input, array));
    else handles.set(array, context.temporary(bytesOf(array)));
    const isKept = input !== undefined && result !== undefined;
    const inPlace = context.inPlace && result === 0;
    if (isKept && !inPlace) copyCall(context, context.input(input), handles.get(array)!, array);
    const isOwn = input === undefined && result === undefined;
    if (isOwn && analysis.accesses.get(array) !== "out") fillCall(context, handles.get(array)!, array);
  }
  analysis.stages.forEach((stage, number) => {
    stageCall(analysis, stage, `${analysis.ir.name}_${number}`, handles, context, positions);
  });
}

/** An input that is only read. When the result takes over the memory of the same tensor, it is kept in a copy. */
function readableInput(context: LowerContext, input: number, array: KernelArray): BufferHandle {
  const { inputs, op } = context.node;
  const overwritten = op.lowering.kind === "kernel" && context.inPlace ? op.lowering.inPlace : undefined;
  const handle = context.input(input);
  const isOverwritten =
    overwritten !== undefined && resolveAlias(inputs[overwritten]!) === resolveAlias(inputs[input]!);
  if (!isOverwritten) return handle;
  const copy = context.temporary(bytesOf(array));
  copyCall(context, handle, copy, array);
  return copy;
}

function bytesOf(array: KernelArray): number {
  return array.element === "ternary" ? 0 : elementCount(array.shape) * ELEMENT_BYTES[array.element];
}

function stageCall(
  analysis: KernelAnalysis,
  stage: Stage,
  name: string,
  handles: ReadonlyMap<KernelArray, BufferHandle>,
  context: LowerContext,
  positions: Positions,
): void {
  const arrays = arraysOf(stage.stmts);
  const { sharing, work } = stage;
  const count = sharing.kind === "parallel" ? sharing.count : 1;
  const rows = sharing.kind === "parallel" ? rowsOfChunk(count, work) : 1;
  const chunks = sharing.kind === "parallel" ? Math.max(1, Math.ceil(count / rows)) : 1;
  const buffers = arrays.map((array) => handles.get(array)!);
  context.call(name, chunks, Math.ceil(work), buffers, (k, values) => {
    const spans = new Map<number, Span>();
    positions.set(name, spans);
    const parts = new Map<Loop, Part>();
    if (sharing.kind === "parallel" && chunks > 1) {
      const part = partOf(k, count, rows);
      for (const loop of sharing.loops) parts.set(loop, part);
    }
    const lowering = new StatementLowering({
      k,
      definitions: analysis.definitions,
      guards: analysis.bounds.guards,
      ranges: analysis.bounds.ranges,
      bases: new Map(arrays.map((array, i) => [array, values[i]!])),
      lanes: context.lanes,
      plans: analysis.vectors,
      parts,
      note: (value, span) => void spans.set(value.id, span),
    });
    lowering.block(stage.stmts);
  });
}

/** Iterations of a chunk. */
function rowsOfChunk(count: number, work: number): number {
  const rows = Math.max(1, Math.floor((CHUNK_WORK * count) / Math.max(work, 1)));
  return rows >= count ? Math.max(count, 1) : Math.ceil(rows / ROW_MULTIPLE) * ROW_MULTIPLE;
}

/** The iterations of the chunk at hand. */
function partOf(k: KernelBuilder, count: number, rows: number): Part {
  const low = k.mul(k.chunk, k.index(rows));
  const high = k.min(k.add(low, k.index(rows)), k.index(count));
  // Every part is `rows` long but the last, which is what is left.
  const last = count % rows;
  return { low, high, multiple: last === 0 ? rows : greatestCommonDivisor(rows, last) };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** The arrays of a stage, in a fixed order. */
function arraysOf(stmts: readonly KernelStmt[]): KernelArray[] {
  const arrays = new Set<KernelArray>(accessesOf(stmts).keys());
  visitExprs(stmts, (expr) => {
    if (expr.kind === "scale") arrays.add(expr.array);
  });
  return [...arrays].sort((a, b) => a.id - b.id);
}

const COPY_CHUNK_WORDS = 2 ** 16;

/** Runs `each` over the 32-bit words of an array, `lanes` at a time where they go. */
function wordsCall(
  context: LowerContext,
  name: string,
  array: KernelArray,
  buffers: readonly BufferHandle[],
  each: (k: KernelBuilder, bases: readonly LoopValue[], word: LoopValue, lanes: number) => void,
): void {
  const words = bytesOf(array) / 4;
  const chunks = Math.max(1, Math.ceil(words / COPY_CHUNK_WORDS));
  context.call(name, chunks, words / 4, buffers, (k, bases) => {
    const low = k.mul(k.chunk, k.index(COPY_CHUNK_WORDS));
    const high = k.min(k.add(low, k.index(COPY_CHUNK_WORDS)), k.index(words));
    const whole = k.sub(high, k.rem(high, k.index(context.lanes)));
    k.loop(low, whole, context.lanes, (word) => each(k, bases, word, context.lanes));
    if (words % context.lanes > 0) k.loop(whole, high, 1, (word) => each(k, bases, word, 1));
  });
}

function copyCall(context: LowerContext, from: BufferHandle, to: BufferHandle, array: KernelArray): void {
  wordsCall(context, "kernel_copy", array, [from, to], (k, [source, target], word, lanes) => {
    const type = loopType("i32", lanes);
    k.store(k.load(type, k.offset(source!, word, 4)), k.offset(target!, word, 4));
  });
}

function fillCall(context: LowerContext, to: BufferHandle, array: KernelArray): void {
  wordsCall(context, "kernel_zeros", array, [to], (k, [target], word, lanes) => {
    k.store(k.constant(lanes === 1 ? F32 : loopType("f32", lanes), 0), k.offset(target!, word, 4));
  });
}
