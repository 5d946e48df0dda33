// The ends of attention of few queries: sums of values and of exponentials become the output and the logarithms of the
// normalisers, of a cache that is one block at once, of a longer one from the parts of all blocks.

import type { KernelBuilder } from "../../loop/builder.ts";
import { F32 } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { exp2Of, logOf } from "../../loop/math.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import { headStrides, positionOf } from "./attention_blocks.ts";
import type { Cut } from "./attention_cut.ts";
import { foldKeys, seenBy, stateBytes, stateOf } from "./attention_cut.ts";
import { MASKED } from "./attention_mask.ts";
import { largerOf, pieceOffsets, rowPieces } from "./lanes.ts";

/** Where a sequence's results lie whose only block one key head is done with. */
interface Finish {
  readonly states: LoopValue;
  readonly sums: LoopValue;
  readonly lse: LoopValue;
  readonly keyHead: LoopValue;
}

/** Divides the sums by those of exponentials, and writes the logarithms of the normalisers. */
export function finishBlock(k: KernelBuilder, cut: Cut, { states, sums, lse, keyHead }: Finish): void {
  const { dims, type, keys } = cut;
  const { time, valueSize, groupSize } = dims;
  const strides = headStrides(dims);
  k.loop(0, time, 1, (t) => {
    for (let set = 0; set < cut.sets; set++) {
      const state = stateOf(k, cut, states, keyHead, t, k.index(set));
      const total = foldKeys(k, k.load(type, state, type.lanes * 4), keys, (a, b) => k.add(a, b));
      const normaliser = k.fma(k.load(type, state), k.constant(type, Math.LN2), logOf(k, total));
      const inverse = k.div(k.constant(type, 1), total);
      const height = set === cut.sets - 1 ? cut.lastHeight : cut.height;
      for (let i = 0; i < height; i++) {
        const head = k.add(k.mul(keyHead, k.index(groupSize)), k.index(set * cut.height + i));
        k.store(k.extract(normaliser, i * keys), k.offset(k.offset(lse, head, time * 4), t, 4));
        const row = k.offset(k.offset(sums, t, strides.output), head, valueSize * 4);
        for (const piece of rowPieces(valueSize, type.lanes, valueSize)) {
          const factor = k.splat(k.extract(inverse, i * keys), piece.type.lanes);
          for (const offset of pieceOffsets(piece)) {
            k.store(k.mul(k.load(piece.type, row, offset), factor), row, offset);
          }
        }
      }
    }
  });
}

/**
 * The results of all blocks of a row together: a chunk is a head of a sequence. A block counts by 2^(its largest score
 * - the largest of all).
 */
export function combineBlocks(context: LowerContext, cut: Cut, buffers: readonly BufferHandle[]): void {
  const { dims, type, keys } = cut;
  const { batch, time, heads, valueSize, keyHeads, groupSize } = dims;
  const work = 2 * batch * heads * time * cut.blocks * valueSize;
  context.call("attention_combine", batch * heads, work, buffers, (k, bases) => {
    const [positionAt, sums, states, o, lse] = bases as readonly LoopValue[];
    const [sequence, head] = [k.div(k.chunk, k.index(heads)), k.rem(k.chunk, k.index(heads))];
    const [keyHead, member] = [k.div(head, k.index(groupSize)), k.rem(head, k.index(groupSize))];
    const [set, i] = [k.div(member, k.index(cut.height)), k.rem(member, k.index(cut.height))];
    const position = positionOf(k, dims, positionAt!, sequence);
    const blockStates = keyHeads * time * cut.sets * stateBytes(cut);
    const blockSums = time * heads * valueSize * 4;
    const firstBlock = k.mul(sequence, k.index(cut.blocks));
    k.loop(0, time, 1, (t) => {
      const [firstSeen, visible] = seenBy(k, cut, position, t);
      const first = k.div(firstSeen, k.index(cut.block));
      const count = k.div(k.add(visible, k.index(cut.block - 1)), k.index(cut.block));
      const row = k.offset(k.mul(t, k.index(heads * valueSize * 4)), head, valueSize * 4);
      const largestAt = k.offset(k.offset(states!, firstBlock, blockStates), i, keys * 4);
      const state = stateOf(k, cut, largestAt, keyHead, t, set);
      const [largest] = k.for(first, count, 1, [k.constant(F32, MASKED)], (block, [before]) => [
        largerOf(k, before!, k.load(F32, k.offset(state, block, blockStates))),
      ]);
      // Every piece finds the sum of exponentials again, which is less than keeping the factors would be.
      const partial = k.add(k.offset(sums!, firstBlock, blockSums), row);
      const result = k.add(k.offset(o!, sequence, blockSums), row);
      for (const piece of rowPieces(valueSize, type.lanes, cut.accumulators)) {
        const offsets = pieceOffsets(piece);
        const zeros = offsets.map(() => k.constant(piece.type, 0));
        const [total, ...totals] = k.for(
          first,
          count,
          1,
          [k.constant(F32, 0), ...zeros],
          (block, [before, ...carried]) => {
            const at = k.offset(state, block, blockStates);
            const factor = exp2Of(k, k.sub(k.load(F32, at), largest!));
            const lanes = Array.from({ length: keys }, (_, j) => k.load(F32, at, type.lanes * 4 + j * 4));
            const sum = lanes.reduce((a, b) => k.add(a, b));
            const from = k.offset(partial, block, blockSums);
            const weight = k.splat(factor, piece.type.lanes);
            const next = carried.map((value, v) => k.fma(weight, k.load(piece.type, from, offsets[v]!), value));
            return [k.fma(factor, sum, before!), ...next];
          },
        );
        const inverse = k.splat(k.div(k.constant(F32, 1), total!), piece.type.lanes);
        totals.forEach((value, v) => k.store(k.mul(value, inverse), result, offsets[v]!));
        if (piece.offset === 0) {
          const to = k.offset(k.offset(lse!, k.add(k.mul(sequence, k.index(heads)), head), time * 4), t, 4);
          k.store(k.fma(largest!, k.constant(F32, Math.LN2), logOf(k, total!)), to);
        }
      }
    });
  });
}
