// paged_attention: attention.ts of sequences of different lengths over keys and values that lie in pages (Kwon et al.
// 2023, PagedAttention, arXiv 2309.06180). A page holds the keys of `page size` neighbouring positions; a table names
// the pages of each sequence in order, so that sequences of any length share one memory, and two that begin alike share
// pages. Each sequence has a position of its own: query t of sequence b sees keys 0..position[b] + t, or the last
// `window` of them. It is for decoding: left out are derivatives, and attention that sees later keys.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { emit } from "../graph.ts";
import type { OpDef } from "../op.ts";
import { IndexRangeError, requireShape } from "../op.ts";
import type { AttentionAttrs, AttentionDims, AttentionOptions, CacheDtype, KeyRow } from "./attention.ts";
import { attentionDims, attentionOutput, CACHE_DTYPES, evaluateAttention, requireHeads } from "./attention.ts";
import { lowerAttention } from "./kernels/attention.ts";
import { requirePositions } from "./rope.ts";

const NAME = "paged_attention";

/** The fewest positions of a page: kernels take so many keys side by side. */
export const PAGE_SIZE_MIN = 32;

/** Sizes of an attention over pages, with as much room a sequence as its row of the table has. */
export function pagedDims(q: TensorType, v: TensorType, table: TensorType): AttentionDims {
  const [pages, pageSize] = v.shape as readonly [number, number, number, number];
  const [, pagesPerSequence] = table.shape as readonly [number, number];
  const dims = attentionDims(q, v);
  return { ...dims, capacity: pagesPerSequence * pageSize, paged: { pages, pageSize } };
}

export const pagedAttentionOp: OpDef<AttentionAttrs> = {
  name: NAME,
  summary: "o[b] = softmax(scale q k^T, keys 0..position[b] + t in the pages of table[b]) v",
  infer(inputs, attrs) {
    const [q, k, v, position, table] = inputs as [TensorType, TensorType, TensorType, TensorType, TensorType];
    // One sequence is as good as another here: the batch of keys and values is that of the pages.
    const heads = q.shape.length === 4 ? { ...q, shape: [k.shape[0]!, ...q.shape.slice(1)] } : q;
    requireHeads(NAME, [heads, k, v], attrs, CACHE_DTYPES);
    requireShape(attrs.causal ?? true, NAME, "is not causal", inputs);
    const batch = q.shape[0]!;
    requireShape(batch > 0, NAME, "there are no sequences", inputs);
    requirePositions(NAME, position, batch, inputs);
    const pageSize = k.shape[1]!;
    const fits = pageSize >= PAGE_SIZE_MIN && Number.isInteger(Math.log2(pageSize));
    requireShape(
      fits,
      NAME,
      `a page has ${pageSize} positions`,
      inputs,
      `give a power of two from ${PAGE_SIZE_MIN} on`,
    );
    const named = table.dtype === "i32" && table.shape.length === 2 && table.shape[0] === batch && table.shape[1]! > 0;
    requireShape(named, NAME, "the table is not i32 [batch, pages of a sequence]", inputs);
    return [attentionOutput(q, v), { dtype: "f32", shape: [batch, q.shape[2]!, q.shape[1]!] }];
  },
  evaluate([q, k, v, position, table], attrs, types) {
    const dims = pagedDims(q!.type, v!.type, table!.type);
    const { pages, pageSize } = dims.paged!;
    const perSequence = dims.capacity / pageSize;
    const keyRow: KeyRow = (sequence, key) => {
      const page = table!.data[sequence * perSequence + Math.floor(key / pageSize)]!;
      if (page >= 0 && page < pages) return page * pageSize + (key % pageSize);
      throw new IndexRangeError(NAME, `there is no page ${page} among ${pages}`);
    };
    return evaluateAttention(dims, attrs, [q!, k!, v!, position!], types, keyRow);
  },
  derivative: { kind: "none", hint: "pages are for decoding: differentiate attention over whole sequences" },
  lowering: { kind: "kernel", lower: lowerAttention },
  sample(draw) {
    const [batch, time, keyHeads, size] = [draw.int(1, 3), draw.int(1, 11), draw.int(1, 2), draw.int(1, 21)];
    const [pages, perSequence, pageSize] = [draw.int(1, 4), draw.int(1, 3), PAGE_SIZE_MIN];
    const dtype = draw.pick(CACHE_DTYPES);
    const kept = (last: number): TensorType => ({ dtype, shape: [pages, pageSize, keyHeads, last] });
    const attrs = {
      scale: 1 / Math.sqrt(size),
      ...draw.pick<Partial<AttentionAttrs>>([{}, { window: draw.int(1, 40) }]),
      ...draw.pick<Partial<AttentionAttrs>>([{}, { softcap: 1.5 }]),
    };
    return {
      inputs: [
        { dtype: "f32", shape: [batch, time, keyHeads * draw.int(1, 3), size] },
        kept(size),
        kept(draw.pick([size, draw.int(1, 21)])),
        { dtype: "i32", shape: [batch] },
        { dtype: "i32", shape: [batch, perSequence] },
      ],
      attrs,
      ranges: [undefined, undefined, undefined, [0, perSequence * pageSize - time], [0, pages - 1]],
    };
  },
};

/** Attention over pages sees no later keys. */
export type PagedAttentionOptions = Omit<AttentionOptions, "causal">;

/**
 * Attention of queries `q` [batch, time, heads, size] over keys [pages, page size, key heads, size] and values [pages,
 * page size, key heads, value size]: [batch, time, heads, value size]. `position` is i32 [batch], `table` i32 [batch,
 * pages of a sequence]. Query t of sequence b sees the keys 0 to position[b] + t, or those of them that the options
 * leave; key s of a sequence is in page `table`[b, floor(s / page size)], at s mod page size. A position beyond those
 * pages counts as their last one. Pages that nobody sees may be named by any number of a page. Keys and values have one
 * dtype, which may be bf16 or f16.
 * @throws ShapeMismatchError when shapes do not fit, an option is out of range, or the page size is no power of two.
 */
export function pagedAttention(
  q: Tensor<Shape, "f32">,
  k: Tensor<Shape, CacheDtype>,
  v: Tensor<Shape, CacheDtype>,
  position: Tensor<Shape, "i32">,
  table: Tensor<Shape, "i32">,
  { scale = 1 / Math.sqrt(q.shape[q.rank - 1] ?? 1), window, softcap }: PagedAttentionOptions = {},
): Tensor<Shape, "f32"> {
  const attrs: AttentionAttrs = {
    scale,
    ...(window !== undefined && { window }),
    ...(softcap !== undefined && { softcap }),
  };
  const [output] = emit(pagedAttentionOp, [q, k, v, position, table], attrs);
  return output as Tensor<Shape, "f32">;
}
