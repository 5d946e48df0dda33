// Hostile GGUF files: headers as lists of fields, which are changed, moved and repeated, and bytes.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { FormatError, InvalidTensorError, readGguf, tensorSizeBytes, writeGguf } from "@fidelity/formats";
import type { GgufSource, SourceDtype } from "@fidelity/formats";
import { withinBytes } from "./allocation.ts";
import { BYTES_PER_BYTE, checkOnDisk, checkReading, outcome, refusalWord, told } from "./model-files.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor, randomSize } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const FILE_EVERY = 256;

/** GGUF files, which are read or refused. */
export const ggufFiles: FuzzTarget = {
  name: "gguf",
  about: "damaged GGUF files are refused by FormatError, or read alike in every way",
  open(seed) {
    const folder = mkdtempSync(join(tmpdir(), "fuzz-"));
    return {
      run(index) {
        const random = randomFor(seed, index);
        const bytes = hostileFile(random);
        try {
          return withinBytes(BYTES_PER_BYTE * bytes.length, () => {
            const found = checkReading(bytes, readGguf, random);
            if (index % FILE_EVERY === 0) checkOnDisk(join(folder, "model.gguf"), bytes, found);
            return found instanceof FormatError ? refusalWord(found) : checkSource(found);
          });
        } catch (error) {
          throw new Error(`a file of ${bytes.length} bytes`, { cause: error });
        }
      },
      close: () => rmSync(folder, { recursive: true }),
    };
  },
};

function checkSource(source: GgufSource): string {
  for (const [key, entry] of source.metadata) {
    if (entry.type === "array" && entry.values().length !== entry.length) throw new Error(`${key} has another length`);
  }
  const again = outcome(() => readGguf(writeGguf(source)));
  if (again instanceof FormatError) {
    if (again instanceof InvalidTensorError) return "read, and not writable"; // a name that is too long
    throw new Error("it cannot be written again", { cause: again });
  }
  if (!isDeepStrictEqual(told(again), told(source))) throw new Error("it is written again as another");
  return "read";
}

interface NumberField {
  readonly width: 1 | 4 | 8;
  value: bigint;
}

/** A number of so many bytes, or bytes as they are. */
type Field = NumberField | Uint8Array;

const u32 = (value: number): Field => ({ width: 4, value: BigInt(value) });
const u64 = (value: number): Field => ({ width: 8, value: BigInt(value) });
const utf8 = new TextEncoder();
const text = (value: string): Field[] => [u64(utf8.encode(value).length), utf8.encode(value)];

