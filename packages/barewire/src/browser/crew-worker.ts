// The program of a web worker in a crew.

import type { Order } from "./crew.ts";
import { play } from "./roles.ts";

addEventListener("message", ({ data }: MessageEvent<Order>) => void play(data).then((reply) => postMessage(reply)));
