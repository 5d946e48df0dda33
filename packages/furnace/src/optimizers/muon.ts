// Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum of a matrix, made
// nearly orthogonal, so that all directions of a layer learn at one pace. The orthogonal factor comes from five steps
// of a Newton-Schulz iteration, which is nothing but products. Its size is matched to AdamW's, so that rates carry
// over (Liu et al. 2025, "Muon is scalable for LLM training", arXiv 2502.16982). What is no hidden matrix is left to
// AdamW.

import { add, cast, div, matmul, mul, reduceSum, sqrt, square, sub, transpose } from "@fidelity/core";
import type { Float } from "../gradients/gradient.ts";
import { adamWStep } from "./adamw.ts";
import { leafwise } from "./optimizer.ts";
import type { LeafStep, Optimizer, StepInputs } from "./optimizer.ts";

export interface MuonOptions {
  readonly momentum?: number;
  readonly weightDecay?: number;
  /** Betas of AdamW, for what is no hidden matrix. */
  readonly beta1?: number;
  readonly beta2?: number;
  /** Which matrices are made orthogonal; by default all but embeddings and heads, by their paths. */
  readonly isHidden?: (path: string, shape: readonly number[]) => boolean;
  readonly decayMask?: (path: string, shape: readonly number[]) => boolean;
}

/** Coefficients of the quintic a x + b x^3 + c x^5, whose iteration brings singular values from 0..1 near 1. */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const ITERATIONS = 5;
/** The root mean square of AdamW's steps. */
const STEP_RMS = 0.2;

/** Muon with Nesterov momentum 0.95 and decay 0.01 unless told otherwise. State: `first`, `second` (AdamW's only). */
export function muon(options: MuonOptions = {}): Optimizer {
  const { momentum = 0.95, weightDecay = 0.01, beta1 = 0.9, beta2 = 0.99 } = options;
  const isHidden = options.isHidden ?? ((path) => !/(^|\.)(embedding|head)(\.|$)/.test(path));
  const decays = options.decayMask ?? ((_path, shape) => shape.length >= 2);
  const start = (inputs: StepInputs): LeafStep => {
    const adamW = adamWStep({ beta1, beta2, weightDecay, decayMask: decays })(inputs);
    return (leaf) => {
      const { path, shape, value, grad, moments } = leaf;
      if (shape.length !== 2 || !isHidden(path, shape)) return adamW(leaf);
      const rate = cast(inputs.learningRate, value.dtype);
      const first = add(mul(moments[0]!, momentum), grad) as Float;
      const ahead = add(grad, mul(first, momentum)) as Float;
      const size = STEP_RMS * Math.sqrt(Math.max(...shape));
      const step = mul(orthogonalised(ahead), size) as Float;
      const kept = decays(path, shape) && weightDecay !== 0 ? add(step, mul(value, weightDecay)) : step;
      return [sub(value, mul(rate, kept)), first, moments[1]!];
    };
  };
  return leafwise("muon", ["first", "second"], start);
}

/** A matrix near U V^T of `x` = U S V^T: singular values between about 0.7 and 1.2. */
export function orthogonalised(x: Float): Float {
  const [rows, columns] = x.shape as readonly [number, number];
  const isTall = rows > columns;
  const norm = sqrt(add(reduceSum(square(x)), 1e-14));
  let y = div(isTall ? transpose(x) : x, norm) as Float;
  for (let i = 0; i < ITERATIONS; i++) {
    const gram = matmul(y, y, { transposeB: true }) as Float;
    const odd = add(mul(gram, B), mul(matmul(gram, gram) as Float, C)) as Float;
    y = add(mul(y, A), matmul(odd, y) as Float) as Float;
  }
  return (isTall ? transpose(y) : y) as Float;
}
