// BAREWire beside its peers: what lies in memory and is read in place.

import type { Bench } from "../measure.ts";
import { barewireChannels } from "./barewire-channels.ts";
import { barewireViews } from "./barewire-views.ts";

/** Runs all of BAREWire's measurements, one table each. */
export async function barewire(bench: Bench): Promise<void> {
  await barewireViews(bench);
  await barewireChannels(bench);
}
