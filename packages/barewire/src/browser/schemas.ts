// Schemas in every place: read, printed, built, compared, refused with their place.

import * as bare from "../bare.ts";
import { diffSchemas } from "../schema/diff.ts";
import { equalSchemas } from "../schema/equal.ts";
import { SchemaError } from "../schema/errors.ts";
import { printSchema } from "../schema/print.ts";
import { readSchema, typeNamed } from "../schema/read.ts";
import { generateTypes } from "../schema/types.ts";
import { holds, refused, same } from "./suite.ts";
import type { Suite } from "./suite.ts";

const TEXT = `
type Level enum { LOW HIGH = 5 }
type Place struct { x: f32 y: f32 z: optional<f64> }
type Reading struct {
  time: u64
  level: Level
  at: list<Place>[2]
  marks: map<str><list<i16>>
  body: union { str | data = 7 | void }
}
`;

const level = bare.named("Level", bare.enumeration({ LOW: 0, HIGH: 5 }));
const place = bare.named("Place", bare.struct({ x: bare.f32, y: bare.f32, z: bare.optional(bare.f64) }));

export const schemas: Suite = {
  name: "schemas",
  sharesMemory: false,
  cases: {
    "text is read, printed and read again": () => {
      const schema = readSchema(TEXT);
      const printed = printSchema(schema);
      holds(equalSchemas(readSchema(printed), schema), "the printed schema is the one read");
      same(printSchema(readSchema(printed)), printed);
      return printed;
    },
    "the builder gives what the text gives": () => {
      const read = readSchema(TEXT);
      const fields = bare.struct({
        time: bare.u64,
        level,
        at: bare.fixedList(place, 2),
        marks: bare.map(bare.str, bare.list(bare.i16)),
        body: bare.union({ str: [0, bare.str], data: [7, bare.data], void: [8, bare.nothing] }),
      });
      const built = bare.schema(bare.named("Reading", fields));
      same(printSchema(built), printSchema(read));
      const reading = {
        time: 1n,
        level: "HIGH",
        at: [
          { x: 1, y: 2, z: undefined },
          { x: 3, y: 4, z: 5 },
        ],
        marks: new Map([["a", Int16Array.of(1, -1)]]),
        body: { kind: "data", value: Uint8Array.of(9) },
      } as const;
      const bytes = bare.encode(fields, reading);
      same(bare.encode(typeNamed(read, "Reading"), reading), bytes);
    },
    "what is wrong is refused with line, column and a hint": async () => {
      const wrong = [
        "type Lower struct { a: u8",
        "type Twice enum { A A }",
        "type Empty struct { }",
        "type Key map<f32><u8>",
        "type Unknown struct {\n  a: Missing\n}",
        "type Void struct { a: void }",
        "type lower u8",
      ];
      const messages: string[] = [];
      for (const text of wrong) messages.push(await refused(() => readSchema(text), SchemaError));
      return messages.join("\n");
    },
    "older drafts are read with the option only": async () => {
      const text = "type Old { a: []u8 b: optional<string> }";
      const message = await refused(() => readSchema(text), SchemaError);
      return `${message}\n${printSchema(readSchema(text, { legacy: true }))}`;
    },
    "changes are told in words, and types written": () => {
      const before = readSchema(TEXT);
      const after = readSchema(TEXT.replace("HIGH = 5", "HIGH = 5 TOP").replace("time: u64", "time: u32"));
      const changes = diffSchemas(before, after);
      holds(changes.length >= 2, "both changes are told");
      return `${JSON.stringify(changes)}\n${generateTypes(before)}`;
    },
  },
};
