// lstm: the loss of a stack of LSTM layers whose weights are diagonal, over a sequence of characters as bits, and its
// gradient in all weights. The time steps are a scan.

import {
  add,
  div,
  exp,
  log,
  mul,
  neg,
  reduceSum,
  reshape,
  scan,
  sigmoid,
  sliceAxis,
  splat,
  sub,
  tanh,
} from "@fidelity/core";
import { grad } from "@fidelity/furnace";
import { oneNumber } from "../evaluation.ts";
import type { Evaluation, Problem } from "../evaluation.ts";
import { GradBenchInputError } from "../errors.ts";
import { InputReader } from "../input.ts";
import { f64 } from "../programs.ts";
import type { F64, Scalar64 } from "../programs.ts";

/** main [2 layers, 4 width]: rows of weights and biases of each layer. extra [3, width]. */
type Parameters = { readonly main: F64; readonly extra: F64 };

/** A layer's vectors [width]. */
interface Layer {
  readonly hidden: F64;
  readonly cell: F64;
}

/** Row i of x [rows, columns], from column `from` on. */
function part(x: F64, i: number, from: number, width: number): F64 {
  return reshape(sliceAxis(sliceAxis(x, 0, i, i + 1), 1, from, from + width), [width]) as F64;
}

/** Weights and biases of the gates of layer i, in the order in which they lie. */
function gatesOf(main: F64, i: number, width: number): readonly ((x: F64) => F64)[] {
  return [0, 1, 2, 3].map((gate) => {
    const weight = part(main, 2 * i, gate * width, width);
    const bias = part(main, 2 * i + 1, gate * width, width);
    return (x: F64): F64 => add(mul(x, weight), bias) as F64;
  });
}

function loss(state: F64, sequence: F64): (parameters: Parameters) => Scalar64 {
  return ({ main, extra }) => {
    const [layers, width] = [state.shape[0]! / 2, state.shape[1]!];
    const [inWeight, outWeight, outBias] = [0, 1, 2].map((i) => part(extra, i, 0, width)) as [F64, F64, F64];
    const gates = Array.from({ length: layers }, (_none, i) => gatesOf(main, i, width));
    const step = (carry: { total: Scalar64; layers: readonly Layer[] }, at: { input: F64; next: F64 }) => {
      let x = mul(at.input, inWeight) as F64;
      const next = carry.layers.map(({ hidden, cell }, i): Layer => {
        const [forget, ingate, outgate, change] = gates[i]! as [Gate, Gate, Gate, Gate];
        const kept = mul(cell, sigmoid(forget(x))) as F64;
        const made = add(kept, mul(sigmoid(ingate(hidden)), tanh(change(hidden))) as F64) as F64;
        x = mul(sigmoid(outgate(x)), tanh(made)) as F64;
        return { hidden: x, cell: made };
      });
      const predicted = add(mul(x, outWeight), outBias) as F64;
      const normaliser = log(add(reduceSum(exp(predicted)), 2));
      const fit = reduceSum(mul(at.next, sub(predicted, normaliser) as F64) as F64);
      return { carry: { total: add(carry.total, fit), layers: next }, y: [] };
    };
    const steps = sequence.shape[0]! - 1;
    const init = {
      total: splat(0, [], "f64"),
      layers: gates.map((_gates, i) => ({
        hidden: part(state, 2 * i, 0, width),
        cell: part(state, 2 * i + 1, 0, width),
      })),
    };
    const xs = { input: sliceAxis(sequence, 0, 0, steps), next: sliceAxis(sequence, 0, 1, steps + 1) };
    const { carry } = scan(step, init, xs as never);
    return div(neg(carry.total), steps * width);
  };
}

type Gate = (x: F64) => F64;

function pose(input: unknown, isGradient: boolean): Problem {
  const reader = new InputReader(input);
  const state = reader.matrix("state");
  const [rows, width] = [state.rows, state.columns];
  const sequence = reader.matrix("sequence", undefined, width);
  if (rows < 2 || rows % 2 !== 0 || width < 1 || sequence.rows < 2) {
    throw new GradBenchInputError("an evaluation's input does not fit", {
      where: "input",
      expected: "two rows of state a layer, and a sequence of two characters at least",
      got: `${rows} rows of state, ${sequence.rows} characters`,
    });
  }
  const main = reader.matrix("main_params", rows, 4 * width);
  const extra = reader.matrix("extra_params", 3, width);
  const of = (fn: (of: F64, sequence: F64) => (parameters: Parameters) => unknown) => {
    return (...[a, b, c, d]: readonly F64[]) => fn(c!, d!)({ main: a!, extra: b! });
  };
  return {
    types: [f64(rows, 4 * width), f64(3, width), f64(rows, width), f64(sequence.rows, width)],
    values: [main.values, extra.values, state.values, sequence.values],
    fn: of(isGradient ? (...rest) => grad(loss(...rest)) : loss),
    answer: isGradient ? (results) => [...results.result(0), ...results.result(1)] : oneNumber,
  };
}

export const lstm: Evaluation = {
  objective: (input) => pose(input, false),
  jacobian: (input) => pose(input, true),
};
