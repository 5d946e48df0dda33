// Packed ternary weights of two bits times one row of activations, where a block takes four vectors: decoding in
// WebAssembly. Two things bound it there.
//
// A sum waits for each of its products, so there have to be many sums; but one that is in no register waits for memory
// as well. Codes come out of a word as they are, and four times as large. As many vectors as there are registers for
// have a sum of each; the others begin the second anew with every group, and add a fourth of it to the first.
//
// And memory that nothing asks for ahead comes sooner at two places (places.ts), where joined vectors leave registers
// for their sums.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { eachBlock, placesAtOnce, placesOf } from "./places.ts";
import type { Places } from "./places.ts";
import { BLOCK_ROWS, GROUP_BYTES, dotWords, finishRow } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";
import { productDecoding } from "./ternary_decoding.ts";
import { activationsOf, weightsPerChunk } from "./ternary_packed.ts";

/** Vectors whose products meet the same activations; those that an engine joins count as one. */
const VECTORS = 4;
/** What is in registers beside sums: activations of four planes, two masks, words, codes, and what an engine keeps. */
const OTHER_REGISTERS = 9;

interface RowSchedule {
  readonly places: Places;
  /** Vectors of a block that are taken apart side by side: those that are joined. */
  readonly joined: number;
  /** Vectors, from the first place's first on, that keep one sum. */
  readonly singles: number;
}

/** Whether there is one row of activations, and decoding it is this file's. */
export function fitsRow({ context, x, w, quads }: TernaryShapes): boolean {
  return x.rows === 1 && w.planes === 4 && context.dot4 && quads === VECTORS;
}

function scheduleOf({ context, w, quads }: TernaryShapes): RowSchedule {
  const joined = context.joinsVectors ? 2 : 1;
  const places = placesOf(w.blocks, placesAtOnce(context), weightsPerChunk(w) / (BLOCK_ROWS * w.columns));
  const vectors = (places.count * quads) / joined;
  const singles = Math.min(vectors, Math.max(0, 2 * vectors - (context.registers - OTHER_REGISTERS)));
  return { places, joined, singles: singles * joined };
}

export function lowerRow(shapes: TernaryShapes): void {
  const { context, w } = shapes;
  const schedule = scheduleOf(shapes);
  const { places } = schedule;
  const buffers = [context.input(0), context.input(1), context.result(0)];
  context.call("ternary_linear_row", places.chunks, w.rows * w.columns, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    eachBlock(k, places, k.chunk, (block, count) => multiplyBlocks(k, shapes, operands, schedule, block, count));
  });
}

/** Writes the results of a block of each of `count` places. */
function multiplyBlocks(
  k: KernelBuilder,
  shapes: TernaryShapes,
  operands: TernaryOperands,
  schedule: RowSchedule,
  block: LoopValue,
  count: number,
): void {
  const { quads, w } = shapes;
  const sums = blockSums(k, shapes, schedule, operands.x, k.offset(operands.w, block, w.blockBytes), count * quads);
  for (let place = 0; place < count; place++) {
    const ofPlace = sums.slice(place * quads, (place + 1) * quads);
    finishRow(k, shapes, operands, k.index(0), k.add(block, k.index(place * schedule.places.length)), ofPlace);
  }
}

/** The `count` sums of activations times the codes of a block of each place: [place][quad]. */
function blockSums(
  k: KernelBuilder,
  shapes: TernaryShapes,
  { places, joined, singles }: RowSchedule,
  x: LoopValue,
  block: LoopValue,
  count: number,
): LoopValue[] {
  const { lanes, quads, w } = shapes;
  const { terms, shift, vectors } = productDecoding(shapes);
  const words = loopType("i32", lanes);
  const zero = k.constant(words, 0);
  const whole = (larger: LoopValue): LoopValue => k.shift("shr_s", larger, shift);
  // Sums of codes as they are, then those of larger ones, of vectors that keep both.
  const zeros = Array.from({ length: 2 * count - singles }, () => zero);
  const totals = k.for(0, w.groups, 1, zeros, (group, carried) => {
    const sums = [...carried];
    const codes = k.offset(x, group, w.groupColumns);
    const at = k.offset(block, group, GROUP_BYTES);
    const activations = activationsOf(k, shapes, codes);
    for (let first = 0; first < count; first += joined) {
      const step = Array.from({ length: joined }, (_, i) => first + i);
      const decoded = step.map((vector) => {
        const from = Math.floor(vector / quads) * places.length * w.blockBytes + (vector % quads) * lanes * 4;
        return vectors(k, k.load(words, at, from))[Symbol.iterator]();
      });
      const larger = step.map((vector) => (vector < singles ? zero : sums[count + vector - singles]!));
      for (const { plane, weight } of terms) {
        const of = decoded.map((one) => one.next().value!);
        for (const [i, vector] of step.entries()) {
          if (weight === 1) larger[i] = dotWords(k, activations(0, plane), of[i]!, larger[i]!);
          else sums[vector] = dotWords(k, activations(0, plane), of[i]!, sums[vector]!);
        }
      }
      for (const [i, vector] of step.entries()) {
        if (vector < singles) sums[vector] = k.add(sums[vector]!, whole(larger[i]!));
        else sums[count + vector - singles] = larger[i]!;
      }
    }
    return sums;
  });
  return Array.from({ length: count }, (_, vector) =>
    vector < singles ? totals[vector]! : k.add(totals[vector]!, whole(totals[count + vector - singles]!)),
  );
}
