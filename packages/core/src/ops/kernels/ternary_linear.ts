// ternary_linear as loops over the layouts of storage.ts. With t = code - 1 and codes 0, 1, 2:
//   sum q t = sum q code - sum q,   and quantize_activations has stored sum q.
//
// Few rows of activations (decoding) use codes as they come, straight from memory: ternary_packed.ts. Many rows share
// blocks of codes that are unpacked to bytes in scratch: ternary_panel.ts with vectors, ternary_tiles.ts with matrix
// registers; where vectors are permuted quickly, sums of three are looked up: ternary_triples.ts. Sums are exact in
// int32, so that all ways give the same bits.

import type { LowerContext } from "../../op.ts";
import { isTernary } from "../../dtype.ts";
import { q8Layout, ternaryLayout } from "../../storage.ts";
import { invariant } from "@fidelity/units";
import { BLOCK_ROWS } from "./ternary_codes.ts";
import type { TernaryShapes } from "./ternary_codes.ts";
import { fitsPacked, lowerPacked } from "./ternary_packed.ts";
import { lowerPanels } from "./ternary_panel.ts";
import { fitsRow, lowerRow } from "./ternary_row.ts";
import { lowerTiles } from "./ternary_tiles.ts";
import { fitsTriples, lowerTriples } from "./ternary_triples.ts";

export function lowerTernaryLinear(context: LowerContext): void {
  const [x, w] = context.node.inputs;
  invariant(isTernary(w!.dtype), "weights are ternary");
  const lanes = Math.min(context.lanes, BLOCK_ROWS);
  const layouts = { x: q8Layout(x!.shape), w: ternaryLayout(w!.shape, w!.dtype) };
  const shapes: TernaryShapes = { context, ...layouts, lanes, quads: BLOCK_ROWS / lanes };
  if (fitsRow(shapes)) lowerRow(shapes);
  else if (fitsPacked(shapes)) lowerPacked(shapes);
  else if (context.tiles) lowerTiles(shapes);
  else if (fitsTriples(shapes)) lowerTriples(shapes);
  else lowerPanels(shapes);
}
