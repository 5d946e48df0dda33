// Random schemas and values against @bare-ts/lib: the code that @bare-ts/tools generates from a schema must write the
// same bytes as we do, and what each reads of the other's must be written again alike. A damaged message that we
// read must be one that the peer reads, too. Left out is what the peer cannot write: keys that are bytes, and unions
// of which some members are named and others not, whose tags its generated code forgets.

import { isDeepStrictEqual } from "node:util";
import { bare, BareError, readSchema, resolveType, typeNamed } from "@fidelity/barewire";
import type { BareType } from "@fidelity/barewire";
import { bareTsModule } from "../peers/bare-ts.ts";
import type { BareTsModule } from "../peers/bare-ts.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import { randomSchemaText, randomValue, TooLargeError } from "./random-schema.ts";
import type { FuzzTarget } from "./target.ts";

/** Cases that share a random schema, for which code is generated and loaded. */
const CASES_PER_SCHEMA = 200;
const DRAWS_MAX = 5;

/** Messages, which are the same bytes on both sides. */
export const barePeer: FuzzTarget = {
  name: "bare-peer",
  about: "random values have the bytes that @bare-ts/lib writes, unions included",
  open(seed) {
    let number = -1;
    let pair: Pair | undefined;
    return {
      async run(index) {
        if (number !== Math.floor(index / CASES_PER_SCHEMA)) {
          number = Math.floor(index / CASES_PER_SCHEMA);
          pair = await loadPair(randomSchemaText(randomFor(seed + 1e6, number), { peer: true }));
        }
        try {
          return runCase(pair!, randomFor(seed, index));
        } catch (error) {
          throw new Error(`with the schema\n${pair!.text}`, { cause: error });
        }
      },
    };
  },
};

// A schema on both sides. The peer makes whole messages of types that no other type uses.
interface Pair {
  readonly text: string;
  readonly module: BareTsModule;
  readonly types: readonly { readonly name: string; readonly type: BareType }[];
}

async function loadPair(text: string): Promise<Pair> {
  const module = await bareTsModule(text);
  const schema = readSchema(text);
  const whole = schema.definitions.filter(({ name }) => `encode${name}` in module);
  return { text, module, types: whole.map(({ name }) => ({ name, type: typeNamed(schema, name) })) };
}

function runCase({ module, types }: Pair, random: Random): string {
  const { name, type } = pick(random, types);
  const encodePeer = module[`encode${name}`] as (value: unknown) => Uint8Array;
  const decodePeer = module[`decode${name}`] as (bytes: Uint8Array) => unknown;
  const value = drawValue(type, random);
  if (value === undefined) return "value too large to draw";
  const bytes = bare.encode<unknown>(type, value.drawn).slice();
  same(encodePeer(toPeer(type, value.drawn)), bytes, "the peer writes other bytes");
  same(encodePeer(decodePeer(bytes)), bytes, "the peer reads another value");
  same(bare.encode(type, bare.decode<unknown>(type, bytes)), bytes, "we read another value");

  const damaged = mutateBytes(bytes, random);
  let read: unknown;
  try {
    read = bare.decode<unknown>(type, damaged);
  } catch (error) {
    if (error instanceof BareError) return "the same bytes; damaged: refused";
    throw error;
  }
  // Read once more by us, which makes all forms of NaN one.
  const peers = bare.encode(type, bare.decode<unknown>(type, encodePeer(decodePeer(damaged))));
  same(peers, bare.encode(type, read), "the peer reads another value of a damaged message");
  return "the same bytes; damaged: read alike";
}

function drawValue(type: BareType, random: Random): { readonly drawn: unknown } | undefined {
  for (let i = 0; i < DRAWS_MAX; i++) {
    try {
      return { drawn: randomValue(type, random) };
    } catch (error) {
      if (!(error instanceof TooLargeError)) throw error;
    }
  }
  return undefined;
}

function same(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (!isDeepStrictEqual(new Uint8Array(found), new Uint8Array(expected))) {
    throw new Error(`${what}: ${[...found].join(" ")} for ${[...expected].join(" ")}`);
  }
}

// A value as the peer has it: unions are `{ tag, val }`, the tag being the name of a member that has one.
function toPeer(type: BareType, value: unknown): unknown {
  const known = resolveType(type);
  switch (known.kind) {
    case "optional":
      return value === undefined ? undefined : toPeer(known.type, value);
    case "list":
      return Array.isArray(value) ? value.map((item) => toPeer(known.type, item)) : value;
    case "map":
      return new Map([...(value as Map<unknown, unknown>)].map(([key, item]) => [key, toPeer(known.value, item)]));
    case "struct": {
      const struct = value as Readonly<Record<string, unknown>>;
      return Object.fromEntries(known.fields.map((field) => [field.name, toPeer(field.type, struct[field.name])]));
    }
    case "union": {
      const { kind, value: inner } = value as { readonly kind: string; readonly value: unknown };
      const member = known.members.find(({ name }) => name === kind)!;
      const tag = member.type.kind === "alias" ? member.name : member.tag;
      return { tag, val: toPeer(member.type, inner) };
    }
    case "data":
      return (value as Uint8Array).slice().buffer;
    default:
      return value;
  }
}
