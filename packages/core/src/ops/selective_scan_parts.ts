// What selective_scan and its derivatives share: sizes, the shape rule, random cases, and the op as a composition.

import type { Shape } from "@fidelity/units";
import type { Tensor, TensorType } from "../graph.ts";
import { formatType, sameShape } from "../graph.ts";
import type { CaseDraw, OpCase } from "../op.ts";
import { requireShape } from "../op.ts";
import { add } from "./add.ts";
import { exp } from "./exp.ts";
import { mul } from "./mul.ts";
import { reduceSum } from "./reduce_sum.ts";
import { reshape } from "./reshape.ts";
import { scan } from "./scan.ts";
import { transpose } from "./transpose.ts";

type Floats = Tensor<Shape, "f32">;

/** Sizes of a selective scan: `states` numbers for each of `channels` channels. */
export interface ScanDims {
  readonly batch: number;
  readonly time: number;
  readonly channels: number;
  readonly states: number;
}

export function scanDims(delta: TensorType, a: TensorType): ScanDims {
  const [batch, time, channels] = delta.shape as [number, number, number];
  return { batch, time, channels, states: a.shape[1]! };
}

/** The types of delta, a, b, c, x and the state for these sizes. */
export function scanTypes({ batch, time, channels, states }: ScanDims): readonly TensorType[] {
  const type = (...shape: number[]): TensorType => ({ dtype: "f32", shape });
  const [sequence, gates] = [type(batch, time, channels), type(batch, time, states)];
  return [sequence, type(channels, states), gates, gates, sequence, type(batch, channels, states)];
}

/** Requires that the first six inputs are delta, a, b, c, x and the state of one selective scan; gives its sizes. */
export function requireScan(op: string, inputs: readonly TensorType[]): ScanDims {
  const [delta, a] = inputs as readonly [TensorType, TensorType];
  const ranks = delta.shape.length === 3 && a.shape.length === 2 && Math.min(...delta.shape, ...a.shape) > 0;
  requireShape(ranks, op, "takes delta [batch, time, channels] and a [channels, states]", inputs);
  const dims = scanDims(delta, a);
  const expected = scanTypes(dims);
  const fits = expected.every(({ dtype, shape }, i) => {
    return inputs[i]?.dtype === dtype && sameShape(inputs[i]!.shape, shape);
  });
  requireShape(fits, op, `delta, a, b, c, x and state should be ${expected.map(formatType).join(", ")}`, inputs);
  return dims;
}

/** Small sizes; channels and states that fill vectors, and rests of them. */
export function sampleScan(draw: CaseDraw): { readonly dims: ScanDims; readonly ranges: OpCase["ranges"] } {
  const [batch, time] = [draw.int(1, 2), draw.pick([1, draw.int(2, 11)])];
  const dims = { batch, time, channels: draw.int(1, 21), states: draw.int(1, 9) };
  return { dims, ranges: [[0, 1], [-2, 0], undefined, undefined, undefined, undefined] };
}

/** The scan step by step, with an `a` for each sequence: [batch, channels, states]. */
export function composeScan(inputs: readonly Tensor[]): readonly Tensor[] {
  const [delta, a, b, c, x, state] = inputs as readonly [Floats, Floats, Floats, Floats, Floats, Floats];
  const [batch, channels, states] = a.shape as [number, number, number];
  const timeFirst = (sequence: Floats): Floats => transpose(sequence, [1, 0, 2]);
  const ofChannels = (value: Floats): Floats => reshape(value, [batch, channels, 1]);
  const ofStates = (value: Floats): Floats => reshape(value, [batch, 1, states]);
  const { carry, ys } = scan(
    (h: Floats, at: { delta: Floats; b: Floats; c: Floats; x: Floats }) => {
      const decay = exp(mul(ofChannels(at.delta), a));
      const next: Floats = add(mul(decay, h), mul(ofChannels(mul(at.delta, at.x)), ofStates(at.b)));
      return { carry: next, y: reduceSum(mul(next, ofStates(at.c)), [2]) };
    },
    state,
    { delta: timeFirst(delta), b: timeFirst(b), c: timeFirst(c), x: timeFirst(x) } as never,
  ) as unknown as { carry: Floats; ys: Floats };
  return [timeFirst(ys), carry];
}
