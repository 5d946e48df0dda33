// A message: a schema in the BARE language, the same schema built in TypeScript with the type inferred from it, bytes
// that any implementation of BARE reads, and what happens to bytes that are damaged.
// Run it: node packages/barewire/examples/message.ts

import { bare, BareError, diffSchemas, equalSchemas, generateTypes, printSchema, readSchema } from "@fidelity/barewire";

const text = `
# What a sensor tells.
type Reading struct {
  sensor: str
  time: u64
  values: list<f32>
  note: optional<str>
}
`;

const reading = bare.named(
  "Reading",
  bare.struct({ sensor: bare.str, time: bare.u64, values: bare.list(bare.f32), note: bare.optional(bare.str) }),
);
type Reading = bare.TypeOf<typeof reading>;
console.log("built as it is written:", equalSchemas(bare.schema(reading), readSchema(text)));

// Compiled once, without eval; bytes and values then go through closures that are made for this type.
const codec = bare.compile(reading);
const message: Reading = { sensor: "roof", time: 1700000000n, values: Float32Array.of(21.5, 21.25), note: undefined };
const bytes = codec.encode(message);
console.log("bytes:", bytes.length);
console.log("values:", codec.decode(bytes).values);

// The schema's words, and a tool's: `fidelity schema check | diff | types | layout` does the same for files.
console.log(printSchema(readSchema(text)));
console.log(generateTypes(readSchema(text)));
const next = readSchema(text.replace("u64", "u32"));
for (const { path, what } of diffSchemas(readSchema(text), next)) console.log(`${path}: ${what}`);

try {
  codec.decode(bytes.subarray(0, bytes.length - 2));
} catch (error) {
  if (error instanceof BareError) console.log(error.message);
}

// Output:
// built as it is written: true
// bytes: 23
// values: Float32Array(2) [ 21.5, 21.25 ]
// # What a sensor tells.
// type Reading struct {
//   sensor: str
//   time: u64
//   values: list<f32>
//   note: optional<str>
// }
//
// // Types of a BARE schema. Generated; make changes to the schema.
//
// /** What a sensor tells. */
// export interface Reading {
//   readonly sensor: string;
//   readonly time: bigint;
//   readonly values: Float32Array;
//   readonly note: string | undefined;
// }
//
// Reading.time: the width changed from u64 to u32: other bytes
// a list is longer than its message
//   where:    byte 13, in values
//   expected: at most 1 entries
//   got:      2
