// SOAP (Vyas et al. 2024, "SOAP: improving and stabilizing Shampoo using Adam", arXiv 2409.11321, algorithm 3): Adam in
// the eigenbasis of Shampoo's preconditioners (Gupta, Koren, Singer 2018, arXiv 1802.09568).
//   L = b2 L + (1 - b2) G G^T,  R likewise of G^T G;  every `every` steps Q_L = the Q of Q R = L Q_L (power iteration)
//   Adam on G' = Q_L^T G Q_R, its step turned back by Q_L (.) Q_R^T
// The basis is refreshed inside of a loop of at most one step, which compiled programs skip when it has none to do.

import { add, cast, div, eq, floor, iota, lt, matmul, mul, qr, select, splat, sqrt, square, sub } from "@fidelity/core";
import { broadcastTo, transpose, whileLoop } from "@fidelity/core";
import type { Tensor, TensorType } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { adamWStep, oneMinusPower } from "./adamw.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, MomentType, Optimizer, StepInputs } from "./optimizer.ts";

export interface SoapOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
  /** Steps from one refreshment of the basis to the next; 10 by default. */
  readonly every?: number;
  /** A side of a matrix that is longer keeps its own basis; 1,024 by default. */
  readonly maxDim?: number;
}

/**
 * SOAP with betas 0.95, epsilon 1e-8 and decay 0.01 unless told otherwise; vectors are left to AdamW. State: `first`,
 * `second`, and for each side of a matrix a preconditioner and a basis: `left`, `leftBasis`, `right`, `rightBasis`.
 */
export function soap(options: SoapOptions = {}): Optimizer {
  const { beta1 = 0.95, beta2 = 0.95, epsilon = 1e-8, weightDecay = 0.01, every = 10, maxDim = 1024 } = options;
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const side =
    (axis: 0 | 1): MomentType =>
    ({ dtype, shape }: TensorType) => {
      const size = shape[axis]!;
      return { dtype, shape: shape.length === 2 && size <= maxDim ? [size, size] : [] };
    };
  const moments = [
    "first",
    "second",
    ...["left", "leftBasis"].map((name) => ({ name, type: side(0) })),
    ...["right", "rightBasis"].map((name) => ({ name, type: side(1) })),
  ];
  const start = (inputs: StepInputs): LeafStep => {
    const adamW = adamWStep({ beta1, beta2, epsilon, weightDecay, decayMask: decays })(inputs);
    return (leaf) => {
      const { path, shape, value, grad, moments: own } = leaf;
      if (shape.length !== 2) return [...adamW(leaf), ...own.slice(2)];
      const time = cast(inputs.step, value.dtype) as Float;
      const rate = cast(inputs.learningRate, value.dtype);
      const left = refreshed(own[2]!, own[3]!, matmul(grad, grad, { transposeB: true }) as Float, {
        time,
        every,
        beta2,
      });
      const right = refreshed(own[4]!, own[5]!, matmul(grad, grad, { transposeA: true }) as Float, {
        time,
        every,
        beta2,
      });
      const turned = (x: Float): Float => turn(x, left.basis, right.basis, true);
      const first = add(mul(own[0]!, beta1), mul(grad, 1 - beta1)) as Float;
      const second = add(mul(own[1]!, beta2), mul(square(turned(grad)), 1 - beta2)) as Float;
      const spread = add(sqrt(div(second, oneMinusPower(beta2, time)) as Float), epsilon);
      const unit = div(div(turned(first), oneMinusPower(beta1, time)), spread) as Float;
      const change = turn(unit, left.basis, right.basis, false);
      const kept = decays(path, shape) && weightDecay !== 0 ? add(change, mul(value, weightDecay)) : change;
      const next = sub(value, mul(rate, kept));
      return [next, first, second, left.kept, left.keptBasis, right.kept, right.keptBasis];
    };
  };
  return leafwise("soap", moments, start);
}

interface Side {
  /** The basis to use; undefined where a side keeps its own. */
  readonly basis: Float | undefined;
  readonly kept: Float;
  readonly keptBasis: Float;
}

interface Pace {
  readonly time: Float;
  readonly every: number;
  readonly beta2: number;
}

/** A preconditioner with the newest outer product in it, and its basis, brought nearer to the eigenvectors when due. */
function refreshed(old: Float, oldBasis: Float, outer: Float, { time, every, beta2 }: Pace): Side {
  if (old.rank !== 2) return { basis: undefined, kept: old, keptBasis: oldBasis };
  const kept = add(mul(old, beta2), mul(outer, 1 - beta2)) as Float;
  const isFirst = lt(time, 1.5);
  // State starts as zeros, and a basis as the identity.
  const basis = select(broadcastTo(isFirst as Tensor, old.shape) as never, identity(old), oldBasis) as Float;
  const since = sub(time, add(mul(floor(div(sub(time, 1), every)), every), 1));
  const due = lt(since, 0.5);
  const turns = select(due as never, splat(1, [], "i32"), 0) as Tensor;
  const { q } = whileLoop(
    ({ done }: { done: Tensor; q: Float }) => lt(done as never, turns as never) as never,
    ({ done, q: at }) => ({ done: add(done as never, splat(1, [], "i32") as never) as Tensor, q: powerStep(kept, at) }),
    { done: splat(0, [], "i32") as Tensor, q: basis },
    { maxSteps: 1 },
  );
  return { basis: q, kept, keptBasis: q };
}

/** One step of orthogonal iteration; a little of the identity keeps directions without gradients independent. */
function powerStep(preconditioner: Float, basis: Float): Float {
  const size = preconditioner.shape[0]!;
  const weight = mul(trace(preconditioner), 1e-7 / size);
  const pushed = matmul(add(preconditioner, mul(identity(preconditioner), add(weight, 1e-30))) as Float, basis);
  return qr(pushed as Float).q as Float;
}

function trace(matrix: Float): Float {
  const total = mul(matrix, identity(matrix)) as Float;
  return matmul(matmul(ones(1, total), total) as Float, ones(0, total)) as Float;
}

function ones(axis: 0 | 1, like: Float): Float {
  const size = like.shape[0]!;
  return splat(1, axis === 1 ? [1, size] : [size, 1], like.dtype) as unknown as Float;
}

function identity(like: Float): Float {
  const size = like.shape[0]!;
  const columns = broadcastTo(iota([1, size]) as Tensor, [size, size]);
  return cast(eq(columns as never, transpose(columns) as never) as Tensor, like.dtype) as Float;
}

/** Q_L^T x Q_R, or back: Q_L x Q_R^T. */
function turn(x: Float, left: Float | undefined, right: Float | undefined, into: boolean): Float {
  const half = left === undefined ? x : (matmul(left, x, { transposeA: into }) as Float);
  return right === undefined ? half : (matmul(half, right, { transposeA: false, transposeB: !into }) as Float);
}
