// Sequences through diagonal state spaces that do not depend on the token, a few states for each channel: for channel d
//   h_t[n] = lambda[n] h_{t-1}[n] + u_t,   y_t = Re sum_n read[n] h_t[n]
// with real or complex lambda. Time is cut into blocks. Inside of one, y is a convolution with the first values of the
// kernel Re sum_n read[n] lambda[n]^l, a product with a triangular matrix; what came before is in the states, which
// read and write a block by products, too. This is the form of Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, section 6)
// for systems that stay the same. Left out: convolution of the whole sequence by Fourier transforms, as in S4.

import {
  add,
  cast,
  concat,
  cos,
  exp,
  gather,
  iota,
  le,
  matmul,
  mul,
  pad,
  reduceSum,
  reshape,
  scan,
  select,
  sin,
  sliceAxis,
  splat,
  sub,
  transpose,
} from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import type { Floats } from "./token_mixer.ts";

/** Steps of a block. */
const BLOCK = 64;

/** A system of each channel; all [channels, states]. */
export interface DiagonalSystem {
  /** Logarithm of the magnitude of lambda, and its angle; real where there is none. */
  readonly logDecay: Floats;
  readonly angle?: Floats;
  readonly read: Floats;
  /** The imaginary part of `read`, where lambda is complex. */
  readonly readImaginary?: Floats;
}

/**
 * `u` [batch, time, channels] through the systems, and the states after the last step, [batch, channels, numbers]:
 * the real parts of all states, then the imaginary ones.
 * @param state the states before the first step; zeros where absent
 */
export function diagonalConvolution(
  system: DiagonalSystem,
  u: Floats,
  state: Floats | undefined,
): { readonly output: Floats; readonly state: Floats } {
  const [batch, time, channels] = u.shape;
  const numbers = system.logDecay.shape[1] * (system.angle === undefined ? 1 : 2);
  const columns = transpose(u, [2, 1, 0]) as Floats; // [channels, time, batch]
  let last: Floats =
    state === undefined
      ? splat(0, [channels, numbers, batch] as readonly number[])
      : (transpose(state, [1, 2, 0]) as Floats);
  const outputs: Floats[] = [];
  const blocks = Math.floor(time / BLOCK);
  const inBlocks = blocks * BLOCK;
  if (blocks > 0) {
    const matrices = blockMatrices(system, BLOCK);
    const cut = reshape(sliceAxis(columns, 1, 0, inBlocks), [channels, blocks, BLOCK, batch]);
    const { carry, ys } = scan(
      (h: Floats, inputs: Floats) => {
        const { output, state: next } = takeBlock(matrices, inputs, h);
        return { carry: next, y: output };
      },
      last,
      transpose(cut, [1, 0, 2, 3]) as Floats,
    );
    last = carry;
    outputs.push(reshape(transpose(ys as Floats, [1, 0, 2, 3]), [channels, inBlocks, batch]));
  }
  if (time > inBlocks) {
    const rest = sliceAxis(columns, 1, inBlocks, time) as Floats;
    const taken = takeBlock(blockMatrices(system, time - inBlocks), rest, last);
    outputs.push(taken.output);
    last = taken.state;
  }
  const output: Floats = outputs.length === 1 ? outputs[0] : concat(outputs, 1);
  return { output: transpose(output, [2, 1, 0]), state: transpose(last, [2, 0, 1]) };
}

/** What takes a block of inputs [channels, steps, batch] and the states before it to outputs and states. */
interface BlockMatrices {
  /** [channels, steps, steps]: output l from input m. */
  readonly convolution: Floats;
  /** [channels, numbers, steps]: output l from the states before, transposed. */
  readonly fromState: Floats;
  /** [channels, numbers, steps]: the states after from input m. */
  readonly toState: Floats;
  /** lambda^steps, [channels, states, 1] each. */
  readonly decay: Complex;
}

