// The program of a web worker in a crew.

import type { Order } from "./crew.ts";
import { play } from "./roles.ts";

addEventListener("message", async ({ data }: MessageEvent<Order>) => postMessage(await play(data)));
