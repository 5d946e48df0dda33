// BARE messages, encoded to bytes and decoded to plain objects that outlive the message, beside the codecs that
// people use. Every codec takes and gives bytes, JSON too; each one's code is what its users run: generated, written
// for it, or compiled at the start; msgpackr has its native addon where npm found one. What is timed is fair to all:
// - `encode` gives bytes that stay as they are when the next message is encoded; `encode-...-into` writes over the same
//   bytes again and again, for the codecs that can.
// - `decode` copies numbers out of the message, so that both can be kept; reading in place is what views are for.
// - A megabyte costs more to allocate than to copy, so rows of floats stand beside a bare copy, their ceiling.
// - Garbage is collected before each sample, then the codec runs untimed until it has allocated as it will go on to.

import assert from "node:assert/strict";

import * as bareTs from "@bare-ts/lib";
import { bare } from "@fidelity/barewire";
import { Packr } from "msgpackr";
import { collectGarbage } from "../collect.ts";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { bareTsModule } from "../peers/bare-ts.ts";
import type { BareTsModule } from "../peers/bare-ts.ts";
import * as flat from "../peers/flat-messages.ts";
import { protobufCodec, protobufTypes } from "../peers/protobuf.ts";
import type { RowPlan } from "../row.ts";
import { contacts, CONTACTS_VALUES, floats, FLOATS_VALUES, SCHEMA, small, SMALL_VALUES } from "./barewire-messages.ts";
import type { Floats } from "./barewire-messages.ts";

const OURS = "barewire";
const COPY = "copy";
/** Rounds for each that the run asks for: messages are quick, and ratios near 1 want many. */
const ROUNDS_FACTOR = 2;

type Direction = "encode" | "encode-into" | "decode";

/** A codec for one kind of message; `make` gives the value in the form that it takes. */
interface Contestant {
  readonly name: string;
  readonly make?: (value: never) => unknown;
  readonly encode: (value: never) => unknown;
  /** Encodes over bytes that it was given, or keeps. */
  readonly encodeInto?: (value: never) => unknown;
  readonly decode: (bytes: never) => unknown;
}

interface MessageKind {
  readonly name: string;
  readonly directions: readonly Direction[];
  readonly values: readonly unknown[];
  readonly contestants: readonly Contestant[];
  /** What no codec can do without. */
  readonly copies?: Readonly<Record<Direction, (value: never) => unknown>>;
}

/** Measures encoding and decoding of each kind of message with each codec: messages a second. */
export async function barewireCodec(bench: Bench): Promise<void> {
  const settings = { ...bench.settings, rounds: ROUNDS_FACTOR * bench.settings.rounds, rotate: true };
  for (const kind of await messageKinds()) {
    check(kind);
    for (const direction of kind.directions) {
      const sources = sourcesOf(bench, kind, direction);
      const ceiling = kind.copies === undefined ? undefined : { source: COPY, name: "a bare copy", work: 1 };
      const plans = sources.map(({ name }): RowPlan => ({
        id: `barewire/${direction.replace("encode-into", "into")}-${kind.name}/${name}`,
        unit: "kmessages/s",
        source: name,
        scale: 1e-3,
        peer: name === OURS ? undefined : { source: OURS, name: OURS },
        ceiling: name === COPY ? undefined : ceiling,
      }));
      const title = `Codec: ${direction} ${kind.name} (ratios are to ${OURS}; below 1 is slower)`;
      bench.report(title, await measure(sources, plans, settings));
    }
  }
}

function sourcesOf(bench: Bench, kind: MessageKind, direction: Direction): Source[] {
  const sources = kind.contestants.flatMap(({ name, make = same, encode, encodeInto, decode }) => {
    const run = { encode, "encode-into": encodeInto, decode }[direction];
    if (run === undefined) return [];
    const made = kind.values.map((value) => make(value as never));
    const inputs = direction === "decode" ? made.map((value) => own(encode(value as never))) : made;
    return [sourceOf(bench, name, inputs, run)];
  });
  return kind.copies === undefined ? sources : [...sources, sourceOf(bench, COPY, kind.values, kind.copies[direction])];
}

