// What a JSON Schema says, keyword by keyword, in the terms of draft 2020-12 (and `definitions`, and OpenAPI's
// `nullable`): checked reading of its parts, and references within it.

import { GrammarError } from "../grammar.ts";

/** A schema that cannot be read, or that asks for what a grammar cannot express. */
export class SchemaError extends GrammarError {}

export type Schema = boolean | SchemaObject;
export type SchemaObject = Readonly<Record<string, unknown>>;

export type TypeName = "null" | "boolean" | "integer" | "number" | "string" | "array" | "object";
export const TYPES: readonly TypeName[] = ["null", "boolean", "number", "string", "array", "object"];

/** Keywords that only one type of values heeds. */
const KEYWORDS_OF_TYPES: Readonly<Partial<Record<TypeName, readonly string[]>>> = {
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  string: ["minLength", "maxLength", "pattern", "format"],
  array: ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"],
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
};
const COMBINING = ["$ref", "allOf", "anyOf", "oneOf"];
const KNOWN = new Set([
  ...["type", "nullable", "enum", "const"],
  ...COMBINING,
  ...Object.values(KEYWORDS_OF_TYPES).flat(),
]);
/** Keywords that say nothing on what is valid. */
const SILENT = new Set(
  (
    "$schema $id $comment $defs definitions $anchor title description default example examples deprecated readOnly " +
    "writeOnly discriminator externalDocs xml contentEncoding contentMediaType"
  ).split(" "),
);

/** Keywords of a schema that say something on what is valid. Throws `SchemaError` for those that are not known. */
export function speakingKeywords(schema: SchemaObject, where: string): string[] {
  return Object.keys(schema).filter((keyword) => {
    if (KNOWN.has(keyword)) return schema[keyword] !== undefined;
    if (SILENT.has(keyword) || keyword.startsWith("x-")) return false;
    throw refusal(keyword, where, "keywords that a grammar can express", "leave it out, and check it afterwards");
  });
}

export const isCombining = (keyword: string): boolean => COMBINING.includes(keyword);

/** An error that names a keyword and where it stands. */
export function refusal(keyword: string, where: string, expected: string, hint?: string, got?: string): SchemaError {
  return new SchemaError(`the schema's "${keyword}" cannot be used`, { where, expected, got: got ?? keyword, hint });
}

/** A part of a schema as one. Throws `SchemaError`. */
export function asSchema(value: unknown, where: string): Schema {
  if (typeof value === "boolean" || isObject(value)) return value;
  throw new SchemaError("a schema is an object, true or false", { where, got: JSON.stringify(value)?.slice(0, 80) });
}

export function isObject(value: unknown): value is SchemaObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The schemas of a list such as `anyOf`. */
export function schemaList(schema: SchemaObject, keyword: string, where: string): Schema[] {
  const value = schema[keyword] ?? [];
  if (!Array.isArray(value)) throw refusal(keyword, where, "a list of schemas");
  return value.map((part: unknown, at) => asSchema(part, `${where}/${keyword}/${at}`));
}

/** A number of a schema; a count is a whole one from 0. */
export function numberOf(schema: SchemaObject, keyword: string, where: string): number | undefined {
  const value = schema[keyword];
  if (value === undefined) return undefined;
  const isCount = /Length$|Items$|Properties$/.test(keyword);
  if (typeof value === "number" && (!isCount || (Number.isSafeInteger(value) && value >= 0))) return value;
  throw refusal(keyword, where, isCount ? "a whole number from 0" : "a number", undefined, JSON.stringify(value));
}

export function stringOf(schema: SchemaObject, keyword: string, where: string): string | undefined {
  const value = schema[keyword];
  if (value === undefined || typeof value === "string") return value;
  throw refusal(keyword, where, "a text", undefined, JSON.stringify(value));
}

export function requiredOf(schema: SchemaObject, where: string): readonly string[] {
  const value = schema.required ?? [];
  if (Array.isArray(value) && value.every((name) => typeof name === "string")) return [...new Set<string>(value)];
  throw refusal("required", where, "a list of names");
}

export function propertiesOf(schema: SchemaObject, where: string): ReadonlyMap<string, Schema> {
  const value = schema.properties ?? {};
  if (!isObject(value)) throw refusal("properties", where, "an object of schemas");
  const entries = Object.entries(value);
  return new Map(entries.map(([name, part]) => [name, asSchema(part, `${where}/properties/${name}`)]));
}

/** The types that a schema lets a value have, `integer` only without `number`. */
export function typesOf(schema: SchemaObject, where: string): ReadonlySet<TypeName> {
  const { type } = schema;
  if (type === undefined) return new Set(TYPES);
  const names: readonly unknown[] = Array.isArray(type) ? type : [type];
  const found = new Set<TypeName>();
  for (const name of names) {
    const known = [...TYPES, "integer" as const].find((candidate) => candidate === name);
    if (known === undefined) throw refusal("type", where, `${TYPES.join(", ")} or integer`, undefined, String(name));
    found.add(known);
  }
  if (schema.nullable === true) found.add("null");
  if (found.has("number")) found.delete("integer");
  return found;
}

/** The types that a value is generated of: those that keywords speak of, where the schema leaves the type open. */
export function generatedTypes(schema: SchemaObject, where: string): ReadonlySet<TypeName> {
  const types = typesOf(schema, where);
  if (schema.type !== undefined) return types;
  const spoken = TYPES.filter((type) => KEYWORDS_OF_TYPES[type]?.some((keyword) => schema[keyword] !== undefined));
  return spoken.length === 0 ? types : new Set(spoken);
}

export function typeOfValue(value: unknown): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  if (typeof value === "boolean" || typeof value === "string") return typeof value as "boolean" | "string";
  return "object";
}

export function allowsType(types: ReadonlySet<TypeName>, type: TypeName): boolean {
  return types.has(type) || (type === "integer" && types.has("number"));
}

/** The values of `enum` and `const`; undefined where the schema lists none. */
export function valuesOf(schema: SchemaObject, where: string): readonly unknown[] | undefined {
  const { enum: values } = schema;
  if (values !== undefined && !Array.isArray(values)) throw refusal("enum", where, "a list of values");
  const constant = schema.const;
  if (constant === undefined) return values;
  return values === undefined || values.some((value) => sameValue(value, constant)) ? [constant] : [];
}

/** Equality of JSON values. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, at) => sameValue(item, b[at]));
  if (!isObject(a) || !isObject(b)) return a === b;
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every((name) => Object.hasOwn(b, name) && sameValue(a[name], b[name]));
}

/** What a reference such as `#/$defs/node` means. Throws `SchemaError`. */
export function resolveReference(root: Schema, reference: unknown, where: string): Schema {
  if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
    throw refusal("$ref", where, "a place in the same schema, such as #/$defs/node", undefined, String(reference));
  }
  let found: unknown = root;
  for (const part of reference.split("/").slice(1)) {
    let name: string;
    try {
      name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    } catch {
      throw refusal("$ref", where, "a pointer that is spelt right", undefined, reference);
    }
    const isThere = typeof found === "object" && found !== null && Object.hasOwn(found, name);
    if (!isThere) throw refusal("$ref", where, "a place that the schema has", undefined, reference);
    found = (found as Readonly<Record<string, unknown>>)[name];
  }
  return asSchema(found, reference);
}
