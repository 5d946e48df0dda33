// Random JSON Schemas of the kinds that the JSON Schema Test Suite has: types, enumerations, bounds, strings by length,
// pattern and format, arrays, objects, combinations, references that recur. Now and then they ask for what a grammar
// cannot express.

import { pick } from "./random.ts";
import type { Random } from "./random.ts";

export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

const NAMES = ["a", "ab", "abc", "name", "größe", 'q"uote', "", "x y", "__proto__", "next"];
const PATTERNS = ["^[a-z]+$", "^\\d{3}-\\d{4}$", "ab|cd", '^[^"]{2,4}', "(foo|bar)+$", "\\\\", "^\\p{Lu}.$", "^x?$"];
const FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"];
const BOUNDS = [-1000, -12.5, -3, -0.25, 0, 0.1, 0.99, 1, 2.5, 7, 10, 99, 100.001, 12345];
const VALUES = [null, true, 0, -1.5, 12, "", "text", 'with "quotes"\n', "\u0001", [], [1, "a"], {}, { a: 1 }];
const BEYOND = [
  { not: { type: "string" } },
  { if: { type: "string" }, then: { minLength: 2 } },
  { type: "number", multipleOf: 0.1 },
  { type: "array", uniqueItems: true },
  { patternProperties: { "^a": {} } },
  { oneOf: [{ type: "number" }, { minimum: 3 }] },
  { type: "string", pattern: "(?=a)b" },
  { type: "strin" },
  { $ref: "#/$defs/none" },
  { minLenght: 2 },
];

/** A schema with definitions that refer to one another. */
export function randomJsonSchema(random: Random): JsonSchema {
  const maker = new Maker(random);
  const root = maker.schema(0);
  const $defs = {
    list: {
      type: "object",
      properties: { value: maker.schema(2), next: { $ref: "#/$defs/list" } },
      required: ["value"],
    },
    tree: { anyOf: [{ type: "null" }, { type: "array", items: { $ref: "#/$defs/tree" } }, maker.schema(3)] },
    both: { allOf: [{ $ref: "#/$defs/list" }, { required: ["extra"], properties: { extra: { type: "boolean" } } }] },
  };
  return typeof root === "boolean" ? root : { ...root, $defs };
}

class Maker {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  schema(depth: number): JsonSchema {
    const random = this.#random;
    if (random(60) === 0) return pick(random, BEYOND);
    const kinds = [
      ...[this.#string, this.#number, this.#values, this.#plain],
      ...(depth < 3 ? [this.#object, this.#object, this.#array, this.#combined, this.#object] : []),
    ];
    return pick(random, kinds).call(this, depth);
  }

  #plain(): JsonSchema {
    const random = this.#random;
    if (random(3) === 0) return { $ref: `#/$defs/${pick(random, ["list", "tree", "both"])}` };
    return pick(random, [
      true,
      {},
      { type: "boolean" },
      { type: "null" },
      { type: ["string", "null"] },
      { type: "integer", nullable: true, description: "a number" },
      { type: "object" },
      { type: "array" },
    ]);
  }

  #string(): JsonSchema {
    const random = this.#random;
    switch (random(4)) {
      case 0:
        return { type: "string", pattern: pick(random, PATTERNS) };
      case 1:
        return { type: "string", format: pick(random, FORMATS) };
      case 2: {
        const minLength = random(4);
        return { type: "string", minLength, maxLength: minLength + random(6) };
      }
      default:
        return { minLength: random(3), type: "string" };
    }
  }

  #number(): JsonSchema {
    const random = this.#random;
    const [low, high] = [pick(random, BOUNDS), pick(random, BOUNDS)].sort((a, b) => a - b);
    const result: Record<string, unknown> = { type: pick(random, ["integer", "number"]) };
    if (random(3) > 0) result[pick(random, ["minimum", "exclusiveMinimum"])] = low;
    if (random(3) > 0) result[pick(random, ["maximum", "exclusiveMaximum"])] = high + 1;
    return result;
  }

  #values(): JsonSchema {
    const random = this.#random;
    if (random(2) === 0) return { const: pick(random, VALUES) };
    return { enum: Array.from({ length: 1 + random(3) }, () => pick(random, VALUES)) };
  }

  #array(depth: number): JsonSchema {
    const random = this.#random;
    const result: Record<string, unknown> = { type: "array" };
    if (random(3) > 0) result.items = this.schema(depth + 1);
    if (random(3) === 0) result.prefixItems = Array.from({ length: 1 + random(3) }, () => this.schema(depth + 1));
    if (random(2) === 0) result.minItems = random(3);
    if (random(2) === 0) result.maxItems = 2 + random(3);
    return result;
  }

  #object(depth: number): JsonSchema {
    const random = this.#random;
    const names = NAMES.filter(() => random(3) === 0);
    const result: Record<string, unknown> = { type: "object" };
    if (names.length > 0) result.properties = Object.fromEntries(names.map((name) => [name, this.schema(depth + 1)]));
    const required = [...names.filter(() => random(2) === 0), ...(random(8) === 0 ? ["other"] : [])];
    if (required.length > 0) result.required = required;
    if (random(3) === 0) result.additionalProperties = random(2) === 0 ? random(2) === 0 : this.schema(depth + 1);
    if (random(6) === 0) result.minProperties = 1;
    return result;
  }

  #combined(depth: number): JsonSchema {
    const random = this.#random;
    const some = (): JsonSchema[] => Array.from({ length: 1 + random(3) }, () => this.schema(depth + 1));
    switch (random(4)) {
      case 0:
        return { anyOf: some() };
      case 1:
        return { oneOf: [this.#string(), this.#number(), { type: "null" }] };
      case 2: {
        const kind = (name: string): JsonSchema => ({
          type: "object",
          properties: { kind: { const: name }, value: this.schema(depth + 1) },
          required: ["kind"],
        });
        return { oneOf: [kind("one"), kind("two")], title: "by kind" };
      }
      default:
        return { allOf: [this.#object(depth), this.#object(depth)] };
    }
  }
}
