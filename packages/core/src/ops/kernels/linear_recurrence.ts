// linear_recurrence and its adjoint as loops: a chunk is one sequence and one block of channels; time runs inside, with
// the states of the block in registers. Every value is read once and written once, so the speed is that of memory.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import type { BufferHandle, LowerContext } from "../../op.ts";
import type { RowPiece } from "./lanes.ts";
import { pieceOffsets, rowPieces } from "./lanes.ts";

/** Vectors of a block of channels: two cache lines of 16-byte vectors, and half of 16 registers. */
const BLOCK_VECTORS = 8;

/** Addresses of a block: of its first step in each sequence, and of its first state. */
interface BlockAddresses {
  readonly f: LoopValue;
  readonly x: LoopValue;
  readonly y: LoopValue;
  readonly h0: LoopValue;
}

type BlockLoop = (k: KernelBuilder, piece: RowPiece, at: BlockAddresses, time: number, stepBytes: number) => void;

export function lowerLinearRecurrence(context: LowerContext): void {
  const buffers = [context.input(0), context.input(1), context.result(0), context.input(2)];
  lowerBlocks(context, "linear_recurrence", buffers, forward);
}

export function lowerLinearRecurrenceAdjoint(context: LowerContext): void {
  const buffers = [context.input(0), context.input(1), context.result(0)];
  lowerBlocks(context, "linear_recurrence_adjoint", buffers, backward);
}

function lowerBlocks(context: LowerContext, name: string, buffers: readonly BufferHandle[], loop: BlockLoop): void {
  const [batch, time, channels] = context.node.results[0]!.shape as [number, number, number];
  const width = BLOCK_VECTORS * context.lanes;
  const blocks = Math.ceil(channels / width);
  context.call(name, batch * blocks, 2 * batch * time * channels, buffers, (k, [f, x, y, h0]) => {
    const sequence = k.div(k.chunk, k.index(blocks));
    const block = k.rem(k.chunk, k.index(blocks));
    const within = k.mul(block, k.index(width * 4));
    const start = (base: LoopValue): LoopValue => k.add(k.offset(base, sequence, time * channels * 4), within);
    const at: BlockAddresses = {
      f: start(f!),
      x: start(x!),
      y: start(y!),
      h0: h0 === undefined ? k.index(0) : k.add(k.offset(h0, sequence, channels * 4), within),
    };
    const run = (columns: number): void => {
      const pieces = rowPieces(columns, context.lanes, BLOCK_VECTORS);
      for (const piece of pieces) loop(k, piece, at, time, channels * 4);
    };
    const rest = channels % width;
    if (rest === 0) run(width);
    else if (blocks === 1) run(rest);
    else
      whenLast(
        k,
        block,
        blocks,
        () => run(rest),
        () => run(width),
      );
  });
}

function whenLast(k: KernelBuilder, block: LoopValue, blocks: number, last: () => void, other: () => void): void {
  const nothing = (body: () => void) => () => {
    body();
    return [];
  };
  k.if(k.compare("eq", block, k.index(blocks - 1)), nothing(last), nothing(other));
}

/** h = f h + i, from the first step to the last. */
const forward: BlockLoop = (k, piece, at, time, stepBytes) => {
  const offsets = pieceOffsets(piece);
  const first = offsets.map((offset) => k.load(piece.type, at.h0, offset));
  k.for(0, time * stepBytes, stepBytes, first, (step, states) => {
    const [f, x, y] = [k.add(at.f, step), k.add(at.x, step), k.add(at.y, step)];
    return states.map((state, i) => {
      const next = k.fma(k.load(piece.type, f, offsets[i]!), state, k.load(piece.type, x, offsets[i]!));
      k.store(next, y, offsets[i]!);
      return next;
    });
  });
};

/** l = c + carried, carried = f l, from the last step to the first. */
const backward: BlockLoop = (k, piece, at, time, stepBytes) => {
  const offsets = pieceOffsets(piece);
  const zeros = offsets.map(() => k.constant(loopType("f32", piece.type.lanes), 0));
  const lastStep = k.index((time - 1) * stepBytes);
  k.for(0, time * stepBytes, stepBytes, zeros, (step, carried) => {
    const back = k.sub(lastStep, step);
    const [f, x, y] = [k.add(at.f, back), k.add(at.x, back), k.add(at.y, back)];
    return carried.map((after, i) => {
      const value = k.add(k.load(piece.type, x, offsets[i]!), after);
      k.store(value, y, offsets[i]!);
      return k.mul(k.load(piece.type, f, offsets[i]!), value);
    });
  });
};
