// Schemas that combine others as a choice of plain ones: `allOf` and references beside keywords are merged, `anyOf` is
// multiplied out. `oneOf` is a choice, too, where its options exclude one another, which is looked for in their types,
// values, bounds and required properties; elsewhere it is refused, since a grammar cannot say "not both".

import { GRAMMAR_LIMITS } from "../grammar.ts";
import {
  allowsType,
  asSchema,
  isCombining,
  isObject,
  numberOf,
  propertiesOf,
  refusal,
  requiredOf,
  resolveReference,
  sameValue,
  schemaList,
  SchemaError,
  speakingKeywords,
  typeOfValue,
  typesOf,
  valuesOf,
} from "./schema.ts";
import type { Schema, SchemaObject, TypeName } from "./schema.ts";

/** How many plain schemas one may multiply out to. */
const ALTERNATIVES_MAX = 256;

/** Plain schemas, without combining keywords, that allow together what `schema` allows. */
export function alternativesOf(root: Schema, schema: Schema, where: string, depth = 0): SchemaObject[] {
  if (depth > GRAMMAR_LIMITS.depth) {
    throw new SchemaError("a schema combines itself", {
      where,
      expected: `at most ${GRAMMAR_LIMITS.depth} references and combinations in one another`,
      hint: "a reference may come back to itself by way of properties or items only",
    });
  }
  if (schema === false) return [];
  if (schema === true) return [{}];
  const spoken = speakingKeywords(schema, where);
  const plain = spoken.filter((keyword) => !isCombining(keyword)).map((keyword) => [keyword, schema[keyword]] as const);
  let found: SchemaObject[] = [Object.fromEntries(plain)];
  const multiply = (options: readonly SchemaObject[]): void => {
    found = found.flatMap((one) => options.flatMap((other) => merged(one, other, where)));
    if (found.length > ALTERNATIVES_MAX) {
      throw new SchemaError("a schema has too many alternatives", { where, expected: `at most ${ALTERNATIVES_MAX}` });
    }
  };
  const below = (part: Schema, place: string): SchemaObject[] => alternativesOf(root, part, place, depth + 1);
  if (schema.$ref !== undefined) {
    multiply(below(resolveReference(root, schema.$ref, where), `${where}/$ref`));
  }
  for (const [at, part] of schemaList(schema, "allOf", where).entries()) multiply(below(part, `${where}/allOf/${at}`));
  for (const keyword of ["anyOf", "oneOf"]) {
    if (schema[keyword] === undefined) continue;
    const options = schemaList(schema, keyword, where).map((part, at) => below(part, `${where}/${keyword}/${at}`));
    if (keyword === "oneOf") requireApart(root, options, where);
    multiply(options.flat());
  }
  return found;
}

/** Throws `SchemaError` where two options of a `oneOf` may allow the same value. */
export function requireApart(root: Schema, options: readonly (readonly SchemaObject[])[], where: string): void {
  for (const [at, option] of options.entries()) {
    for (const [before, other] of options.slice(0, at).entries()) {
      if (option.every((a) => other.every((b) => areApart(root, a, b, where, 0)))) continue;
      throw refusal(
        "oneOf",
        where,
        "options that differ in their types, values, bounds, or in a property that both require",
        "anyOf, if a value may be of several options",
        `options ${before} and ${at}, which may allow the same`,
      );
    }
  }
}

function areApart(root: Schema, a: SchemaObject, b: SchemaObject, where: string, depth: number): boolean {
  const [types, others] = [typesOf(a, where), typesOf(b, where)];
  const shared = [...types].filter((type) => allowsType(others, type) || (type === "number" && others.has("integer")));
  if (shared.length === 0) return true;
  const [values, otherValues] = [valuesOf(a, where), valuesOf(b, where)];
  if (values !== undefined && otherValues !== undefined) {
    return !values.some((value) => otherValues.some((other) => sameValue(value, other)));
  }
  if (values !== undefined) return values.every((value) => !allowsType(others, typeOfValue(value)));
  if (otherValues !== undefined) return otherValues.every((value) => !allowsType(types, typeOfValue(value)));
  if (shared.every((type) => type === "number" || type === "integer")) {
    return isBelow(a, b, where) || isBelow(b, a, where);
  }
  return shared.every((type) => type === "object") && depth < 8 && haveOtherMembers(root, a, b, where, depth);
}

function isBelow(a: SchemaObject, b: SchemaObject, where: string): boolean {
  const [most, least] = [numberOf(a, "maximum", where) ?? Infinity, numberOf(b, "minimum", where) ?? -Infinity];
  const below = numberOf(a, "exclusiveMaximum", where) ?? Infinity;
  const above = numberOf(b, "exclusiveMinimum", where) ?? -Infinity;
  return most < least || below <= least || most <= above || below <= above;
}

