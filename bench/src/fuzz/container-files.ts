// Model containers for damage, and the damage: to any byte; to a root or a header whose checksums are then put right,
// so that it gets behind them; to the fields of a header. The schemas are the format's, written down once more here.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bare, containerToBytes, crc32c, readSchema, readVersions, typeNamed } from "@fidelity/barewire";
import type { ContainerInput } from "@fidelity/barewire";
import { appendContainer, writeContainerFile } from "@fidelity/barewire/node";
import { mutateBytes } from "./mutate.ts";
import { pick, randomSize } from "./random.ts";
import type { Random } from "./random.ts";

const FORMAT = readSchema(`
  type Root struct { version: u64 headerOffset: u64 headerBytes: u64 headerChecksum: u32 endBytes: u64 }
  type Value union { str | f64 | int | bool }
  type Component struct { id: str kind: str }
  type Tensor struct {
    name: str component: str dtype: str shape: list<uint> layout: str offset: u64 sizeBytes: u64 checksum: u32
  }
  type Header struct {
    metadata: map<str><Value> config: str components: list<Component> tensors: list<Tensor> previous: optional<Root>
  }
`);

interface RawRoot {
  readonly version: bigint;
  readonly headerOffset: bigint;
  readonly headerBytes: bigint;
  readonly headerChecksum: number;
  readonly endBytes: bigint;
}

interface RawHeader {
  readonly config: string;
  readonly components: Record<string, unknown>[];
  readonly tensors: Record<string, unknown>[];
  readonly previous: RawRoot | undefined;
}

const rootCodec = bare.compile<RawRoot>(typeNamed(FORMAT, "Root") as bare.Schema<RawRoot>);
const headerCodec = bare.compile<RawHeader>(typeNamed(FORMAT, "Header") as bare.Schema<RawHeader>);

const ROOT_BYTES = 64;
const ROOT_CONTENTS_OFFSET = 16;
const PAGE_BYTES = 4096;
const ALIGN_BYTES = 64;
const SHARP = [0n, 1n, 63n, 64n, 4096n, 8192n, 8256n, 2n ** 31n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n];
const TEXTS = ["", "a", "body", "f32", "dense", "__proto__", "{}", "[[", "null", "1e999", "\u0000", "x".repeat(2000)];

/** A container, and where its newest root and header lie; none for format 1. */
export interface SeedFile {
  readonly bytes: Uint8Array;
  readonly slotOffset: number | undefined;
  readonly root: RawRoot | undefined;
}

