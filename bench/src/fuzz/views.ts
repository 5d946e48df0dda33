// Hostile buffers for views: values of several schemas are built, damaged, and checked. A buffer that is refused must
// be refused by a ViewError; one that is accepted must be read, built again and read alike.

import assert from "node:assert/strict";

import { bare, build, checkView, layoutOf, readValue, ViewError } from "@fidelity/barewire";
import type { BareType, Layout } from "@fidelity/barewire";
import { withinBytes } from "./allocation.ts";
import { mutateBytes } from "./mutate.ts";
import { randomFor } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

/** What a byte of a buffer may cost to check. */
const BYTES_PER_BYTE = 512;

interface Target {
  readonly layout: Layout;
  readonly whole: Uint8Array;
}

function target<T>(layout: Layout<T>, value: T): Target {
  return { layout, whole: build(layout, value) };
}

interface Tree {
  readonly name: string;
  readonly children: readonly Tree[];
  readonly left: Tree | undefined;
}

function targets(): Target[] {
  const point = bare.struct({ x: bare.f32, y: bare.optional(bare.u16), tag: bare.enumeration({ a: 1, b: 300 }) });
  const shape = bare.union({
    circle: [0, bare.struct({ radius: bare.f64 })],
    name: [3, bare.str],
    none: [9, bare.nothing],
  });
  const mixed = bare.struct({
    text: bare.str,
    points: bare.list(point),
    shapes: bare.list(shape),
    counts: bare.map(bare.str, bare.u64Safe),
    bytes: bare.data,
    flags: bare.list(bare.bool),
    trits: bare.list(bare.i8),
  });
  const value: bare.TypeOf<typeof mixed> = {
    text: "café",
    points: [
      { x: 1, y: 2, tag: "a" },
      { x: 3, y: undefined, tag: "b" },
    ],
    shapes: [
      { kind: "circle", value: { radius: 1 } },
      { kind: "name", value: "n" },
      { kind: "none", value: undefined },
    ],
    counts: new Map([
      ["one", 1],
      ["two", 2],
    ]),
    bytes: Uint8Array.of(1, 2, 3),
    flags: [true, false, true],
    trits: Int8Array.of(-1, 0, 1, 1, 0, -1),
  };
  const packed = { flags: { packing: "bits" }, trits: { packing: "ternary-1.6bit" }, points: { soa: true } } as const;
  const tree: BareType = {
    kind: "struct",
    fields: [
      { name: "name", type: { kind: "str" } },
      { name: "children", type: { kind: "list", type: { kind: "alias", name: "Tree", target: () => tree } } },
      { name: "left", type: { kind: "optional", type: { kind: "alias", name: "Tree", target: () => tree } } },
    ],
  };
  const leaf: Tree = { name: "leaf", children: [], left: undefined };
  const twig: Tree = { name: "", children: [leaf, leaf], left: leaf };
  return [
    target(layoutOf(mixed), value),
    target(layoutOf(mixed, { order: "packed", tailAlignBytes: 8, paths: packed }), value),
    target(layoutOf<Tree>(tree), { ...twig, children: [twig, leaf] }),
  ];
}

/** Buffers, which are views or refused. */
export const views: FuzzTarget = {
  name: "views",
  about: "damaged buffers are refused by ViewError, or read as values that are built alike",
  open(seed) {
    const all = targets();
    return {
      run(index) {
        const { layout, whole } = all[index % all.length];
        const bytes = mutateBytes(whole, randomFor(seed, index));
        try {
          withinBytes(BYTES_PER_BYTE * bytes.length, () => checkView(layout, bytes));
        } catch (error) {
          if (error instanceof ViewError) return `refused: ${error.summary}`;
          throw new Error(`the buffer ${[...bytes].join(" ")}`, { cause: error });
        }
        const value = readValue(layout, bytes);
        assert.deepEqual(readValue(layout, build(layout, value)), value);
        return "read, and built alike";
      },
    };
  },
};
