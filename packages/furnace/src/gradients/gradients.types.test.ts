// What the compiler knows of gradients: shapes and dtypes of the leaves, and what each variant holds.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inTrace, parameter, reduceSum, square, tensorType } from "@fidelity/core";
import type { Tensor } from "@fidelity/core";
import { gradients, materialise, materialiseTree } from "../index.ts";
import type { Gradient, GradientKind, GradientOf } from "../index.ts";

type Params = {
  readonly table: Tensor<readonly [5, 3], "f32">;
  readonly scales: readonly [Tensor<readonly [3], "f64">, Tensor<readonly [2], "bf16">];
};

/** Compiles only where both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_same: Same<A, B>): void {}

test("gradients have the shapes and dtypes of what they belong to, and kinds tell variants apart", () => {
  inTrace(() => {
    const table = parameter("table", tensorType("f32", [5, 3])) as Params["table"];
    const found = gradients((x: Params["table"]) => reduceSum(square(x)) as Tensor<readonly [], "f32">)(table);
    same<typeof found.gradients, Gradient<readonly [5, 3], "f32">>(true);
    const whole = materialise(found.gradients);
    same<typeof whole, Tensor<readonly [5, 3], "f32">>(true);
    assert.deepEqual(whole.shape, [5, 3]);
    assert.equal(materialiseTree({ w: [found.gradients] }).w[0], whole);

    const { gradients: slope } = found;
    if (slope.kind === "sparse") same<typeof slope.indices, Tensor<readonly (string | number)[], "i32">>(true);
    // @ts-expect-error a gradient is not known to be sparse before its kind is
    assert.equal(slope.indices, undefined);
    // @ts-expect-error a tensor of another shape
    const other: Tensor<readonly [3, 5], "f32"> = whole;
    assert.equal(other, whole);
  });
});

test("trees of gradients are trees of variants, and a switch over kinds is complete", () => {
  type Found = ReturnType<ReturnType<typeof gradients<[Params], Tensor<readonly [], "f32">>>>["gradients"];
  same<Found["scales"][0], Gradient<readonly [3], "f64">>(true);
  same<Found["scales"][1], Gradient<readonly [2], "f32">>(true);
  type Whole = ReturnType<typeof materialiseTree<Found>>;
  same<Whole["scales"][1], Tensor<readonly [2], "f32">>(true);
  const held: { readonly [K in GradientKind]: keyof GradientOf<K> } = {
    zero: "type",
    dense: "value",
    sparse: "last",
    lowRank: "left",
    diagonal: "values",
    ternary: "votes",
    structured: "pattern",
  };
  assert.equal(Object.keys(held).length, 7);
});
