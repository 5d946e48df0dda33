// Packing of operands of a matrix product: a few rows or columns of a matrix, "elements" here, become one panel
// [depth][elements], in the order in which the product reads them. Where the elements are not contiguous, squares of
// the matrix are transposed in registers. Narrow operands become what the product computes with on the way. Left out:
// padding with zeros; what a panel holds beyond its elements is whatever was read last, and gives sums that nobody
// stores.

import type { KernelBuilder } from "../../loop/builder.ts";
import type { LoopType, LoopValue } from "../../loop/ir.ts";
import { loopType } from "../../loop/ir.ts";
import { laneWidths, transposeSquare } from "./lanes.ts";

/** Storage strides in bytes of an operand: from one element of a panel to the next, and along the inner dimension. */
export interface PanelStrides {
  readonly element: number;
  readonly depth: number;
  /** How its elements are stored, where that is not as they are in registers. */
  readonly cells?: PanelCells;
}

/** Cells that are not what their elements are in registers: bytes of each, and how to load a vector or a scalar. */
export interface PanelCells {
  readonly bytes: number;
  load(k: KernelBuilder, type: LoopType, address: LoopValue, offset: number): LoopValue;
}

export interface Panel {
  readonly from: LoopValue;
  readonly strides: PanelStrides;
  /** Elements there are, and elements that the panel has room for. */
  readonly count: number;
  readonly width: number;
  readonly depth: number;
  readonly to: LoopValue;
}

/** Bytes that packing may write behind a panel. */
export const PANEL_SLACK_BYTES = 64;

/** Packs one panel with vectors of up to `vector.lanes` lanes. Panels are packed in the order of their addresses. */
export function packPanel(k: KernelBuilder, panel: Panel, vector: LoopType): void {
  const bytes = vector.kind === "f64" ? 8 : 4;
  if (panel.strides.element === (panel.strides.cells?.bytes ?? bytes)) copyElements(k, panel, vector, bytes);
  else transposeElements(k, panel, vector, bytes);
}

/** Elements of an operand, as they are in registers. */
function load(
  k: KernelBuilder,
  { cells }: PanelStrides,
  type: LoopType,
  address: LoopValue,
  offset: number,
): LoopValue {
  return cells === undefined ? k.load(type, address, offset) : cells.load(k, type, address, offset);
}

function copyElements(k: KernelBuilder, panel: Panel, vector: LoopType, bytes: number): void {
  const { from, strides, count, width, depth, to } = panel;
  k.loop(0, depth, 1, (l) => {
    const source = k.offset(from, l, strides.depth);
    const target = k.offset(to, l, width * bytes);
    let done = 0;
    for (const lanes of laneWidths(vector.lanes)) {
      for (; count - done >= lanes; done += lanes) {
        const elements = load(k, strides, loopType(vector.kind, lanes), source, done * strides.element);
        k.store(elements, target, done * bytes);
      }
    }
  });
}

function transposeElements(k: KernelBuilder, panel: Panel, vector: LoopType, bytes: number): void {
  const { width, depth } = panel;
  let done = 0;
  for (const side of laneWidths(vector.lanes)) {
    // A square much larger than the panel is mostly waste.
    if (side > 4 && side >= 2 * width) continue;
    const end = depth - ((depth - done) % side);
    if (end > done) k.loop(done, end, side, (l) => transposeStep(k, panel, vector, l, side, bytes));
    done = end;
  }
}

/** Packs `side` steps of the inner dimension, square by square. */
function transposeStep(
  k: KernelBuilder,
  { from, strides, count, width, to }: Panel,
  vector: LoopType,
  l: LoopValue,
  side: number,
  bytes: number,
): void {
  const source = k.offset(from, l, strides.depth);
  const target = k.offset(to, l, width * bytes);
  const type = loopType(vector.kind, side);
  const square = (first: number): LoopValue[] => {
    const place = (i: number): number => Math.min(first + i, count - 1) * strides.element;
    const rows = Array.from({ length: side }, (_, i) => load(k, strides, type, source, place(i)));
    return side === 1 ? rows : transposeSquare(k, rows);
  };
  const store = (value: LoopValue, i: number, first: number): void =>
    k.store(value, target, (i * width + first) * bytes);
  const firsts = Array.from({ length: Math.ceil((side === 1 ? count : width) / side) }, (_, i) => i * side);
  if (width % side === 0) {
    for (const first of firsts) square(first).forEach((row, i) => store(row, i, first));
    return;
  }
  // The last square sticks out, into the next step, which is stored after it.
  const squares = firsts.map(square);
  for (let i = 0; i < side; i++) firsts.forEach((first, s) => store(squares[s]![i]!, i, first));
}
