import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { detectFormat, writeLlama2c } from "./index.ts";

const text = (value: string): Uint8Array => Uint8Array.from(value, (character) => character.charCodeAt(0));

test("known and foreign files are told apart by their first bytes", () => {
  const header = {
    dim: 2,
    hiddenDim: 1,
    layerCount: 123,
    headCount: 1,
    keyValueHeadCount: 1,
    vocabSize: 1,
    contextLength: 1,
    tiedEmbeddings: true,
  };
  const elementCount = (name: string): number => (/query|key|value|output/.test(name) ? 4 : 2);
  const llama2c = writeLlama2c(header, (name) => new Float32Array(elementCount(name)));
  const cases: readonly (readonly [bytes: Uint8Array, format: string, seen: RegExp])[] = [
    [llama2c, "llama2c", /llama2\.c version 0/],
    [llama2c.subarray(0, 40), "llama2c", /llama2\.c/], // truncated: the reader says how
    [text("FIDELITY\x01\0\0\0"), "fidelity", /Fidelity/],
    [text("GGUF\x03\0\0\0"), "gguf", /GGUF/],
    [text('\x40\0\0\0\0\0\0\0{"a"'), "safetensors", /safetensors/],
    [text("24ka\x02\0\0\0" + "\0".repeat(40)), "unknown", /version 2/],
    [text("PK\x03\x04rest"), "unknown", /zip/],
    [text("Once upon a time, there was"), "unknown", /plain text \("Once upon/],
    [text("\0\x01"), "unknown", /only 2 bytes/],
    [text("\xff".repeat(64)), "unknown", /ff ff ff/],
    [new Uint8Array(0), "unknown", /empty/],
  ];
  for (const [bytes, format, seen] of cases) {
    const detected = detectFormat(bytes);
    assert.equal(detected.format, format, detected.seen);
    assert.match(detected.seen, seen);
  }
});

test("no bytes make detection fail", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => detectFormat(bytes).seen.length > 0));
});