function sourceOf(bench: Bench, name: string, inputs: readonly unknown[], run: (input: never) => unknown): Source {
  let last: unknown;
  const all = (): void => {
    for (const input of inputs) last = run(input as never);
  };
  const { sample } = repeated(name, inputs.length, bench.sampleMs, all);
  const settled = (): number | Promise<number> => {
    collectGarbage();
    const until = performance.now() + bench.sampleMs / 2;
    do all();
    while (performance.now() < until);
    assert.ok(last !== undefined);
    return sample();
  };
  return { name, sample: settled };
}

function same(value: never): unknown {
  return value;
}

// Some codecs give windows onto bytes that they will use again.
function own(encoded: unknown): unknown {
  return encoded instanceof Uint8Array ? Uint8Array.from(encoded) : encoded;
}

/** What each codec decodes is what it was given. */
function check({ name, values, contestants }: MessageKind): void {
  for (const { name: codec, make = same, encode, encodeInto, decode } of contestants) {
    for (const value of values) {
      for (const write of encodeInto === undefined ? [encode] : [encode, encodeInto]) {
        const decoded = decode(own(write(make(value as never) as never)) as never);
        assert.deepEqual(plain(decoded), plain(value), `${codec} changes ${name}`);
      }
    }
  }
}

// Protobuf has no enums of ours, wraps lists, and leaves out what is absent; JSON has no typed arrays.
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, item: unknown) => {
      if (key === "$typeName" || key === "$unknown" || item === "") return undefined;
      return item instanceof Float32Array ? [...item] : item;
    }),
  );
}

async function messageKinds(): Promise<MessageKind[]> {
  const generated = await bareTsModule(SCHEMA);
  const flatSmall = { name: "flatbuffers", encode: flat.encodeFlatSmall, decode: flat.decodeFlatSmall };
  const flatContacts = { name: "flatbuffers", encode: flat.encodeFlatContacts, decode: flat.decodeFlatContacts };
  const directions = ["encode", "decode"] as const;
  return [
    { name: "small", directions, values: SMALL_VALUES, contestants: contestants(small, generated, "Small", flatSmall) },
    {
      name: "nested",
      directions,
      values: CONTACTS_VALUES,
      contestants: contestants(contacts, generated, "Contacts", flatContacts),
    },
    {
      name: "floats",
      directions: ["encode", "encode-into", "decode"],
      values: FLOATS_VALUES,
      contestants: contestants(floats, generated, "Floats", {
        name: "flatbuffers",
        encode: flat.encodeFlatFloats,
        encodeInto: flat.encodeFlatFloatsInto,
        decode: flat.decodeFlatFloats,
      }),
      copies: copies(),
    },
  ];
}

function contestants<T>(
  type: bare.Schema<T>,
  generated: BareTsModule,
  typeName: "Small" | "Contacts" | "Floats",
  flatbuffers: Contestant,
): Contestant[] {
  return [
    ours(type),
    bareTsContestant(generated, typeName),
    protobufContestant(typeName),
    flatbuffers,
    msgpackrContestant(),
    jsonContestant(),
  ];
}

/** Holds any message here. */
const TARGET_BYTES = 2 ** 21;

function ours<T>(type: bare.Schema<T>): Contestant {
  const codec = bare.compile(type);
  const target = new Uint8Array(TARGET_BYTES);
  return {
    name: OURS,
    encode: (value: T) => codec.encode(value),
    encodeInto: (value: T) => target.subarray(0, codec.encodeInto(value, target)),
    decode: (bytes: Uint8Array) => codec.decode(bytes),
  };
}

