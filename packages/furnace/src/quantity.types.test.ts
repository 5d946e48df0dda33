// Type tests: the compiler checks this file, and it does nothing when run. `Is<A, B>` is true only for identical types.

import { add, mul } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import type { DivideUnits, MultiplyUnits, Unit, UnitOf } from "@fidelity/units";
import { grad, quantity, valueAndGrad } from "./index.ts";
import type { Measured } from "./index.ts";

type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;

export type Units = [
  Expect<Is<DivideUnits<UnitOf<"J">, UnitOf<"m">>, UnitOf<"N">>>,
  Expect<Is<DivideUnits<UnitOf<"N">, UnitOf<"m">>, UnitOf<"N/m">>>,
  Expect<Is<MultiplyUnits<UnitOf<"V">, UnitOf<"A">>, UnitOf<"W">>>,
  Expect<Is<MultiplyUnits<UnitOf<"ohm">, UnitOf<"A">>, UnitOf<"V">>>,
  Expect<Is<DivideUnits<UnitOf<"C">, UnitOf<"s">>, UnitOf<"A">>>,
];

type Vector = Tensor<readonly [3], "f64">;
type Of<T extends Tensor> = T extends Measured<Tensor, infer U extends Unit> ? U : never;

/** The energy of a spring, E = k x^2 / 2. */
export function energy(x: Measured<Vector, "m">, k: Measured<Vector, "N/m">) {
  return quantity.scale(quantity.sum(quantity.mul(k, quantity.mul(x, x))), 0.5);
}

export function forces(x: Measured<Vector, "m">, k: Measured<Vector, "N/m">) {
  return grad(energy)(x, k);
}

/** One tree of lengths and times. */
interface State {
  readonly [key: string]: Tensor;
  readonly length: Measured<Vector, "m">;
  readonly time: Measured<Vector, "s">;
  readonly plain: Vector;
}

export function speed({ length, time }: State) {
  return quantity.sum(quantity.div(length, time));
}

export type Gradients = [
  Expect<Is<Of<ReturnType<typeof energy>>, UnitOf<"J">>>,
  Expect<Is<Of<ReturnType<typeof forces>>, UnitOf<"N">>>,
  Expect<ReturnType<typeof forces> extends Measured<Vector, "N"> ? true : false>,
  Expect<ReturnType<typeof forces> extends Measured<Vector, "J"> ? false : true>,
];

export function slopes(state: State) {
  const { value, grad: slope } = valueAndGrad(speed)(state);
  const known: [Measured<Tensor<readonly [], "f64">, "m/s">, Measured<Vector, "Hz">, Measured<Vector, "m/s^2">] = [
    value,
    slope.length,
    slope.time,
  ];
  return known;
}

export function wrong(x: Measured<Vector, "m">, t: Measured<Vector, "s">, k: Measured<Vector, "N/m">): unknown {
  const force: Measured<Vector, "N"> = grad(energy)(x, k);
  // @ts-expect-error metres and seconds do not add
  const sum = quantity.add(x, t);
  // @ts-expect-error the gradient is in newtons
  const joules: Measured<Vector, "J"> = grad(energy)(x, k);
  // @ts-expect-error the spring's stiffness is no length
  const swapped = energy(k, x);
  // A plain function takes measured tensors, and forgets the unit.
  const plain: Vector = add(mul(x, t), x);
  return [force, sum, joules, swapped, plain];
}
