// A file as records: its pages are mapped into the arena, a view reads and writes them in place, and `flush` makes the
// change durable. The file grows without moving, and a second mapping of it sees the same bytes.
// Run it: node packages/barewire/examples/mapped-file.ts

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { bare, layoutOf, SharedArena, viewOf } from "@fidelity/barewire";
import { mapFileWritable } from "@fidelity/barewire/node";

const reading = bare.struct({ time: bare.u64Safe, sensor: bare.u16, celsius: bare.f32 });
const layout = layoutOf(reading);
const folder = mkdtempSync(join(tmpdir(), "barewire-"));
const path = join(folder, "readings.bin");

{
  using arena = SharedArena.create();
  using file = mapFileWritable(path, arena, { sizeBytes: 100 * layout.sizeBytes, maximumBytes: 2 ** 20 });
  const readings = viewOf(layout).array(file.region, 100);
  for (let i = 0; i < readings.length; i++) {
    const one = readings.at(i); // the same view, seated again: no garbage in this loop
    one.time = 1000 + i;
    one.sensor = i % 4;
    one.celsius = 20 + i / 10;
  }
  file.flush();
  file.grow(200 * layout.sizeBytes); // the region before stays valid, and the new bytes are zero
  viewOf(layout).array(file.region, 200).at(150).celsius = -1;
}

using arena = SharedArena.create();
using again = mapFileWritable(path, arena);
const readings = viewOf(layout).array(again.region.asReadonly(), 200);
console.log(layout.sizeBytes, again.region.sizeBytes, readings.at(99).time, readings.at(150).celsius);
rmSync(folder, { recursive: true });

// Output:
// 16 3200 1099 -1
