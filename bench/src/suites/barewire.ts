// BAREWire beside its peers: messages, what lies in memory and is read in place, and channels.

import type { Bench } from "../measure.ts";
import { barewireChannels } from "./barewire-channels.ts";
import { barewireCodec } from "./barewire-codec.ts";
import { barewireViews } from "./barewire-views.ts";

/** Runs all of BAREWire's measurements, one table each. */
export async function barewire(bench: Bench): Promise<void> {
  await barewireCodec(bench);
  await barewireViews(bench);
  await barewireChannels(bench);
}
