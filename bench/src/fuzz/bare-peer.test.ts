import assert from "node:assert/strict";
import { test } from "node:test";

import { fuzzAgainstPeer } from "./bare-peer.ts";

test("random values have the bytes that @bare-ts/lib writes, and damaged messages are refused by name or read", async () => {
  const refused = await fuzzAgainstPeer(2000, 5);
  assert.ok(refused > 200 && refused < 1900, `${refused}`);
});
