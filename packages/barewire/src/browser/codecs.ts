// Messages in every place: the bytes of random values of random types, and the words in which damaged ones are refused.

import { BareError } from "../bare-io.ts";
import * as bare from "../bare.ts";
import { Chance, randomType, randomValue, TREE } from "./random.ts";
import { hex, refused, same } from "./suite.ts";
import type { Suite } from "./suite.ts";

const RANDOM_CASES = 400;
const DAMAGED_CASES = 200;

const EXTREMES: readonly (readonly [bare.Schema<unknown>, readonly unknown[]])[] = [
  [bare.u8, [0, 255]],
  [bare.i16, [-32768, 32767]],
  [bare.u64, [0n, 2n ** 64n - 1n]],
  [bare.i64, [-(2n ** 63n), 2n ** 63n - 1n]],
  [bare.uint, [0n, 127n, 128n, 2n ** 64n - 1n]],
  [bare.int, [0n, -1n, -(2n ** 63n), 2n ** 63n - 1n]],
  [bare.intSafe, [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]],
  [bare.f32, [-0, NaN, Infinity, 2 ** -149]],
  [bare.f64, [-0, NaN, -Infinity, 5e-324, Number.MAX_VALUE]],
  [bare.str, ["", "\u0000", "é".repeat(100), "😀".repeat(40), "\u{10ffff}"]],
  [bare.list(bare.u16), [new Uint16Array(0), Uint16Array.from({ length: 300 }, (_, i) => i)]],
];

export const codecs: Suite = {
  name: "codecs",
  sharesMemory: false,
  cases: {
    "random values of random types are written and read back": () => {
      const chance = new Chance(1);
      const messages: string[] = [];
      for (let i = 0; i < RANDOM_CASES; i++) {
        const type = i % 20 === 0 ? TREE : randomType(chance, i % 4);
        const value = randomValue(chance, type);
        const bytes = bare.encode<unknown>(type, value);
        same(bare.decode<unknown>(type, bytes), value, `value ${i}`);
        messages.push(hex(bytes));
      }
      return messages.join("\n");
    },
    "the ends of every range": () => {
      const messages: string[] = [];
      for (const [type, values] of EXTREMES) {
        for (const value of values) {
          const bytes = bare.encode<unknown>(type, value);
          same(bare.decode<unknown>(type, bytes), value, type.kind);
          messages.push(hex(bytes));
        }
      }
      return messages.join("\n");
    },
    "damaged messages are refused in the same words, or are the same values": () => {
      const chance = new Chance(2);
      const words: string[] = [];
      for (let i = 0; i < DAMAGED_CASES; i++) {
        const type = randomType(chance, 3);
        const whole = bare.encode<unknown>(type, randomValue(chance, type));
        const bytes = whole.slice(0, chance.bool() ? whole.length : chance.below(whole.length + 1));
        if (bytes.length > 0) bytes[chance.below(bytes.length)] = chance.below(256);
        try {
          words.push(hex(bare.encode<unknown>(type, bare.decode<unknown>(type, bytes))));
        } catch (error) {
          if (!(error instanceof BareError)) throw error;
          words.push(error.message);
        }
      }
      return words.join("\n");
    },
    "what is not canonical is refused": async () => {
      const wrong: readonly (readonly [bare.Schema<unknown>, number[]])[] = [
        [bare.uint, [0x80, 0x00]],
        [bare.str, [2, 0xc3, 0x28]],
        [bare.map(bare.u8, bare.u8), [2, 1, 1, 1, 2]],
        [bare.union({ a: [0, bare.u8], b: [2, bare.nothing] }), [1]],
        [bare.bool, [2]],
        [bare.u8, [1, 2]],
        [bare.list(bare.f64), [0xff, 0xff, 0xff, 0xff, 0x0f]],
      ];
      const messages: string[] = [];
      for (const [type, bytes] of wrong) {
        messages.push(await refused(() => bare.decode(type, Uint8Array.from(bytes)), BareError));
      }
      return messages.join("\n");
    },
  },
};