/** Containers of both formats, of one version and of several. */
export function seedFiles(): SeedFile[] {
  const small = input(["a", "b"]);
  const folder = mkdtempSync(join(tmpdir(), "fuzz-"));
  try {
    const path = join(folder, "versions");
    writeContainerFile(path, small);
    appendContainer(path, { tensors: input(["b", "c"]).tensors });
    const twice = new Uint8Array(readFileSync(path));
    appendContainer(path, { config: { step: 2 }, tensors: input(["a"]).tensors });
    const thrice = new Uint8Array(readFileSync(path));
    const empty = containerToBytes({ config: null, components: [], tensors: [] });
    const many = containerToBytes(input(Array.from({ length: 20 }, (_, i) => `t${i}`)));
    return [...[empty, containerToBytes(small), many, twice, thrice].map(seedFile), format1File()];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function input(names: readonly string[]): ContainerInput {
  const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
  return {
    metadata: { title: "some", step: 12, seed: 2n ** 60n, done: true },
    config: { width: 8, layers: ["a", "b"] },
    components: [
      { id: "body", kind: "mlp" },
      { id: "head", kind: "linear" },
    ],
    tensors: names.map((name, i) => {
      const isPacked = i % 3 === 2;
      const component = i % 2 === 0 ? "body" : "head";
      if (isPacked) return { name, component, dtype: "ternary2", layout: "interleave16", shape: [16, 4], bytes };
      return { name, component, dtype: "f32", shape: [2, 2], bytes };
    }),
  };
}

function seedFile(bytes: Uint8Array): SeedFile {
  const { version } = readVersions(bytes).at(-1)!;
  const slots = [0, PAGE_BYTES].map((slotOffset) => ({ slotOffset, root: rootAt(bytes, slotOffset) }));
  const { slotOffset, root } = slots.find((slot) => slot.root?.version === BigInt(version))!;
  return { bytes, slotOffset, root };
}

function rootAt(bytes: Uint8Array, slotOffset: number): RawRoot | undefined {
  if (bytes[slotOffset] === 0) return undefined;
  return rootCodec.decode(bytes.subarray(slotOffset + ROOT_CONTENTS_OFFSET, slotOffset + ROOT_CONTENTS_OFFSET + 36));
}

// What version 0.1.0 wrote: one header behind a prefix of 24 bytes, tensors from byte 4096 on.
function format1File(): SeedFile {
  const header = bare.encode(
    bare.struct({
      metadata: bare.map(bare.str, bare.f64),
      config: bare.str,
      components: bare.list(bare.struct({ id: bare.str, kind: bare.str })),
      tensors: bare.list<bare.Schema<unknown>>(typeNamed(FORMAT, "Tensor")),
    }),
    {
      metadata: new Map(),
      config: '{"width":8}',
      components: [{ id: "body", kind: "mlp" }],
      tensors: [tensor1("a", 4096n), tensor1("b", 4160n)],
    },
  );
  const bytes = new Uint8Array(4168);
  bytes.set(new TextEncoder().encode("FIDELITY"));
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 1, true);
  view.setUint32(12, crc32c(header), true);
  view.setBigUint64(16, BigInt(header.length), true);
  bytes.set(header, 24);
  return { bytes, slotOffset: undefined, root: undefined };
}

function tensor1(name: string, offset: bigint): object {
  const checksum = crc32c(new Uint8Array(8));
  return { name, component: "body", dtype: "f32", shape: [2n], layout: "dense", offset, sizeBytes: 8n, checksum };
}

/** A file with damage of one kind. */
export function damage(file: SeedFile, other: SeedFile, random: Random): Uint8Array {
  const { bytes, root, slotOffset } = file;
  if (root === undefined || slotOffset === undefined) return random(2) === 0 ? damage1(bytes, random) : anywhere();
  const start = Number(root.headerOffset);
  const header = bytes.subarray(start, start + Number(root.headerBytes));
  switch (random(6)) {
    case 0:
      return withHeader(file, mutateBytes(header, random), random);
    case 1:
    case 2:
      return withHeader(file, changeHeader(header, random), random);
    case 3:
      return withRoot(bytes.slice(), random(2) === 0 ? slotOffset : slotOffset ^ PAGE_BYTES, changeRoot(root, random));
    default:
      return anywhere();
  }

  function anywhere(): Uint8Array {
    const kind = random(4);
    // Most of a file is nothing, so roots and headers are hit on purpose.
    if (kind < 2) {
      const at = kind === 0 ? pick(random, [0, PAGE_BYTES]) : random(bytes.length);
      const part = mutateBytes(bytes.subarray(at, at + ROOT_BYTES), random, other.bytes);
      const changed = bytes.slice();
      changed.set(part.subarray(0, Math.min(part.length, changed.length - at)), at);
      return changed;
    }
    if (kind === 2) return bytes.slice(0, random(bytes.length + 1));
    return mutateBytes(bytes, random, other.bytes);
  }
}

function damage1(bytes: Uint8Array, random: Random): Uint8Array {
  const changed = bytes.slice();
  const view = new DataView(changed.buffer);
  const end = 24 + Number(view.getBigUint64(16, true));
  const header = mutateBytes(changed.subarray(24, end), random).subarray(0, PAGE_BYTES - 24);
  changed.set(header, 24);
  view.setUint32(12, crc32c(header), true);
  view.setBigUint64(16, random(8) === 0 ? pick(random, SHARP) : BigInt(header.length), true);
  return changed;
}

// The header in its place if it fits there, else at the end; the root leads to it.
function withHeader({ bytes, root, slotOffset }: SeedFile, header: Uint8Array, random: Random): Uint8Array {
  const { headerOffset, headerBytes } = root!;
  const isInPlace = header.length <= Number(headerBytes);
  const offset = isInPlace ? Number(headerOffset) : Math.ceil(bytes.length / ALIGN_BYTES) * ALIGN_BYTES;
  const size = Math.max(bytes.length, offset + header.length);
  const changed = new Uint8Array(size);
  changed.set(bytes);
  changed.set(header, offset);
  const next: RawRoot = {
    version: root!.version,
    headerOffset: BigInt(offset),
    headerBytes: BigInt(header.length),
    headerChecksum: crc32c(header),
    endBytes: random(16) === 0 ? pick(random, SHARP) : BigInt(size),
  };
  return withRoot(changed, slotOffset!, next);
}

function withRoot(bytes: Uint8Array<ArrayBuffer>, slotOffset: number, root: RawRoot): Uint8Array {
  const slot = new Uint8Array(ROOT_BYTES);
  slot.set(new TextEncoder().encode("FIDELITY"));
  slot.set(rootCodec.encode(root), ROOT_CONTENTS_OFFSET);
  const view = new DataView(slot.buffer);
  view.setUint32(8, 2, true);
  view.setUint32(12, crc32c(slot.subarray(ROOT_CONTENTS_OFFSET)), true);
  bytes.set(slot, slotOffset);
  return bytes;
}

function changeRoot(root: RawRoot, random: Random): RawRoot {
  const name = pick(random, ["version", "headerOffset", "headerBytes", "endBytes"] as const);
  return { ...root, [name]: sharpNear(root[name], random) };
}

function sharpNear(value: bigint, random: Random): bigint {
  const kind = random(3);
  if (kind === 0) return pick(random, SHARP);
  const step = BigInt(randomSize(random, 2 ** 14)) * (random(2) === 0 ? 1n : 64n);
  return BigInt.asUintN(64, kind === 1 ? value + step : value - step);
}

// Fields of a header that get other values: sharp numbers and texts, or those of another entry.
function changeHeader(bytes: Uint8Array, random: Random): Uint8Array {
  const header = headerCodec.decode(bytes);
  const { components, tensors } = header;
  let { config, previous } = header;
  for (let count = 1 + random(3); count > 0; count--) {
    const kind = random(8);
    if (kind === 0)
      config = pick(random, ["", "{", "[".repeat(1 + randomSize(random, 20_000)), '{"__proto__":1}', "1e999"]);
    else if (kind === 1 && previous !== undefined) previous = changeRoot(previous, random);
    else if (kind === 2) {
      const entries = random(2) === 0 ? components : tensors;
      if (entries.length === 0) continue;
      const entry = pick(random, entries);
      const copies = 1 + randomSize(random, 200);
      for (let i = 0; i < copies; i++) entries.splice(random(entries.length + 1), 0, { ...entry });
    } else {
      const entries = kind === 3 ? components : tensors;
      if (entries.length === 0) continue;
      const [entry, other] = [pick(random, entries), pick(random, entries)];
      const name = pick(random, Object.keys(entry));
      entry[name] = random(3) === 0 ? other[name] : changeField(entry[name], random);
    }
  }
  return headerCodec.encode({ ...header, config, previous }).slice();
}

function changeField(value: unknown, random: Random): unknown {
  if (typeof value === "string") return pick(random, TEXTS);
  if (typeof value === "bigint") return sharpNear(value, random);
  if (typeof value === "number") return random(2 ** 32);
  return Array.from({ length: randomSize(random, 1000) }, () => pick(random, SHARP));
}
