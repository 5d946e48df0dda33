import assert from "node:assert/strict";
import { test } from "node:test";

import { Region, RegionError } from "./region.ts";

test("views of a region share its bytes and are made once", () => {
  const bytes = new Uint8Array(64);
  const region = Region.over(bytes);
  region.f32()[1] = 1.5;
  assert.deepEqual([...bytes.subarray(4, 8)], [0, 0, 0xc0, 0x3f]);
  assert.equal(region.f32(), region.f32());
  region.i8()[0] = -1;
  assert.equal(region.u8()[0], 255);
  assert.equal(region.i32()[1], 0x3fc00000);
  assert.equal(region.f64().length, 8);
});

test("a part of a region is a region over the same bytes", () => {
  const region = Region.over(new Uint8Array(256).subarray(64, 192));
  const part = region.sub(32, 16);
  assert.equal(part.byteOffset, 96);
  part.u8().fill(9);
  assert.deepEqual([region.u8()[31], region.u8()[32], region.u8()[47], region.u8()[48]], [0, 9, 9, 0]);
});

test("ranges outside and views off their alignment are refused", () => {
  const region = Region.over(new ArrayBuffer(64));
  for (const [offset, size] of [
    [60, 5],
    [-1, 4],
    [0, -1],
    [0.5, 4],
    [0, Number.NaN],
    [2 ** 60, 4],
  ] as const) {
    assert.throws(() => region.sub(offset, size), RegionError, `${offset}, ${size}`);
  }
  assert.equal(region.sub(64, 0).u8().length, 0);
  assert.throws(() => region.sub(2, 8).f32(), /multiples of 4[\s\S]*offset 2, size 8/);
  assert.throws(() => region.sub(8, 12).f64(), /multiples of 8/);
});

test("a read-only region gives views without setters", () => {
  const region = Region.over(new ArrayBuffer(16)).asReadonly();
  const view = region.f32();
  // @ts-expect-error a read-only view has no assignable elements
  view[0] = 1;
  // @ts-expect-error nor a fill
  assert.equal(typeof view.fill, "function");
  // @ts-expect-error a read-only region is no writable one
  const writable: Region<"cpu", "rw"> = region;
  assert.equal(writable.access, "r");
  const anyRegion: Region = Region.over(new ArrayBuffer(16));
  assert.equal(anyRegion.f32()[0], 0);
});
