// A union: one of several shapes, told apart by a tag of one byte, and a discriminated union in TypeScript, so that the
// compiler knows the type behind each `kind` and complains where a case is forgotten.
// Run it: node packages/barewire/examples/union.ts

import { bare } from "@fidelity/barewire";

const shape = bare.union({
  circle: [0, bare.struct({ radius: bare.f64 })],
  rectangle: [1, bare.struct({ width: bare.f64, height: bare.f64 })],
  group: [2, bare.list(bare.lazy(() => shapeOf()))],
});
type Circle = { readonly kind: "circle"; readonly value: { readonly radius: number } };
type Rectangle = { readonly kind: "rectangle"; readonly value: { readonly width: number; readonly height: number } };
type Group = { readonly kind: "group"; readonly value: readonly Shape[] };
type Shape = Circle | Rectangle | Group;

// A type that contains itself is declared, since no compiler infers it.
function shapeOf(): bare.Schema<Shape> {
  return shape;
}

function area({ kind, value }: Shape): number {
  switch (kind) {
    case "circle":
      return Math.PI * value.radius ** 2;
    case "rectangle":
      return value.width * value.height;
    case "group":
      return value.reduce((sum, part) => sum + area(part), 0);
  }
}

const drawing: Shape = {
  kind: "group",
  value: [
    { kind: "circle", value: { radius: 1 } },
    { kind: "group", value: [{ kind: "rectangle", value: { width: 2, height: 3 } }] },
  ],
};
const bytes = bare.encode(shapeOf(), drawing);
console.log("bytes:", bytes.length);
console.log("area:", area(bare.decode(shapeOf(), bytes)).toFixed(3));

// Output:
// bytes: 30
// area: 9.142
