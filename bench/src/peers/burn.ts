// Load for a processor: counts until it is killed, or its parent is gone.

import { ppid } from "node:process";

const parent = ppid;
for (let count = 0; ; count++) {
  if (count % 1e8 === 0 && process.ppid !== parent) break;
}