/** A complex number in each element, or a real one. */
interface Complex {
  readonly real: Floats;
  readonly imaginary: Floats | undefined;
}

function takeBlock(
  { convolution, fromState, toState, decay }: BlockMatrices,
  inputs: Floats,
  state: Floats,
): { readonly output: Floats; readonly state: Floats } {
  const output = add(matmul(convolution, inputs), matmul(fromState, state, { transposeA: true })) as Floats;
  return { output, state: add(matmul(toState, inputs), multiplyState(decay, state)) as Floats };
}

/** The states [channels, numbers, batch] times one complex number each. */
function multiplyState({ real, imaginary }: Complex, state: Floats): Floats {
  if (imaginary === undefined) return mul(state, real);
  const states = real.shape[1];
  const [a, b] = [sliceAxis(state, 1, 0, states), sliceAxis(state, 1, states, 2 * states)] as [Floats, Floats];
  return concat([sub(mul(a, real), mul(b, imaginary)), add(mul(a, imaginary), mul(b, real))], 1);
}

function blockMatrices(system: DiagonalSystem, steps: number): BlockMatrices {
  const [read, readImaginary] = [column(system.read), system.readImaginary && column(system.readImaginary)];
  const count: Floats = cast(iota([1, 1, steps]) as Tensor<Shape, "i32">, "f32");
  const now = powers(system, count);
  const later = powers(system, add(count, 1));
  const back = powers(system, sub(steps - 1, count));
  const parts = (value: Complex): Floats =>
    value.imaginary === undefined ? value.real : concat([value.real, value.imaginary], 1);
  // Re(read lambda^l h) is a product of the real parts less one of the imaginary parts.
  const seen = multiply({ real: read, imaginary: readImaginary }, later);
  const conjugate = { real: seen.real, imaginary: seen.imaginary && mul(seen.imaginary, -1) };
  return {
    convolution: triangular(reduceSum(multiply({ real: read, imaginary: readImaginary }, now).real, [1]) as Floats),
    fromState: parts(conjugate),
    toState: parts(back),
    decay: powers(system, splat(steps, [1, 1, 1] as readonly number[])),
  };
}

/** lambda to the exponents [1, 1, count]: [channels, states, count]. */
function powers({ logDecay, angle }: DiagonalSystem, exponents: Floats): Complex {
  const magnitude: Floats = exp(mul(column(logDecay), exponents));
  if (angle === undefined) return { real: magnitude, imaginary: undefined };
  const turned: Floats = mul(column(angle), exponents);
  return { real: mul(magnitude, cos(turned)), imaginary: mul(magnitude, sin(turned)) };
}

function multiply(a: Complex, b: Complex): Complex {
  if (a.imaginary === undefined || b.imaginary === undefined) {
    return { real: mul(a.real, b.real), imaginary: undefined };
  }
  return {
    real: sub(mul(a.real, b.real), mul(a.imaginary, b.imaginary)),
    imaginary: add(mul(a.real, b.imaginary), mul(a.imaginary, b.real)),
  };
}

/** [channels, states] as [channels, states, 1]. */
function column(x: Floats): Floats {
  return reshape(x, [...x.shape, 1]);
}

/** The matrix of a convolution with a kernel [channels, steps]: element (l, m) is kernel l - m, and 0 above. */
function triangular(kernel: Floats): Floats {
  const [, steps] = kernel.shape;
  const table: Floats = pad(transpose(kernel, [1, 0]) as Floats, [0, 0], [1, 0]); // its last row is 0
  const rows = reshape(iota([steps]), [steps, 1]) as Tensor<Shape, "i32">;
  const distance: Tensor<Shape, "i32"> = sub(rows, iota([steps, steps]) as Tensor<Shape, "i32">);
  const places = select(le(0, distance) as Tensor<Shape, "bool">, distance, steps) as Tensor<Shape, "i32">;
  return transpose(gather(table, places) as Floats, [2, 0, 1]);
}
