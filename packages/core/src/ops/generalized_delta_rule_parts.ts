// What generalized_delta_rule and its derivatives share: sizes, the shape rule, random cases, and the op as a
// composition.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { formatType, sameShape } from "../graph.ts";
import type { CaseDraw, OpCase } from "../op.ts";
import { requireShape } from "../op.ts";
import { add } from "./add.ts";
import { repeatHeads } from "./attention_parts.ts";
import { exp } from "./exp.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { scan } from "./scan.ts";
import { transpose } from "./transpose.ts";

type Floats = Tensor<Shape, "f32">;

/**
 * Sizes of a delta rule: `groupSize` heads share queries and keys; `decays` is `keySize`, or 1 for one decay a head.
 */
export interface DeltaDims {
  readonly batch: number;
  readonly time: number;
  readonly heads: number;
  readonly groups: number;
  readonly groupSize: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly decays: number;
  /** Whether there are a and b. */
  readonly erases: boolean;
}

/** Sizes from the types of q, k, v and the decay. */
export function deltaDims([q, , v, decay]: readonly TensorType[], erases: boolean): DeltaDims {
  const [batch, time, groups, keySize] = q!.shape as [number, number, number, number];
  const [heads, valueSize] = v!.shape.slice(2) as [number, number];
  const decays = decay!.shape[3]!;
  return { batch, time, heads, groups, groupSize: heads / groups, keySize, valueSize, decays, erases };
}

/** The types of q, k, v, the decay, the state, and of a and b where there are any. */
export function deltaTypes(dims: DeltaDims): readonly TensorType[] {
  const { batch, time, heads, groups, keySize, valueSize, decays, erases } = dims;
  const sequence = (...shape: number[]): TensorType => ({ dtype: "f32", shape: [batch, time, ...shape] });
  const [keys, pairs] = [sequence(groups, keySize), sequence(heads, keySize)];
  const state: TensorType = { dtype: "f32", shape: [batch, heads, valueSize, keySize] };
  return [keys, keys, sequence(heads, valueSize), sequence(heads, decays), state, ...(erases ? [pairs, pairs] : [])];
}

/** Requires inputs of one delta rule: q, k, v, the decay, the state, and a and b or neither; gives their sizes. */
export function requireDelta(op: string, inputs: readonly TensorType[]): DeltaDims {
  requireShape(inputs.length === 5 || inputs.length === 7, op, "takes a and b together", inputs);
  const ranks = inputs.every(({ shape }) => shape.length === 4 && Math.min(...shape) > 0);
  requireShape(ranks, op, "takes tensors [batch, time, heads, size] and a state [batch, heads, values, keys]", inputs);
  const dims = deltaDims(inputs, inputs.length === 7);
  const { heads, groups, decays, keySize } = dims;
  requireShape(heads % groups === 0, op, `${groups} groups of keys do not divide ${heads} heads`, inputs);
  requireShape(decays === 1 || decays === keySize, op, `the decay is neither of size 1 nor ${keySize}`, inputs);
  const expected = deltaTypes(dims);
  const fits = expected.every(({ dtype, shape }, i) => {
    return inputs[i]!.dtype === dtype && sameShape(inputs[i]!.shape, shape);
  });
  const names = `q, k, v, decay, state${dims.erases ? ", a, b" : ""}`;
  requireShape(fits, op, `${names} should be ${expected.map(formatType).join(", ")}`, inputs);
  return dims;
}

/** Small sizes; keys and values that fill vectors, and rests of them. */
export function sampleDelta(draw: CaseDraw): { readonly dims: DeltaDims; readonly ranges: OpCase["ranges"] } {
  const [batch, time] = [draw.int(1, 2), draw.pick([1, draw.int(2, 11)])];
  const [groups, groupSize] = [draw.int(1, 2), draw.int(1, 2)];
  const [keySize, valueSize] = [draw.pick([draw.int(1, 9), 16]), draw.pick([draw.int(1, 9), 19])];
  const erases = draw.pick([true, false]);
  const decays = draw.pick([1, keySize]);
  const heads = groups * groupSize;
  const dims = { batch, time, heads, groups, groupSize, keySize, valueSize, decays, erases };
  const small = [-0.6, 0.6] as const;
  return { dims, ranges: [undefined, undefined, undefined, [-2, 0], undefined, ...(erases ? [small, small] : [])] };
}

/** The rule step by step. */
export function composeDelta(inputs: readonly Tensor[]): readonly Tensor[] {
  const [q, k, v, decay, state, ...erase] = inputs as [Floats, Floats, Floats, Floats, Floats, ...Floats[]];
  const [batch, heads, values] = state.shape as [number, number, number];
  const timeFirst = (x: Floats): Floats => transpose(x, [1, 0, 2, 3]);
  // [T, B, H, K]; attention's heads are repeated along their axis 1.
  const ofHeads = (x: Floats): Floats =>
    timeFirst(transpose(repeatHeads(transpose(x, [0, 2, 1, 3]), heads), [0, 2, 1, 3]));
  const row = (x: Floats): Floats => reshape(x, [batch, heads, 1, x.shape[2]!]);
  const column = (x: Floats): Floats => reshape(x, [batch, heads, values, 1]);
  const [a, b] = erase.map(timeFirst);
  const { carry, ys } = scan(
    (s: Floats, at: { q: Floats; k: Floats; v: Floats; decay: Floats; a?: Floats; b?: Floats }) => {
      const kept: Floats = mul(s, exp(row(at.decay)));
      const written: Floats = add(kept, mul(column(at.v), row(at.k)));
      const read = at.a && reduceSum(mul(s, row(at.a)), [3], true);
      const next: Floats = read === undefined ? written : add(written, mul(read as Floats, row(at.b!)));
      return { carry: next, y: reduceSum(mul(next, row(at.q)), [3]) };
    },
    state,
    { q: ofHeads(q), k: ofHeads(k), v: timeFirst(v), decay: timeFirst(decay), ...(a && b && { a, b }) } as never,
  ) as unknown as { carry: Floats; ys: Floats };
  return [timeFirst(ys), carry];
}
