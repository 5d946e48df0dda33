// BARE messages, encoded to bytes and decoded to plain objects that outlive the message, beside the codecs that
// people use. Every codec takes and gives bytes, JSON too; each one's code is what its users run: generated, written
// for it, or compiled at the start. Where a codec may write into bytes that are there already, that is a row of its
// own.

import assert from "node:assert/strict";

import { bare } from "@fidelity/barewire";
import { Packr } from "msgpackr";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { bareTsModule } from "../peers/bare-ts.ts";
import type { BareTsModule } from "../peers/bare-ts.ts";
import * as flat from "../peers/flat-messages.ts";
import { protobufCodec, protobufTypes } from "../peers/protobuf.ts";
import type { RowPlan } from "../row.ts";
import { contacts, CONTACTS_VALUES, floats, FLOATS_VALUES, SCHEMA, small, SMALL_VALUES } from "./barewire-messages.ts";

const OURS = "barewire";
const SETTLING_RUNS = 20;

/** A codec for one kind of message; `make` gives the value in the form that it takes. */
interface Contestant {
  readonly name: string;
  readonly make?: (value: never) => unknown;
  readonly encode: (value: never) => unknown;
  readonly decode?: (bytes: never) => unknown;
}

interface MessageKind {
  readonly name: string;
  readonly values: readonly unknown[];
  readonly contestants: readonly Contestant[];
}

/** Measures encoding and decoding of each kind of message with each codec: messages a second. */
export async function barewireCodec(bench: Bench): Promise<void> {
  for (const kind of await messageKinds()) {
    check(kind);
    for (const direction of ["encode", "decode"] as const) {
      const taking = kind.contestants.filter((contestant) => contestant[direction] !== undefined);
      const sources = taking.map((contestant) => sourceOf(bench, kind, contestant, direction));
      const plans = taking.map(({ name }): RowPlan => ({
        id: `barewire/${direction}-${kind.name}/${name.replaceAll(" ", "-")}`,
        unit: "kmessages/s",
        source: name,
        scale: 1e-3,
        peer: name === OURS ? undefined : { source: OURS, name: OURS },
      }));
      const title = `Codec: ${direction} ${kind.name} (ratios are to ${OURS}; below 1 is slower)`;
      bench.report(title, await measure(sources, plans, bench.settings));
    }
  }
}

function sourceOf(
  bench: Bench,
  { values }: MessageKind,
  contestant: Contestant,
  direction: "encode" | "decode",
): Source {
  const { name, make = (value: never) => value, encode, decode } = contestant;
  const made = values.map((value) => make(value as never));
  const inputs = direction === "encode" ? made : made.map((value) => own(encode(value as never)));
  const run = (direction === "encode" ? encode : decode!) as (input: unknown) => unknown;
  let last: unknown;
  const all = (): void => {
    for (const input of inputs) last = run(input);
  };
  const { sample } = repeated(name, inputs.length, bench.sampleMs, all);
  const settled = (): number | Promise<number> => {
    // The last contestant's megabytes are collected while these run, and not while ours are timed.
    for (let i = 0; i < SETTLING_RUNS; i++) all();
    assert.ok(last !== undefined);
    return sample();
  };
  return { name, sample: settled };
}

// Some codecs give windows onto bytes that they will use again.
function own(encoded: unknown): unknown {
  return encoded instanceof Uint8Array ? Uint8Array.from(encoded) : encoded;
}

/** What each codec decodes is what it was given. */
function check({ name, values, contestants }: MessageKind): void {
  for (const contestant of contestants) {
    const { make = (value: never) => value, encode, decode } = contestant;
    if (decode === undefined) continue;
    for (const value of values) {
      const decoded = decode(own(encode(make(value as never) as never)) as never);
      assert.deepEqual(plain(decoded), plain(value), `${contestant.name} changes ${name}`);
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
  const bareTs = await bareTsModule(SCHEMA);
  return [
    {
      name: "small",
      values: SMALL_VALUES,
      contestants: [
        ours(small),
        bareTsContestant(bareTs, "Small"),
        protobufContestant("Small"),
        { name: "flatbuffers", encode: flat.encodeFlatSmall, decode: flat.decodeFlatSmall },
        msgpackrContestant(),
        JSON_CONTESTANT,
      ],
    },
    {
      name: "nested",
      values: CONTACTS_VALUES,
      contestants: [
        ours(contacts),
        bareTsContestant(bareTs, "Contacts"),
        protobufContestant("Contacts"),
        { name: "flatbuffers", encode: flat.encodeFlatContacts, decode: flat.decodeFlatContacts },
        msgpackrContestant(),
        JSON_CONTESTANT,
      ],
    },
    {
      name: "floats",
      values: FLOATS_VALUES,
      contestants: [
        ours(floats),
        oursInto(floats),
        bareTsContestant(bareTs, "Floats"),
        protobufContestant("Floats"),
        { name: "flatbuffers", encode: flat.encodeFlatFloats, decode: flat.decodeFlatFloats },
        msgpackrContestant(),
      ],
    },
  ];
}

function ours<T>(type: bare.Schema<T>): Contestant {
  const codec = bare.compile(type);
  return { name: OURS, encode: (value: T) => codec.encode(value), decode: (bytes: Uint8Array) => codec.decode(bytes) };
}

function oursInto<T>(type: bare.Schema<T>): Contestant {
  const codec = bare.compile(type);
  const target = new Uint8Array(2 ** 21);
  return { name: "barewire into given bytes", encode: (value: T) => codec.encodeInto(value, target) };
}

function bareTsContestant(module: BareTsModule, type: string): Contestant {
  const config = { initialBufferLength: 1024, maxBufferLength: 2 ** 26 };
  const encode = module[`encode${type}`];
  const decode = module[`decode${type}`];
  const isLarge = type === "Floats"; // the default configuration would refuse it
  return {
    name: "bare-ts",
    make: (value: object) => ("kind" in value ? { ...value, kind: titleCase(String(value.kind)) } : value),
    encode: isLarge ? (value: never) => encode(value, config) : (value: never) => encode(value),
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
  return {
    name: "msgpackr",
    encode: (value: unknown) => packr.pack(value),
    decode: (bytes: Uint8Array) => packr.unpack(bytes),
  };
}

const TEXT_ENCODER = new TextEncoder();
const TEXT_DECODER = new TextDecoder();
const JSON_CONTESTANT: Contestant = {
  name: "JSON",
  encode: (value: unknown) => TEXT_ENCODER.encode(JSON.stringify(value)),
  decode: (bytes: Uint8Array) => JSON.parse(TEXT_DECODER.decode(bytes)),
};
