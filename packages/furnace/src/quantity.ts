// Tensors that carry a physical unit in their type, and the units of derivatives: the gradient of joules by metres is
// in newtons, and what takes it for something else does not compile. Erased at run time: a measured tensor is the
// tensor.
// Arithmetic that knows units is here; every other function takes a measured tensor for a plain one and gives one.

import { add, div, mul, neg, reduceSum, sub } from "@fidelity/core";
import type { Broadcast, Dtype, Shape, Tensor } from "@fidelity/core";
import type { DivideUnits, MultiplyUnits, Unit, UnitName, UnitOf } from "@fidelity/units";
import type { Tangent } from "./tangent.ts";

/** A tensor whose numbers are in unit `U`. */
export type Measured<T extends Tensor, U extends UnitName | Unit> = T & { readonly _unit: UnitOf<U> };

type Numbers<S extends Shape, D extends Dtype, U extends Unit> = Tensor<S, D> & { readonly _unit: U };

/**
 * The derivatives of a `V` in the leaves of `P`. Where `V` has a unit, those have the quotient of it and of the leaf's
 * (a leaf without a unit counts as a plain number).
 */
export type Slope<V, P> = V extends { readonly _unit: infer U extends Unit } ? Quotients<U, P> : Tangent<P>;

type Quotients<U extends Unit, P> = P extends Tensor & { readonly _unit: infer W extends Unit }
  ? Tangent<P> & { readonly _unit: DivideUnits<U, W> }
  : P extends Tensor
    ? Tangent<P> & { readonly _unit: U }
    : P extends readonly unknown[] | { readonly [key: string]: unknown }
      ? { [K in keyof P]: Quotients<U, P[K]> }
      : P;

/** Functions of measured tensors. */
export const quantity = {
  /** `x` as numbers in a unit: `quantity.of(x, "m")`. */
  of<S extends Shape, D extends Dtype, U extends UnitName>(x: Tensor<S, D>, _unit: U): Numbers<S, D, UnitOf<U>> {
    return x as Numbers<S, D, UnitOf<U>>;
  },

  /** The sum of two tensors in one unit. */
  add<A extends Shape, B extends Shape, D extends Dtype, U extends Unit>(
    a: Numbers<A, D, U>,
    b: Tensor<B, NoInfer<D>> & { readonly _unit: NoInfer<U> },
  ): Numbers<Broadcast<A, B>, D, U> {
    return add(a as Tensor, b as never) as unknown as Numbers<Broadcast<A, B>, D, U>;
  },

  /** The difference of two tensors in one unit. */
  sub<A extends Shape, B extends Shape, D extends Dtype, U extends Unit>(
    a: Numbers<A, D, U>,
    b: Tensor<B, NoInfer<D>> & { readonly _unit: NoInfer<U> },
  ): Numbers<Broadcast<A, B>, D, U> {
    return sub(a as Tensor, b as never) as unknown as Numbers<Broadcast<A, B>, D, U>;
  },

  /** The product, in the product of the units. */
  mul<A extends Shape, B extends Shape, D extends Dtype, U extends Unit, W extends Unit>(
    a: Numbers<A, D, U>,
    b: Numbers<B, NoInfer<D>, W>,
  ): Numbers<Broadcast<A, B>, D, MultiplyUnits<U, W>> {
    return mul(a as Tensor, b as never) as unknown as Numbers<Broadcast<A, B>, D, MultiplyUnits<U, W>>;
  },

  /** The quotient, in the quotient of the units. */
  div<A extends Shape, B extends Shape, D extends Dtype, U extends Unit, W extends Unit>(
    a: Numbers<A, D, U>,
    b: Numbers<B, NoInfer<D>, W>,
  ): Numbers<Broadcast<A, B>, D, DivideUnits<U, W>> {
    return div(a as Tensor, b as never) as unknown as Numbers<Broadcast<A, B>, D, DivideUnits<U, W>>;
  },

  /** `x` times a plain number. */
  scale<S extends Shape, D extends Dtype, U extends Unit>(x: Numbers<S, D, U>, by: number): Numbers<S, D, U> {
    return mul(x as Tensor<S, D>, by) as unknown as Numbers<S, D, U>;
  },

  neg<S extends Shape, D extends Dtype, U extends Unit>(x: Numbers<S, D, U>): Numbers<S, D, U> {
    return neg(x as Tensor as never) as unknown as Numbers<S, D, U>;
  },

  /** The sum of all numbers. */
  sum<D extends Dtype, U extends Unit>(x: Numbers<Shape, D, U>): Numbers<readonly [], D, U> {
    return reduceSum(x as Tensor as never) as unknown as Numbers<readonly [], D, U>;
  },
};
