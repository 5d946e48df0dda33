import assert from "node:assert/strict";
import { test } from "node:test";

import { fuzzViews } from "./views.ts";

test("mutated buffers are refused by name or read as values, and some are either", () => {
  const accepted = fuzzViews(6000, 7);
  assert.ok(accepted > 600 && accepted < 5400, `${accepted}`);
});
