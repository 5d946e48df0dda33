// Memory that threads share, in every place: arenas, scopes, messages and views over them, and the account of copies.

import { ArenaError, LeakError, SharedArena } from "../arena.ts";
import * as bare from "../bare.ts";
import { layoutOf } from "../layout/layout.ts";
import { assertNoCopies, copies, CopyError, copyRegion, copyTotals } from "../memory/copies.ts";
import { Region, RegionError } from "../region.ts";
import { copyOf, match, readValue, viewOf } from "../view/view.ts";
import { build, buildInto } from "../view/write.ts";
import { Chance, randomType, randomValue } from "./random.ts";
import { holds, refused, same } from "./suite.ts";
import type { Suite } from "./suite.ts";
import { drawing, scene } from "./views.ts";

const RANDOM_CASES = 100;

export const memory: Suite = {
  name: "memory",
  sharesMemory: true,
  cases: {
    "messages are written into shared memory and read from it": () => {
      using arena = SharedArena.create();
      using region = arena.alloc(2 ** 16);
      const chance = new Chance(4);
      for (let i = 0; i < RANDOM_CASES; i++) {
        const type = randomType(chance, i % 4);
        const value = randomValue(chance, type);
        const sizeBytes = bare.compile<unknown>(type).encodeInto(value, region.u8());
        const bytes = region.u8().subarray(0, sizeBytes);
        same(new Uint8Array(bytes), new Uint8Array(bare.encode<unknown>(type, value)), `message ${i}`);
        same(bare.decode<unknown>(type, bytes), value, `value ${i}`);
      }
    },
    "values are built in shared memory and read in place": async () => {
      using arena = SharedArena.create();
      using region = arena.alloc(4096);
      const layout = layoutOf(scene);
      same(buildInto(layout, drawing, region), build(layout, drawing).length);
      const view = viewOf(layout).checked(region);
      same(view.name, drawing.name);
      same(copyOf(view.shapes.at(0)), drawing.shapes[0]);
      const radius = match(view.shapes.at(0), { circle: (it) => it.radius, square: (it) => it, nothing: () => 0 });
      same(radius, 2);
      view.samples.array()[0] = 10;
      same(readValue(layout, region), { ...drawing, samples: Float32Array.of(10, 2, 3, 4) });
      holds(view.samples.array().buffer === arena.memory.buffer, "numbers lie in the arena's memory");
      arena.free(region);
      return await refused(() => viewOf(layout).over(region), RegionError);
    },
    "views stay valid when the memory grows": () => {
      using arena = SharedArena.create({ initialBytes: 2 ** 16, maximumBytes: 2 ** 25 });
      using first = arena.alloc(64);
      const numbers = first.f32();
      numbers[0] = 7;
      using second = arena.alloc(2 ** 24);
      second.u8()[2 ** 24 - 1] = 1;
      numbers[1] = 8;
      same([...first.f32().subarray(0, 2)], [7, 8]);
    },
    "what a scope allocates is freed with it, and a leak is told": async () => {
      const arena = SharedArena.create();
      const step = arena.scope("step");
      const [lost, kept] = [step.alloc(100), step.alloc(64, 64, "kept")];
      step.keep(kept);
      step[Symbol.dispose]();
      same([lost.isAlive, kept.isAlive, arena.liveCount], [false, true, 1]);
      const messages = [
        await refused(() => step.alloc(1), ArenaError),
        await refused(() => lost.u8(), RegionError),
        await refused(() => arena[Symbol.dispose](), LeakError),
      ];
      return messages.join("\n");
    },
    "copies between regions are counted, listed and ruled out": async () => {
      using arena = SharedArena.create();
      using shared = arena.alloc(64);
      const own = Region.over(new Uint8Array(16).fill(7));
      const before = copyTotals();
      copyRegion(own, shared, "upload");
      same(shared.u8()[15], 7);
      same(copies().at(-1), { from: "cpu", to: "shared", sizeBytes: 16, label: "upload" });
      same(copyTotals().crossingBytes - before.crossingBytes, 16);
      same(
        assertNoCopies(() => viewOf(layoutOf(bare.struct({ first: bare.u8 }))).over(shared).first),
        7,
      );
      return await refused(() => assertNoCopies(() => copyRegion(own, shared, "hot path")), CopyError);
    },
    "a worker sees the arena": async ({ crew }) => {
      using arena = SharedArena.create();
      using region = arena.alloc(64);
      const counter = region.i32();
      const { byteOffset } = region;
      const job = crew.start("count", { memory: arena.memory, byteOffset, times: 1000 });
      for (let i = 0; i < 1000; i++) Atomics.add(counter, 0, 1);
      await job.result;
      same(counter[0], 2000);
    },
  },
};
