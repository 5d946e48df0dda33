// A layered drawing of a small graph, after Sugiyama, Tagawa and Toda ("Methods for visual understanding of
// hierarchical system structures", 1981): nodes get layers by their longest path from the top, then places in their
// layer by the mean place of their neighbours, swept a few times down and up. Left out: dummy nodes for long edges,
// which curve round.

export interface LayeredNode {
  readonly id: number;
  readonly width: number;
  /** Nodes of the same graph that it reads. */
  readonly reads: readonly number[];
}

export interface PlacedNode {
  readonly id: number;
  /** The middle of the top edge. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
}

export interface LayeredGraph {
  readonly nodes: ReadonlyMap<number, PlacedNode>;
  readonly width: number;
  readonly height: number;
}

export interface LayeredOptions {
  readonly nodeHeight: number;
  readonly columnGap: number;
  readonly rowGap: number;
  /** Layers that are wider are broken into rows. */
  readonly widthMax: number;
}

const SWEEPS = 4;

/** Places nodes, whose order must respect who reads whom. */
export function layOut(nodes: readonly LayeredNode[], options: LayeredOptions): LayeredGraph {
  const layerOf = new Map<number, number>();
  for (const { id, reads } of nodes) {
    layerOf.set(id, Math.max(-1, ...reads.map((read) => layerOf.get(read) ?? -1)) + 1);
  }
  sinkSources(nodes, layerOf);
  const layers: LayeredNode[][] = [];
  for (const node of nodes) (layers[layerOf.get(node.id)!] ??= []).push(node);
  order(layers, nodes);
  const { nodeHeight, columnGap, rowGap, widthMax } = options;
  const rows = layers.flatMap((layer) => breakRows(layer, columnGap, widthMax));
  const widths = rows.map((layer) => {
    return layer.reduce((sum, { width }) => sum + width, 0) + columnGap * (layer.length - 1);
  });
  const width = Math.max(0, ...widths);
  const placed = new Map<number, PlacedNode>();
  rows.forEach((layer, i) => {
    let x = (width - widths[i]!) / 2;
    for (const node of layer) {
      placed.set(node.id, { id: node.id, x: x + node.width / 2, y: i * (nodeHeight + rowGap), width: node.width });
      x += node.width + columnGap;
    }
  });
  const height = rows.length === 0 ? 0 : rows.length * (nodeHeight + rowGap) - rowGap;
  return { nodes: placed, width, height };
}

/** A layer as rows that are not too wide, of about as many nodes each. */
function breakRows(layer: LayeredNode[], columnGap: number, widthMax: number): LayeredNode[][] {
  const width = layer.reduce((sum, node) => sum + node.width + columnGap, -columnGap);
  const count = Math.ceil(layer.length / Math.ceil(width / widthMax));
  const rows: LayeredNode[][] = [];
  for (let from = 0; from < layer.length; from += count) rows.push(layer.slice(from, from + count));
  return rows;
}

/** Nodes that read nothing come right above their first reader. */
function sinkSources(nodes: readonly LayeredNode[], layerOf: Map<number, number>): void {
  const firstReader = new Map<number, number>();
  for (const { id, reads } of nodes) {
    for (const read of reads) {
      firstReader.set(read, Math.min(layerOf.get(id)!, firstReader.get(read) ?? Number.MAX_SAFE_INTEGER));
    }
  }
  for (const { id, reads } of nodes) {
    const reader = firstReader.get(id);
    if (reads.length === 0 && reader !== undefined) layerOf.set(id, reader - 1);
  }
}

/** Sorts each layer by the mean place of neighbours in the one before, then in the one behind. */
function order(layers: LayeredNode[][], nodes: readonly LayeredNode[]): void {
  const readers = new Map<number, number[]>();
  for (const { id, reads } of nodes) for (const read of reads) readers.set(read, [...(readers.get(read) ?? []), id]);
  const places = new Map<number, number>();
  const note = (layer: readonly LayeredNode[]): void => {
    layer.forEach(({ id }, i) => places.set(id, (i + 0.5) / layer.length));
  };
  layers.forEach(note);
  const sortBy = (layer: LayeredNode[], neighbours: (node: LayeredNode) => readonly number[]): void => {
    const keys = new Map(
      layer.map((node) => {
        const known = neighbours(node).flatMap((id) => places.get(id) ?? []);
        return [node, known.length === 0 ? places.get(node.id)! : known.reduce((a, b) => a + b, 0) / known.length];
      }),
    );
    layer.sort((a, b) => keys.get(a)! - keys.get(b)! || a.id - b.id);
    note(layer);
  };
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const layer of layers) sortBy(layer, ({ reads }) => reads);
    for (const layer of layers.toReversed()) sortBy(layer, ({ id }) => readers.get(id) ?? []);
  }
}
