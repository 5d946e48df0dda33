// Hostile buffers for views: values of several schemas are built, mutated, and checked. A buffer that is refused must
// be refused by a ViewError; one that is accepted must be read, built again and read alike. A failure prints the seed
// and the bytes. Run it: node bench/src/fuzz/views.ts [BUFFERS [SEED]]; 10^7 buffers take some minutes.

import assert from "node:assert/strict";

import { bare, build, checkView, layoutOf, readValue, ViewError } from "@fidelity/barewire";
import type { BareType, Layout } from "@fidelity/barewire";

const MUTATIONS_MAX = 4;
/** Bytes that break things more often than others do. */
const SHARP = [0, 1, 2, 7, 8, 127, 128, 254, 255];

interface Target {
  readonly layout: Layout;
  readonly seed: Uint8Array;
}

function target<T>(layout: Layout<T>, value: T): Target {
  return { layout, seed: build(layout, value) };
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

/** Random whole numbers below a limit, the same for the same seed (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

function mutate(bytes: Uint8Array, random: (below: number) => number): Uint8Array {
  const changed = random(16) === 0 ? bytes.slice(0, random(bytes.length + 1)) : bytes.slice();
  if (changed.length === 0) return changed;
  for (let count = random(MUTATIONS_MAX) + 1; count > 0; count--) {
    const at = random(changed.length);
    const kind = random(3);
    if (kind === 0) changed[at] = SHARP[random(SHARP.length)];
    else if (kind === 1) changed[at] ^= 1 << random(8);
    else changed[at] = changed[random(changed.length)];
  }
  return changed;
}

/** Checks `count` mutated buffers; gives how many of them were accepted. Throws on the first that breaks the rules. */
export function fuzzViews(count: number, seed: number): number {
  const all = targets();
  const random = randomFrom(seed);
  let accepted = 0;
  for (let i = 0; i < count; i++) {
    const { layout, seed: whole } = all[i % all.length];
    const bytes = mutate(whole, random);
    try {
      checkView(layout, bytes);
    } catch (error) {
      if (error instanceof ViewError) continue;
      throw new Error(`seed ${seed}, buffer ${i}: ${[...bytes].join(" ")}`, { cause: error });
    }
    accepted++;
    const value = readValue(layout, bytes);
    assert.deepEqual(readValue(layout, build(layout, value)), value, `seed ${seed}, buffer ${i}`);
  }
  return accepted;
}

if (import.meta.main) {
  const [count = "1000000", seed = "1"] = process.argv.slice(2);
  const accepted = fuzzViews(Number(count), Number(seed));
  console.log(`${count} buffers from seed ${seed}: ${accepted} accepted, the others refused by name`);
}
