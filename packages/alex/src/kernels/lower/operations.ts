// Single operations of kernels as loop IR, on scalars and vectors alike. What the loop IR lacks (rounding up, signs,
// choice between masks) is written with what it has, as JavaScript defines it.

import { cosOf, expOf, logOf, loopType, sinOf, tanhOf } from "@fidelity/core";
import type { KernelBuilder, LoopKind, LoopType, LoopValue } from "@fidelity/core";
import type { BinaryOp, CompareOp, ScalarType, UnaryOp } from "../ir/kernel_ir.ts";

const KINDS: Readonly<Record<ScalarType, LoopKind>> = { bool: "mask", i32: "i32", f32: "f32", f64: "f64" };

/** The loop type of `lanes` values. */
export function typeOf(type: ScalarType, lanes = 1): LoopType {
  return loopType(KINDS[type], lanes);
}

/** A constant in every lane. */
export function constantOf(k: KernelBuilder, type: ScalarType, value: number, lanes = 1): LoopValue {
  // Masks have constants as scalars only.
  if (type === "bool") return k.splat(k.constant(typeOf("bool"), value === 0 ? 0 : 1), lanes);
  return k.constant(typeOf(type, lanes), value);
}

function like(k: KernelBuilder, a: LoopValue, value: number): LoopValue {
  return k.constant(a.type, value);
}

export function unaryOf(k: KernelBuilder, op: UnaryOp, a: LoopValue): LoopValue {
  const isInteger = a.type.kind === "i32";
  switch (op) {
    case "neg":
      return k.unary("neg", a);
    case "abs":
    case "sqrt":
    case "not":
      return k.unary(op, a);
    case "floor":
      return isInteger ? a : k.unary("floor", a);
    case "ceil":
      return isInteger ? a : ceilOf(k, a);
    case "trunc":
      return isInteger ? a : k.select(k.compare("lt", a, like(k, a, 0)), ceilOf(k, a), k.unary("floor", a));
    case "round": {
      if (isInteger) return a;
      // Halves go up, as in JavaScript.
      const down = k.unary("floor", a);
      return k.select(k.compare("ge", k.sub(a, down), like(k, a, 0.5)), k.add(down, like(k, a, 1)), down);
    }
    case "sign": {
      // Zeros and NaN are their own signs.
      const below = k.select(k.compare("lt", a, like(k, a, 0)), like(k, a, -1), a);
      return k.select(k.compare("gt", a, like(k, a, 0)), like(k, a, 1), below);
    }
    case "exp":
      return expOf(k, a);
    case "log":
      return logOf(k, a);
    case "tanh":
      return tanhOf(k, a);
    case "sin":
      return sinOf(k, a);
    case "cos":
      return cosOf(k, a);
  }
}

function ceilOf(k: KernelBuilder, a: LoopValue): LoopValue {
  return k.unary("neg", k.unary("floor", k.unary("neg", a)));
}

/** Shift counts are scalars. */
export function binaryOf(k: KernelBuilder, op: BinaryOp, a: LoopValue, b: LoopValue): LoopValue {
  return k.binary(op, a, b);
}

export function compareOf(k: KernelBuilder, op: CompareOp, a: LoopValue, b: LoopValue): LoopValue {
  return k.compare(op, a, b);
}

/** One of two values; both are there already. */
export function selectOf(k: KernelBuilder, mask: LoopValue, a: LoopValue, b: LoopValue): LoopValue {
  if (a.type.kind !== "mask") return k.select(mask, a, b);
  return k.binary("or", k.binary("and", mask, a), k.binary("and", k.unary("not", mask), b));
}

/** Booleans become 0 and 1. */
export function convertOf(k: KernelBuilder, type: ScalarType, a: LoopValue): LoopValue {
  const to = typeOf(type, a.type.lanes);
  if (a.type === to) return a;
  if (a.type.kind === "mask") return k.select(a, k.constant(to, 1), k.constant(to, 0));
  return k.convert(to, a);
}
