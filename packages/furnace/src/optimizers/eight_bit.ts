// Optimiser states in 8 bits (Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", arXiv 2110.02861):
// a quarter of the memory. Numbers are cut into blocks with a scale each, and codes are spread so that small
// magnitudes keep their digits: x = scale sign(c) |c / 127|^3 where both signs occur, scale ((c + 128) / 255)^4 where
// only one does. The paper's dynamic tree of exponents does the same by a table; powers need none.

import { abs, add, cast, div, flattenTree, isTensor, isTensorType, lt, mapTree, max, mul, pad } from "@fidelity/core";
import { pow, reduceMax, reshape, round, select, slice, sqrt, sub } from "@fidelity/core";
import type { Tensor, TensorType } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { withLeaves } from "../tangent.ts";
import type { Optimizer, OptimizerState } from "./optimizer.ts";

export interface EightBitOptions {
  /** Moments that are never negative, such as AdamW's `second`, which is also the default. */
  readonly unsigned?: readonly string[];
  /** Smaller tensors stay in their dtype; 4,096 elements by default, as in the paper. */
  readonly minElements?: number;
}

/** Elements of one scale. */
const BLOCK = 256;
const SIGNED_POWER = 3;

/**
 * `optimizer` with its moments in 8 bits. State: for each of its moments `m`, `mCodes` and `mScales`; parameters that
 * are too small have their moment in `mScales` as it is.
 */
export function eightBit(optimizer: Optimizer, options: EightBitOptions = {}): Optimizer {
  const { unsigned = ["second"], minElements = 4096 } = options;
  const isCoded = (type: TensorType): boolean => type.shape.length > 0 && sizeOf(type) >= minElements;
  return {
    init<T>(types: T): OptimizerState<T> {
      const entries = Object.entries(optimizer.init(types)).flatMap(([name, tree]) => [
        [`${name}Codes`, mapTree(tree, isTensorType, (type) => (isCoded(type) ? codesOf(type) : empty(type)))],
        [`${name}Scales`, mapTree(tree, isTensorType, (type) => (isCoded(type) ? scalesOf(type) : type))],
      ]);
      return Object.fromEntries(entries) as OptimizerState<T>;
    },
    update(params, grads, state, inputs) {
      const types = mapTree(params, isTensor, (leaf) => leaf.type);
      const inner = optimizer.init(types);
      const moments = Object.entries(inner).map(([name, tree]) => {
        const wanted = flattenTree(tree, isTensorType).map(({ leaf }) => leaf);
        const [codes, scales] = ["Codes", "Scales"].map((part) => flattenTree(state[`${name}${part}`], isTensor));
        const decode = unsigned.includes(name) ? decodeUnsigned : decodeSigned;
        const values = wanted.map((type, i) => {
          const [code, scale] = [codes![i]!.leaf, scales![i]!.leaf as Float];
          return isCoded(type) ? unblocked(decode(cast(code, "f32") as Float, scale), type) : scale;
        });
        return { name, wanted, values };
      });
      const given = moments.map(({ name, values }) => [name, withLeaves(params, values)] as const);
      const updated = optimizer.update(
        params,
        grads,
        Object.fromEntries(given) as OptimizerState<typeof params>,
        inputs,
      );
      const kept = moments.flatMap(({ name, wanted }) => {
        const fresh = flattenTree(updated.state[name], isTensor).map(({ leaf }) => leaf as Float);
        const encode = unsigned.includes(name) ? encodeUnsigned : encodeSigned;
        const pairs = fresh.map((leaf, i) =>
          isCoded(wanted[i]!) ? encode(blocked(leaf)) : { codes: emptyLike(leaf), scales: leaf },
        );
        return [
          [
            `${name}Codes`,
            withLeaves(
              params,
              pairs.map(({ codes }) => codes),
            ),
          ],
          [
            `${name}Scales`,
            withLeaves(
              params,
              pairs.map(({ scales }) => scales),
            ),
          ],
        ];
      });
      return { params: updated.params, state: Object.fromEntries(kept) as typeof state };
    },
  };
}

const sizeOf = ({ shape }: TensorType): number => shape.reduce((total, dim) => total * dim, 1);
const blocksOf = (type: TensorType): number => Math.ceil(sizeOf(type) / BLOCK);
const codesOf = (type: TensorType): TensorType => ({ dtype: "i8", shape: [blocksOf(type), BLOCK] });
const scalesOf = (type: TensorType): TensorType => ({ dtype: "f32", shape: [blocksOf(type), 1] });
const empty = (_type: TensorType): TensorType => ({ dtype: "i8", shape: [] });
const emptyLike = (leaf: Float): Tensor => cast(mul(reduceMax(leaf), 0) as Float, "i8") as Tensor;

/** [blocks, 256], filled up with zeros. */
function blocked(x: Float): Float {
  const blocks = blocksOf(x.type);
  const flat = reshape(x, [sizeOf(x.type)]);
  return reshape(pad(flat, [0], [blocks * BLOCK - sizeOf(x.type)]), [blocks, BLOCK]) as Float;
}

function unblocked(x: Float, type: TensorType): Float {
  const flat = reshape(x, [x.shape[0]! * BLOCK]);
  return cast(reshape(slice(flat, [0], [sizeOf(type)]), type.shape), type.dtype) as Float;
}

interface Encoded {
  readonly codes: Tensor;
  readonly scales: Float;
}

/** Largest magnitude of each block; blocks of zeros get a scale that is harmless. */
function scaleOf(x: Float): Float {
  return cast(max(reduceMax(abs(x), [1], true) as Float, 1e-30), "f32") as Float;
}

function encodeSigned(x: Float): Encoded {
  const scales = scaleOf(x);
  const share = div(abs(cast(x, "f32") as Float), scales) as Float;
  const code = round(mul(cubeRoot(share), 127)) as Float;
  return { codes: cast(select(lt(x, 0) as never, mul(code, -1) as Float, code) as Float, "i8") as Tensor, scales };
}

function decodeSigned(code: Float, scales: Float): Float {
  const share = div(code, 127) as Float;
  return mul(mul(mul(share, share), share), scales) as Float;
}

function encodeUnsigned(x: Float): Encoded {
  const scales = scaleOf(x);
  const root = sqrt(sqrt(div(cast(x, "f32") as Float, scales) as Float)) as Float;
  return { codes: cast(sub(round(mul(root, 255)) as Float, 128) as Float, "i8") as Tensor, scales };
}

function decodeUnsigned(code: Float, scales: Float): Float {
  const share = div(add(code, 128), 255) as Float;
  const squared = mul(share, share);
  return mul(mul(squared, squared), scales) as Float;
}

/** Of numbers from 0 to 1. */
function cubeRoot(x: Float): Float {
  const tiny = 1e-12; // its root, 1e-4, is far below half of a code
  return pow(max(x, tiny) as Float, 1 / SIGNED_POWER) as Float;
}
