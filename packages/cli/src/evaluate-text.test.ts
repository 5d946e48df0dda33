// Windows cover a text: every token is scored, and few of them twice.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { spreadWindows } from "./evaluate-text.ts";

const lengths = fc.record({ tokenCount: fc.integer({ min: 2, max: 3000 }), context: fc.integer({ min: 1, max: 200 }) });

test("every token but the first is a target of some window, and windows stay inside the text", () => {
  fc.assert(
    fc.property(lengths, ({ tokenCount, context }) => {
      const { starts, contextLength, batchSize } = spreadWindows(tokenCount, context);
      const isTarget = new Set(
        starts.flatMap((start) => Array.from({ length: contextLength }, (_, i) => start + 1 + i)),
      );
      assert.equal(isTarget.size, tokenCount - 1);
      assert.equal(Math.max(...isTarget), tokenCount - 1);
      assert.equal(starts.length % batchSize, 0);
      assert.ok(starts.length * contextLength < tokenCount + contextLength * (1 + starts.length / batchSize));
    }),
  );
});

test("a limit takes windows from the whole range, first and last included", () => {
  const { starts, contextLength } = spreadWindows(10_001, 100, 1000);
  assert.deepEqual([starts.length, contextLength, starts[0], starts[9]], [10, 100, 0, 9900]);
});