function haveOtherMembers(root: Schema, a: SchemaObject, b: SchemaObject, where: string, depth: number): boolean {
  const [properties, others] = [propertiesOf(a, where), propertiesOf(b, where)];
  const [required, otherRequired] = [requiredOf(a, where), requiredOf(b, where)];
  const lacks = (schema: SchemaObject, own: ReadonlyMap<string, Schema>, names: readonly string[]): boolean =>
    schema.additionalProperties === false && names.some((name) => !own.has(name));
  if (lacks(a, properties, otherRequired) || lacks(b, others, required)) return true;
  return required.some((name) => {
    const [own, other] = [properties.get(name), others.get(name)];
    if (own === undefined || other === undefined || !otherRequired.includes(name)) return false;
    const place = `${where}/properties/${name}`;
    const theirs = alternativesOf(root, other, place);
    return alternativesOf(root, own, place).every((one) =>
      theirs.every((another) => areApart(root, one, another, place, depth + 1)),
    );
  });
}

const LARGER = new Set(["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"]);
const SMALLER = new Set(["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"]);
const OF_MEMBERS = new Set(["properties", "additionalProperties", "required"]);
const OF_VALUES = new Set(["type", "nullable", "enum", "const"]);

/** The one schema that allows what both do, or none. */
function merged(a: SchemaObject, b: SchemaObject, where: string): SchemaObject[] {
  if (Object.keys(a).length === 0) return [b];
  if (Object.keys(b).length === 0) return [a];
  const result: Record<string, unknown> = {};
  for (const keyword of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (OF_MEMBERS.has(keyword) || OF_VALUES.has(keyword)) continue;
    const [one, other] = [a[keyword], b[keyword]];
    if (one === undefined || other === undefined || sameValue(one, other)) result[keyword] = one ?? other;
    else if (LARGER.has(keyword))
      result[keyword] = Math.max(numberOf(a, keyword, where)!, numberOf(b, keyword, where)!);
    else if (SMALLER.has(keyword))
      result[keyword] = Math.min(numberOf(a, keyword, where)!, numberOf(b, keyword, where)!);
    else if (keyword === "items" && a.prefixItems === undefined && b.prefixItems === undefined) {
      result.items = { allOf: [one, other] };
    } else throw refusal(keyword, where, "one value of it where schemas are combined");
  }
  const arrays = [a, b].filter(({ items, prefixItems }) => items !== undefined || prefixItems !== undefined);
  if (arrays.length === 2 && !sameValue(a.prefixItems, b.prefixItems)) {
    throw refusal("prefixItems", where, "one list of them where schemas are combined");
  }
  const values = mergedValues(a, b, where);
  if (values === undefined) return [];
  return [{ ...result, ...values, ...mergedMembers(a, b, where) }];
}

/** `type` and `enum` of both; undefined where they have no value in common. */
function mergedValues(a: SchemaObject, b: SchemaObject, where: string): SchemaObject | undefined {
  const result: Record<string, unknown> = {};
  const [types, others] = [typesOf(a, where), typesOf(b, where)];
  const shared = new Set<TypeName>([...types].filter((type) => allowsType(others, type)));
  for (const type of others) if (allowsType(types, type)) shared.add(type);
  if (shared.size === 0) return undefined;
  if (a.type !== undefined || b.type !== undefined) result.type = [...shared];
  const [values, otherValues] = [valuesOf(a, where), valuesOf(b, where)];
  if (values !== undefined || otherValues !== undefined) {
    const found = (values ?? otherValues ?? []).filter(
      (value) =>
        otherValues === undefined || values === undefined || otherValues.some((other) => sameValue(value, other)),
    );
    if (found.length === 0) return undefined;
    result.enum = found;
  }
  return result;
}

function mergedMembers(a: SchemaObject, b: SchemaObject, where: string): SchemaObject {
  if (![a, b].every((schema) => [...OF_MEMBERS].some((keyword) => schema[keyword] !== undefined))) {
    const pairs = [...OF_MEMBERS].map((keyword) => [keyword, a[keyword] ?? b[keyword]] as const);
    return Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
  }
  const result: Record<string, unknown> = {};
  const required = new Set([...requiredOf(a, where), ...requiredOf(b, where)]);
  if (required.size > 0) result.required = [...required];
  const [properties, others] = [propertiesOf(a, where), propertiesOf(b, where)];
  const names = new Set([...properties.keys(), ...others.keys()]);
  if (names.size > 0) {
    const pairs = [...names].map((name) => {
      const own = properties.get(name) ?? a.additionalProperties;
      const other = others.get(name) ?? b.additionalProperties;
      const parts = [own, other].filter((part) => part !== undefined && part !== true);
      return [name, parts.length === 1 ? parts[0] : { allOf: parts }] as const;
    });
    result.properties = Object.fromEntries(pairs);
  }
  const additional = [a.additionalProperties, b.additionalProperties].filter((part) => part !== undefined);
  if (additional.length === 2 && additional.every((part) => isObject(part) || typeof part === "boolean")) {
    result.additionalProperties = additional.includes(false) ? false : { allOf: additional };
  } else if (additional.length > 0) result.additionalProperties = asSchema(additional[0], where);
  return result;
}
