// Hostile safetensors files and their indexes: headers as JSON whose entries are changed, and bytes.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { FormatError, readSafetensors, readSafetensorsIndex, safetensorsPieces } from "@fidelity/formats";
import type { SafetensorsSource } from "@fidelity/formats";
import { openSource } from "@fidelity/formats/node";
import { withinBytes } from "./allocation.ts";
import { BYTES_PER_BYTE, checkOnDisk, checkReading, outcome, refusalWord, told } from "./model-files.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor, randomSize } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const FILE_EVERY = 256;
const WIDTHS: Readonly<Record<string, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I8: 1, BOOL: 1 };
const NUMBERS = [0, 1, 3, 4, 8, -1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 1e308, 2 ** 53 - 1];
const TEXTS = [
  "",
  "F32",
  "F8_E4M3",
  "a",
  "__proto__",
  "__metadata__",
  "\u0000",
  "\u001b[2J",
  "../a.safetensors",
  "x".repeat(300),
];

/** safetensors files, which are read or refused. */
export const safetensorsFiles: FuzzTarget = {
  name: "safetensors",
  about: "damaged safetensors files are refused by FormatError, or read alike in every way",
  open(seed) {
    const folder = mkdtempSync(join(tmpdir(), "fuzz-"));
    return {
      run(index) {
        const random = randomFor(seed, index);
        const bytes = hostileFile(random);
        try {
          return withinBytes(BYTES_PER_BYTE * bytes.length, () => {
            const found = checkReading(bytes, readSafetensors, random);
            if (index % FILE_EVERY === 0) checkOnDisk(join(folder, "model.safetensors"), bytes, found);
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

function checkSource({ config: metadata, tensors }: SafetensorsSource): string {
  const again = readSafetensors(Buffer.concat([...safetensorsPieces({ metadata, tensors })]));
  const byName = ({ tensors: list }: Pick<SafetensorsSource, "tensors">): unknown =>
    told({ format: "", config: again.config, tensors: list.toSorted((a, b) => (a.name < b.name ? -1 : 1)) });
  if (!isDeepStrictEqual(again.config, metadata) || !isDeepStrictEqual(byName(again), byName({ tensors }))) {
    throw new Error("it is written again as another");
  }
  return "read";
}

/** Indexes of safetensors files, which are read or refused. */
export const safetensorsIndexes: FuzzTarget = {
  name: "index",
  about: "damaged model.safetensors.index.json are refused by FormatError, and lead to no other folder",
  open(seed) {
    const folder = mkdtempSync(join(tmpdir(), "fuzz-"));
    for (const [file, name] of [
      ["a", "one"],
      ["b", "two"],
    ]) {
      const tensors = [{ name, dtype: "u8", shape: [1], bytes: () => Uint8Array.of(1) }] as const;
      writeFileSync(join(folder, `${file}.safetensors`), Buffer.concat([...safetensorsPieces({ tensors })]));
    }
    return {
      run(index) {
        const random = randomFor(seed, index);
        const bytes = hostileIndex(random);
        return withinBytes(BYTES_PER_BYTE * bytes.length, () => {
          const files = outcome(() => readSafetensorsIndex(new TextDecoder().decode(bytes)));
          if (index % FILE_EVERY === 0) checkIndexOnDisk(join(folder, "model.safetensors.index.json"), bytes, files);
          if (files instanceof FormatError) return refusalWord(files);
          for (const file of files.values()) {
            if (/[/\\\0]|^\.\.?$/.test(file)) throw new Error(`the index leads to ${JSON.stringify(file)}`);
          }
          return "read";
        });
      },
      close: () => rmSync(folder, { recursive: true }),
    };
  },
};

function checkIndexOnDisk(path: string, bytes: Uint8Array, files: ReadonlyMap<string, string> | FormatError): void {
  writeFileSync(path, bytes);
  const opened = outcome(() => openSource(path));
  if (opened instanceof FormatError) return; // files that are not there, or lack a tensor
  using file = opened;
  if (files instanceof FormatError) throw new Error("an index is refused as text and read on disk", { cause: files });
  if (file.source.tensors.length !== files.size) throw new Error("the index has other tensors than its source");
}

function hostileFile(random: Random): Uint8Array {
  const header: Record<string, unknown> = {};
  if (random(2) === 0) header["__metadata__"] = { format: "pt", made: "today" };
  let dataBytes = 0;
  for (let count = random(5), i = 0; i < count; i++) {
    const dtype = pick(random, Object.keys(WIDTHS));
    const shape = Array.from({ length: random(4) }, () => random(5));
    const start = dataBytes;
    dataBytes += shape.reduce((product, extent) => product * extent, WIDTHS[dtype]);
    header[`layer.${i}.weight`] = { dtype, shape, data_offsets: [start, dataBytes] };
  }
  for (let count = random(4); count > 0; count--) change(header, random);
  const json = textOf(header, random);
  const lengthOff = random(12) === 0 ? random(9) - 4 : 0;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  const length =
    random(40) === 0 ? pick(random, [0n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n]) : BigInt(json.length + lengthOff);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, length), true);
  bytes.set(json, 8);
  return random(4) === 0 ? mutateBytes(bytes, random) : bytes;
}

function hostileIndex(random: Random): Uint8Array {
  const map: Record<string, unknown> = { one: "a.safetensors", two: "b.safetensors" };
  const index: Record<string, unknown> = { metadata: { total_size: 2 }, weight_map: map };
  for (let count = random(4); count > 0; count--) change(random(3) === 0 ? index : map, random);
  return textOf(index, random);
}

/** JSON, sometimes with damage to its text. */
function textOf(value: unknown, random: Random): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(value));
  if (random(4) !== 0) return json;
  if (random(4) === 0) return new TextEncoder().encode("[".repeat(1 + randomSize(random, 20_000)));
  return mutateBytes(json, random);
}

/** Changes something in parsed JSON, at any depth. */
function change(value: Record<string, unknown>, random: Random): void {
  const keys = Object.keys(value);
  if (keys.length === 0 || random(8) === 0) {
    Object.defineProperty(value, pick(random, TEXTS), {
      value: something(random),
      enumerable: true,
      configurable: true,
      writable: true,
    });
    return;
  }
  const key = pick(random, keys);
  const held = value[key];
  if (random(3) !== 0 && typeof held === "object" && held !== null) change(held as Record<string, unknown>, random);
  else if (random(4) === 0) delete value[key];
  else if (random(3) === 0) value[key] = value[pick(random, keys)];
  else if (typeof held === "number" && random(2) === 0) value[key] = held + random(5) - 2;
  else value[key] = something(random);
}

function something(random: Random): unknown {
  const kind = random(6);
  if (kind === 0) return pick(random, TEXTS);
  if (kind === 1) return Array.from({ length: randomSize(random, 100) }, () => pick(random, NUMBERS));
  if (kind === 2) return { dtype: "F32", shape: [1], data_offsets: [0, 4] };
  if (kind === 3) return null;
  return pick(random, NUMBERS);
}
