// Type tests: the compiler checks this file, and it does nothing when run. What must not compile stands behind a mark;
// a mark before something that compiles is itself an error.

import type { Addr, Bytes } from "@fidelity/units";

import type { ArenaScope } from "../memory/scope.ts";
import { minus, plus } from "../memory/arithmetic.ts";
import { copyRegion } from "../memory/copies.ts";
import type { GpuRegion } from "../memory/gpu.ts";
import type { Region } from "../region.ts";
import type { Typed } from "../schema/ast.ts";
import { layoutOf } from "../layout/layout.ts";
import type { ListView, NumbersView, UnionView, View } from "./types.ts";
import { match, select, viewOf } from "./view.ts";
import type { ViewClass } from "./view.ts";

type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Expect<T extends true> = T;

type Shape =
  | { readonly kind: "circle"; readonly value: { readonly radius: number } }
  | { readonly kind: "square"; readonly value: number };

interface Scene {
  readonly name: string;
  readonly size: number;
  readonly parent: number | undefined;
  readonly shapes: readonly Shape[];
  readonly samples: Float32Array<ArrayBuffer>;
  readonly first: Shape | undefined;
  readonly tagged: { readonly kind: string; readonly value: number };
}

type Writable = View<Scene>;
type Readable = View<Scene, "r">;

export type Cases = [
  Expect<Is<Writable["size"], number>>,
  Expect<Is<Writable["parent"], number | undefined>>,
  Expect<Is<Writable["shapes"], ListView<Shape, "rw">>>,
  Expect<Is<Readable["samples"], NumbersView<Float32Array, "r">>>,
  Expect<Is<ReturnType<Writable["samples"]["array"]>, Float32Array>>,
  Expect<Is<Writable["first"], UnionView<Shape, "rw"> | undefined>>,
  Expect<Is<Writable["tagged"]["kind"], string>>,
];

declare const scenes: ViewClass<Scene>;
declare const type: Typed<Scene>;
declare const shared: Region<"shared", "rw">;
declare const mapped: Region<"mapped", "r">;
declare const onGpu: Region<"gpu", "rw">;
declare const buffer: GpuRegion<"gpu">;
declare const size: Bytes;
declare const position: Addr;
declare const scope: ArenaScope;

/** A GPU's bytes are not the CPU's. Never called. */
export async function gpuMemory(): Promise<void> {
  // @ts-expect-error a region in GPU memory gives no typed arrays
  onGpu.f32();
  // @ts-expect-error nor views
  scenes.over(onGpu);
  // @ts-expect-error nor can it be copied from
  copyRegion(onGpu, shared);
  // @ts-expect-error the GPU owns the buffer
  buffer.bytes();
  const mine = await buffer.toCpu("r");
  mine.bytes().f32();
  // @ts-expect-error it was mapped for reading
  mine.bytes().f32()[0] = 1;
  // @ts-expect-error the CPU owns it already
  void mine.toCpu("r");
}

/** What may be read only. Never called. */
export function readOnly(): void {
  // @ts-expect-error a mapped file that is read-only is not written to
  copyRegion(shared, mapped);
  // @ts-expect-error nor are its typed arrays
  mapped.u8()[0] = 1;
  const view = scenes.over(mapped);
  const writable = scenes.over(shared);
  writable.size = view.size;
  writable.samples.set(0, 1);
  writable.samples.array()[0] = 1;
  // @ts-expect-error a view of a read-only region has no setters
  view.size = 1;
  // @ts-expect-error nor have its lists
  view.samples.set(0, 1);
  // @ts-expect-error nor have their arrays
  view.samples.array()[0] = 1;
  // @ts-expect-error no other member can be selected
  select(view.shapes.at(0), "circle");
  // @ts-expect-error a part is written into, not replaced
  writable.shapes = view.shapes;
  // @ts-expect-error text is not a number
  writable.size = "1";
}

/** Sizes and addresses. Never called. */
export function arithmetic(): unknown[] {
  const sum: Bytes = plus(size, size);
  const next: Addr = plus(position, size);
  const distance: Bytes = minus(next, position);
  // @ts-expect-error an address and an address add up to nothing
  plus(position, position);
  // @ts-expect-error a size has no address to be added to it
  plus(size, position);
  // @ts-expect-error an address less a size is an address
  const wrong: Bytes = minus(position, size);
  // @ts-expect-error a size less an address is nothing
  minus(size, position);
  // @ts-expect-error a part of a region starts a size after its start, not at an address
  shared.sub(position, size);
  shared.sub(size, 64);
  // @ts-expect-error a region's address is no size
  const swapped: Bytes = shared.byteOffset;
  return [sum, distance, wrong, swapped];
}

/** Unions. Never called. */
export function unions(shape: UnionView<Shape, "rw">): number {
  const area: number = match(shape, { circle: (circle) => circle.radius, square: (side) => side });
  // @ts-expect-error the case of a square is missing
  match(shape, { circle: (circle: { readonly radius: number }) => circle.radius });
  // @ts-expect-error a circle has a radius and no side
  match(shape, { circle: (circle) => circle.side, square: () => 0 });
  // @ts-expect-error there is no triangle
  select(shape, "triangle");
  select(shape, "circle").radius = 2;
  return area;
}

/** Types follow from schemas. Never called. */
export function inferred(): string {
  const view = viewOf(layoutOf(type)).over(shared);
  // @ts-expect-error there is no such field
  void view.width;
  const scoped: Region<"shared", "rw"> = scope.alloc(64);
  return view.name + String(scoped.sizeBytes);
}
