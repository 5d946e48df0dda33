// Stop strings over any cut of the text into pieces, and how texts begin.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteTokenizer, CharacterTokenizer } from "@fidelity/models";
import fc from "fast-check";
import { beginText, StopFilter } from "./text-stream.ts";

const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 12 });

test("however a text is cut, what passes is the text up to the first stop string", () => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), fc.array(word, { maxLength: 3 }), (pieces, stops) => {
      const filter = new StopFilter(stops);
      let shown = "";
      for (const piece of pieces) shown += filter.push(piece);
      shown += filter.end();
      const text = pieces.join("");
      const hits = stops.filter((stop) => stop !== "").map((stop) => text.indexOf(stop));
      const found = hits.filter((at) => at >= 0);
      assert.equal(filter.found !== undefined, found.length > 0);
      // A stop that ends earlier may hide one that starts earlier, and then the text is cut no later than there.
      if (found.length === 0) assert.equal(shown, text);
      else assert.ok(text.startsWith(shown) && shown.length >= Math.min(...found));
      if (stops.length === 1 && found.length > 0) assert.equal(shown, text.slice(0, found[0]));
    }),
  );
});

test("text that cannot become a stop string passes at once", () => {
  const filter = new StopFilter(["\n\n"]);
  assert.deepEqual([filter.push("a line"), filter.push("\n"), filter.push("b")], ["a line", "", "\nb"]);
});

test("without a prompt a text begins after a newline, or after token 0 where there is none", () => {
  assert.deepEqual(beginText(new ByteTokenizer(), ""), Int32Array.of(10));
  assert.deepEqual(beginText(new CharacterTokenizer("abc"), ""), Int32Array.of(0));
  assert.deepEqual(beginText(new CharacterTokenizer("abc"), "cab"), Int32Array.of(2, 0, 1));
});
