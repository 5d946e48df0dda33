// Ternary weights times many rows of activations, with vectors. A block or two of weights are unpacked once to bytes,
// which stay in the second-level cache while all rows of the chunk run over them, a register block of rows at a time.

import type { KernelBuilder } from "../../loop/builder.ts";
import { loopType } from "../../loop/ir.ts";
import type { LoopValue } from "../../loop/ir.ts";
import { BLOCK_ROWS, GROUP_BYTES, dotWords, finishRow, halfMost, sumGroups } from "./ternary_codes.ts";
import type { TernaryOperands, TernaryShapes } from "./ternary_codes.ts";
import { codePlanes } from "./ternary_decoding.ts";

/** Rows of activations of a chunk, over which unpacking a block is spread: a multiple of every register block. */
export const CHUNK_ROWS = 256;

/** Codes of some blocks as bytes: [group][plane][block][row of the block][column of the plane]. */
export interface Panel {
  readonly base: LoopValue;
  readonly blocks: number;
  /** Bytes from one plane to the next. */
  readonly lineBytes: number;
}

/** Rows of activations and blocks of weights whose sums are in registers at a time. */
function registerBlockOf({ context, w, lanes }: TernaryShapes): { readonly rows: number; readonly blocks: number } {
  const { registers, joinsVectors, cacheBytes } = context;
  const panelBytes = w.groups * w.planes * GROUP_BYTES;
  if (lanes === BLOCK_ROWS) return { rows: 8, blocks: w.blocks > 1 && 4 * panelBytes <= cacheBytes.l2 ? 2 : 1 };
  if (registers >= 32 || joinsVectors || lanes === 8) return { rows: 4, blocks: 1 };
  return { rows: 2, blocks: 1 };
}

export function lowerPanels(shapes: TernaryShapes): void {
  const { context, x, w, quads } = shapes;
  const step = registerBlockOf(shapes);
  const rowChunks = Math.ceil(x.rows / CHUNK_ROWS);
  const blockChunks = Math.ceil(w.blocks / step.blocks);
  const buffers = [context.input(0), context.input(1), context.result(0)];
  const work = x.rows * w.rows * w.columns;
  context.call("ternary_linear", rowChunks * blockChunks, work, buffers, (k, [xBase, wBase, yBase]) => {
    const operands: TernaryOperands = { x: xBase!, w: wBase!, y: yBase! };
    // The last chunk begins at a block of the one before where they are not a multiple, and writes the same again.
    const block = k.min(
      k.mul(k.rem(k.chunk, k.index(blockChunks)), k.index(step.blocks)),
      k.index(w.blocks - step.blocks),
    );
    const first = k.mul(k.div(k.chunk, k.index(blockChunks)), k.index(CHUNK_ROWS));
    const count = k.min(k.index(CHUNK_ROWS), k.sub(k.index(x.rows), first));
    const panel = unpackBlocks(k, shapes, operands, block, step.blocks, w.groups * w.planes);
    const rows = (row: LoopValue, height: number): void => {
      const sums = panelSums(k, shapes, k.offset(operands.x, row, x.rowBytes), panel, height);
      for (let i = 0; i < height; i++) {
        for (let b = 0; b < step.blocks; b++) {
          const at = (i * step.blocks + b) * quads;
          finishRow(k, shapes, operands, k.add(row, k.index(i)), k.add(block, k.index(b)), sums.slice(at, at + quads));
        }
      }
    };
    const rest = x.rows % step.rows;
    const end = k.add(first, count);
    const whole = k.sub(end, k.rem(count, k.index(step.rows)));
    k.loop(first, whole, step.rows, (row) => rows(row, step.rows));
    if (rest > 0) k.loop(whole, end, rest, (row) => rows(row, rest));
  });
}

/** Unpacks blocks to scratch that has room for `lines` planes. */
export function unpackBlocks(
  k: KernelBuilder,
  shapes: TernaryShapes,
  operands: TernaryOperands,
  block: LoopValue,
  blocks: number,
  lines: number,
): Panel {
  const { quads, lanes, w } = shapes;
  const lineBytes = blocks * GROUP_BYTES;
  const base = k.allocateScratch(lines * lineBytes);
  for (let b = 0; b < blocks; b++) {
    const from = k.offset(operands.w, k.add(block, k.index(b)), w.blockBytes);
    k.loop(0, w.groups, 1, (group) => {
      const at = k.offset(from, group, GROUP_BYTES);
      const to = k.offset(base, group, w.planes * lineBytes);
      for (let quad = 0; quad < quads; quad++) {
        const planes = codePlanes(k, shapes, k.load(loopType("i32", lanes), at, quad * lanes * 4));
        planes.forEach((codes, plane) => k.store(codes, to, plane * lineBytes + b * GROUP_BYTES + quad * lanes * 4));
      }
    });
  }
  return { base, blocks, lineBytes };
}

/** The sums of activations times codes for `height` rows of activations: [row][block][quad]. */
function panelSums(
  k: KernelBuilder,
  shapes: TernaryShapes,
  codes: LoopValue,
  panel: Panel,
  height: number,
): readonly LoopValue[] {
  const { quads, lanes, x, w } = shapes;
  const words = loopType("i32", lanes);
  const vectors = panel.blocks * quads;
  const sums = { count: height * vectors, most: halfMost(2) * w.planes, turns: 1 };
  return sumGroups(k, shapes, sums, (group, carried) => {
    const out = [...carried];
    const activations = k.offset(codes, group, w.groupColumns);
    const from = k.offset(panel.base, group, w.planes * panel.lineBytes);
    for (let plane = 0; plane < w.planes; plane++) {
      const weights = Array.from({ length: vectors }, (_, v) =>
        k.load(words, from, plane * panel.lineBytes + v * lanes * 4),
      );
      for (let row = 0; row < height; row++) {
        const four = k.loadSplat(words, activations, row * x.rowBytes + plane * 4);
        weights.forEach((weight, v) => {
          const sum = row * vectors + v;
          out[sum] = dotWords(k, four, weight, out[sum]!);
        });
      }
    }
    return out;
  });
}