function copies(): Readonly<Record<Direction, (value: Floats) => unknown>> {
  const target = new Float32Array(TARGET_BYTES / 4);
  return {
    encode: ({ values }) => new Float32Array(values),
    "encode-into": ({ values }) => {
      target.set(values);
      return target;
    },
    decode: ({ values }) => new Float32Array(values),
  };
}

function bareTsContestant(module: BareTsModule, type: string): Contestant {
  // A buffer of the right size from the start; the default configuration would refuse a megabyte.
  const config = bareTs.Config({ initialBufferLength: 2 ** 20 + 1024, maxBufferLength: 2 ** 26 });
  const isLarge = type === "Floats";
  const encode = module[`encode${type}`];
  const write = module[`write${type}`];
  const decode = module[`decode${type}`];
  const target = new Uint8Array(TARGET_BYTES);
  return {
    name: "bare-ts",
    make: (value: object) => ("kind" in value ? { ...value, kind: titleCase(String(value.kind)) } : value),
    encode: isLarge ? (value: never) => encode(value, config) : (value: never) => encode(value),
    encodeInto: (value: never) => {
      const cursor = new bareTs.ByteCursor(target, config);
      write(cursor as never, value);
      return target.subarray(0, cursor.offset);
    },
    decode: type === "Small" ? (bytes: never) => upperKind(decode(bytes) as { kind: string }) : decode,
  };
}

function titleCase(word: string): string {
  return word[0] + word.slice(1).toLowerCase();
}

// Its enum members are spelled otherwise; changing one field back costs a few nanoseconds.
function upperKind(value: { kind: string }): unknown {
  value.kind = value.kind === "Info" ? "INFO" : value.kind === "Warn" ? "WARN" : "ERROR";
  return value;
}

function protobufContestant(type: "Small" | "Contacts" | "Floats"): Contestant {
  const types = protobufTypes({
    Small: [
      ["id", "fixed32"],
      ["name", "string"],
      ["active", "bool"],
      ["score", "double"],
      ["kind", "string"],
    ],
    Point: [
      ["x", "double"],
      ["y", "double"],
    ],
    Address: [
      ["street", "string"],
      ["city", "string"],
      ["zip", "string"],
      ["location", "Point"],
    ],
    Contact: [
      ["name", "string"],
      ["email", "string"],
      ["age", "uint32"],
      ["address", "Address"],
      ["tags", "string", "repeated"],
    ],
    Contacts: [["items", "Contact", "repeated"]],
    Floats: [
      ["name", "string"],
      ["values", "float", "repeated"],
    ],
  });
  const codec = protobufCodec(types(type));
  const make = (value: object): unknown => {
    if (type === "Contacts") return codec.make({ items: value });
    return codec.make("values" in value ? { ...value, values: [...(value.values as Float32Array)] } : value);
  };
  const items = (message: object): unknown => ("items" in message ? message.items : message);
  return { name: "protobuf", make, encode: codec.encode, decode: (bytes: Uint8Array) => items(codec.decode(bytes)) };
}

function msgpackrContestant(): Contestant {
  const packr = new Packr({ structures: [], moreTypes: true });
  const packrInto = new Packr({ structures: [], moreTypes: true });
  const target = Buffer.alloc(TARGET_BYTES);
  return {
    name: "msgpackr",
    encode: (value: unknown) => packr.pack(value),
    encodeInto: (value: unknown) => {
      packrInto.useBuffer(target);
      return packrInto.pack(value);
    },
    decode: (bytes: Uint8Array) => packr.unpack(bytes),
  };
}

const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder();

function jsonContestant(): Contestant {
  return {
    name: "JSON",
    make: (value: object) =>
      "values" in value && value.values instanceof Float32Array ? { ...value, values: [...value.values] } : value,
    encode: (value: unknown) => TEXT_ENCODER.encode(JSON.stringify(value)),
    decode: (bytes: Uint8Array) => JSON.parse(TEXT_DECODER.decode(bytes)),
  };
}