/** The numbers that types of metadata have: u8, u32, f32, bool, text, array, u64. */
const [U8, U32, F32, BOOL, TEXT, ARRAY, U64] = [0, 4, 6, 7, 8, 9, 10];
const TYPE_IDS: Readonly<Partial<Record<SourceDtype, number>>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q8_0: 8,
  q4_k: 12,
  tq1_0: 34,
  i2_s: 36,
  i16: 25,
};
const SHARP = [
  0n,
  1n,
  2n,
  3n,
  31n,
  32n,
  255n,
  256n,
  2n ** 16n,
  2n ** 26n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const TEXTS = [
  "",
  "general.alignment",
  "split.count",
  "split.no",
  "weight",
  "__proto__",
  "\u0000",
  "\u001b[2J",
  "é".repeat(40),
];

function hostileFile(random: Random): Uint8Array {
  const fields = sound(random);
  for (let count = random(4); count > 0; count--) damage(fields, random);
  const bytes = joined(fields);
  return random(3) === 0 ? mutateBytes(bytes, random) : bytes;
}

/** The fields of a file that is sound. */
function sound(random: Random): Field[] {
  const names = Array.from({ length: random(5) }, (_, i) => `blk.${i}.weight`);
  const entries = Array.from({ length: random(6) }, (_, i) => [...text(`key.${i}`), ...value(random)]);
  if (random(6) === 0) entries.push([...text("general.alignment"), u32(U32), u32(32)]);
  const tensors: Field[] = [];
  let dataBytes = 0;
  for (const name of names) {
    const dtype = pick(random, Object.keys(TYPE_IDS)) as SourceDtype;
    const shape = /^[fi]\d+$/.test(dtype) ? [1 + random(4), 1 + random(9)] : [1 + random(3), 256];
    const dims = random(8) === 0 ? [1, ...shape] : shape;
    tensors.push(...text(name), u32(dims.length), ...dims.toReversed().map(u64), u32(TYPE_IDS[dtype]!), u64(dataBytes));
    dataBytes += 32 * Math.ceil(tensorSizeBytes(dtype, dims)! / 32);
  }
  const head = [
    utf8.encode("GGUF"),
    u32(2 + random(2)),
    u64(names.length),
    u64(entries.length),
    ...entries.flat(),
    ...tensors,
  ];
  const headBytes = joined(head).length;
  const padding = 32 * Math.ceil(headBytes / 32) - headBytes;
  const data = Uint8Array.from({ length: dataBytes }, () => random(256) & 0x3f); // float16 factors that are finite
  return [...head, new Uint8Array(padding), data];
}

function value(random: Random): Field[] {
  const type = pick(random, [U8, U32, F32, BOOL, TEXT, ARRAY, U64]);
  if (type === U8) return [u32(type), { width: 1, value: BigInt(random(256)) }];
  if (type === BOOL) return [u32(type), { width: 1, value: BigInt(random(2)) }];
  if (type === U64) return [u32(type), u64(random(2 ** 32))];
  if (type === TEXT) return [u32(type), ...text(pick(random, TEXTS))];
  if (type !== ARRAY) return [u32(type), u32(random(2 ** 31))];
  const length = randomSize(random, 40);
  const items = Array.from({ length }, (_, i) => i);
  if (random(2) === 0) return [u32(type), u32(TEXT), u64(length), ...items.flatMap((i) => text(`token ${i}`))];
  return [u32(type), u32(U32), u64(length), ...items.map(u32)];
}

function damage(fields: Field[], random: Random): void {
  if (fields.length === 0) return;
  const at = random(fields.length);
  const field = fields[at];
  switch (random(8)) {
    case 0: // some fields once more, somewhere
      fields.splice(random(fields.length + 1), 0, ...fields.slice(at, at + 1 + randomSize(random, 12)).map(copy));
      return;
    case 1:
      fields.splice(at, 1 + random(3));
      return;
    case 2: // one entry or tensor many times
      for (let count = randomSize(random, 200); count > 0; count--) fields.splice(at, 0, copy(field));
      return;
    case 3:
      if (field instanceof Uint8Array) fields[at] = utf8.encode(pick(random, TEXTS));
      return;
    case 4:
      if (field instanceof Uint8Array) fields[at] = field.subarray(0, random(field.length + 1));
      return;
    default: {
      const numbers = fields.filter((item): item is NumberField => !(item instanceof Uint8Array));
      if (numbers.length === 0) return;
      const number = pick(random, numbers);
      number.value =
        random(3) === 0 ? pick(random, numbers).value : near(pick(random, [...SHARP, number.value]), random);
    }
  }
}

function near(value: bigint, random: Random): bigint {
  return BigInt.asUintN(64, value + BigInt(random(5) - 2));
}

function copy(field: Field): Field {
  return field instanceof Uint8Array ? field : { ...field };
}

function joined(fields: readonly Field[]): Uint8Array {
  const sizeOf = (field: Field): number => (field instanceof Uint8Array ? field.length : field.width);
  const bytes = new Uint8Array(fields.reduce((sum, field) => sum + sizeOf(field), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const field of fields) {
    if (field instanceof Uint8Array) bytes.set(field, at);
    else if (field.width === 1) view.setUint8(at, Number(field.value & 255n));
    else if (field.width === 4) view.setUint32(at, Number(field.value & 0xffffffffn), true);
    else view.setBigUint64(at, BigInt.asUintN(64, field.value), true);
    at += sizeOf(field);
  }
  return bytes;
}
