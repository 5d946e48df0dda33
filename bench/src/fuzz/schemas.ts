// Hostile schemas: texts are damaged and read. What is refused must be refused by a `SchemaError` with a line and a
// column of the text. What is read must print to a text that reads back the same, and every use of it must end: its
// difference from another schema, its TypeScript types, its layouts and its codecs, whose values must come back.

import { isDeepStrictEqual } from "node:util";
import {
  bare,
  BARE_LIMITS,
  build,
  diffSchemas,
  equalSchemas,
  generateTypes,
  layoutOf,
  LayoutError,
  printSchema,
  readSchema,
  readValue,
  SchemaError,
  typeNamed,
} from "@fidelity/barewire";
import type { BareSchema, BareType, Layout } from "@fidelity/barewire";
import { withinBytes } from "./allocation.ts";
import { randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import { randomValue, TooLargeError } from "./random-schema.ts";
import { largeText, mutateText, seedText } from "./schema-texts.ts";
import type { FuzzTarget } from "./target.ts";

/** One case in so many is a text that is large in one way. */
const LARGE_EVERY = 2000;
/** The types of a schema that are tried. */
const TYPES_MAX = 4;
/** Values are laid out in buffers up to this size. */
const LAYOUT_BYTES_MAX = 2 ** 16;
/** Errors quote what they refuse, and must stay readable. */
const MESSAGE_LENGTH_MAX = 10_000;
/** The longest text that is read. */
const LENGTH_MAX = 2 ** 20;
/** A type may take more levels to come back to itself than messages usually may have. */
const LIMITS = { ...BARE_LIMITS, depthMax: 2 ** 16 };
/** What a character of a schema may cost at most when it is read, and in all uses together. */
const READ_BYTES_PER_CHARACTER = 512;
const BYTES_PER_CHARACTER = 4096;
/** A type of many parts may be named again and again, and is laid out each time, up to 65536 parts. */
const LAYOUTS_BYTES = TYPES_MAX * 2 ** 25;

/** Schemas, which are read or refused. */
export const schemas: FuzzTarget = {
  name: "schemas",
  about: "damaged schemas are refused with their place, or print, compare, lay out and compile",
  open(seed) {
    return {
      run(index) {
        const random = randomFor(seed, index);
        const isLarge = index % LARGE_EVERY === LARGE_EVERY - 1;
        const whole = isLarge ? "type A u8" : seedText(random);
        const text = isLarge ? largeText(random) : mutateText(whole, random, seedText(random));
        const legacy = random(2) === 0;
        try {
          return withinBytes(LAYOUTS_BYTES + BYTES_PER_CHARACTER * text.length, () =>
            runCase(text, whole, legacy, random),
          );
        } catch (error) {
          throw new Error(`the schema ${JSON.stringify(text.slice(0, 5000))}`, { cause: error });
        }
      },
    };
  },
};

function runCase(text: string, whole: string, legacy: boolean, random: Random): string {
  const schema = read(text, legacy);
  if (schema instanceof SchemaError) return `refused: ${checkPlace(text, schema).summary}`;
  checkPrint(schema, legacy);
  if (diffSchemas(schema, schema).length > 0) throw new Error("a schema differs from itself");
  const other = read(whole, legacy);
  if (!(other instanceof SchemaError)) {
    const [there, back] = [diffSchemas(other, schema).length, diffSchemas(schema, other).length];
    if (equalSchemas(other, schema) && there + back > 0) throw new Error("equal schemas differ");
  }
  const source = generateTypes(schema);
  if (source.split("\nexport ").length - 1 < schema.definitions.length) throw new Error("a type was not generated");
  for (let i = 0; i < TYPES_MAX && i < schema.definitions.length; i++) {
    const { name } = schema.definitions[random(schema.definitions.length)];
    checkType(typeNamed(schema, name), random);
  }
  return legacy ? "read, as an older draft" : "read";
}

function read(text: string, legacy: boolean): BareSchema | SchemaError {
  try {
    return withinBytes(READ_BYTES_PER_CHARACTER * text.length, () => readSchema(text, { legacy }));
  } catch (error) {
    if (error instanceof SchemaError) return error;
    throw error;
  }
}

function checkPlace(text: string, error: SchemaError): SchemaError {
  const lines = text.split("\n");
  const { line, column } = error;
  const isInText = line !== undefined && column !== undefined && line >= 1 && line <= lines.length && column >= 1;
  if (!isInText || column > lines[line - 1].length + 1) {
    throw new Error(`the place ${line}:${column} is not in the text`, { cause: error });
  }
  if (error.message.length > MESSAGE_LENGTH_MAX)
    throw new Error(`an error of ${error.message.length} characters`, { cause: error });
  return error;
}

function checkPrint(schema: BareSchema, legacy: boolean): void {
  const printed = printSchema(schema);
  if (printed.length > LENGTH_MAX) return; // indented it is longer than it was
  const again = readSchema(printed, { legacy });
  if (!equalSchemas(again, schema)) throw new Error(`it prints to another schema:\n${printed}`);
  if (printSchema(again) !== printed) throw new Error(`it prints in two ways:\n${printed}`);
}

function checkType(type: BareType, random: Random): void {
  const codec = bare.compile<unknown>(type);
  const layout = lay(type);
  let value: unknown;
  try {
    value = randomValue(type, random);
  } catch (error) {
    if (error instanceof TooLargeError) return;
    throw error;
  }
  const bytes = codec.encode(value, LIMITS);
  const decoded = codec.decode(bytes, LIMITS);
  if (!isDeepStrictEqual(codec.encode(decoded, LIMITS), bytes)) throw new Error("a value comes back as another");
  if (layout === undefined || layout.sizeBytes > LAYOUT_BYTES_MAX) return;
  const built = build(layout, decoded);
  if (!isDeepStrictEqual(codec.encode(readValue(layout, built), LIMITS), bytes)) {
    throw new Error("a value comes back as another from its layout");
  }
}

function lay(type: BareType): Layout | undefined {
  try {
    return layoutOf(type);
  } catch (error) {
    if (error instanceof LayoutError) return undefined;
    throw error;
  }
}
