// JSON Schema (draft 2020-12) as a grammar of the texts that are generated: a part of what the schema allows, and
// nothing else. What a grammar cannot express is refused with the keyword and its place, instead of being left out.
//
// Narrower than the schema: properties come in the order in which they are listed; beyond those that are listed, an
// object has more only where `additionalProperties` says so or nothing is listed, and an array with `prefixItems` only
// where `items` says so; a value of no stated type is of those that its keywords speak of; bounded numbers have at most
// 15 digits and no exponent; white space is that of layout.

import { charactersOf, inverted } from "../code-points.ts";
import { choice, GRAMMAR_LIMITS, optional, repeat, rule, sequence, set, text } from "../grammar.ts";
import type { Grammar, GrammarNode } from "../grammar.ts";
import { parseRegex } from "../regex.ts";
import { alternativesOf, requireApart } from "./alternatives.ts";
import { FORMATS } from "./formats.ts";
import { decimalsBetween, EXACT_DIGITS, integersBetween } from "./numbers.ts";
import type { DecimalBound } from "./numbers.ts";
import {
  allowsType,
  asSchema,
  generatedTypes,
  numberOf,
  propertiesOf,
  refusal,
  requiredOf,
  resolveReference,
  schemaList,
  SchemaError,
  speakingKeywords,
  stringOf,
  typeOfValue,
  typesOf,
  valuesOf,
} from "./schema.ts";
import type { Schema, SchemaObject, TypeName } from "./schema.ts";
import {
  anyInteger,
  anyNumber,
  anyValue,
  character,
  comma,
  enclosed,
  inString,
  jsonCharacters,
  jsonRules,
  list,
  literal,
  member,
  quoted,
} from "./text.ts";

/** JSON texts that `schema` allows. Throws `SchemaError`. */
export function jsonSchemaGrammar(schema: unknown): Grammar {
  const compiler = new Compiler(asSchema(schema, "#"));
  return { root: "root", rules: compiler.rules };
}

class Compiler {
  readonly rules = new Map<string, GrammarNode>(jsonRules);
  readonly #root: Schema;
  /** Rules of the schemas that references mean. */
  readonly #referred = new Map<Schema, string>();
  #depth = 0;

  constructor(root: Schema) {
    this.#root = root;
    this.rules.set("root", rule(this.#ruleOf(root, "#")));
  }

  #ruleOf(schema: Schema, where: string): string {
    const known = typeof schema === "object" ? this.#referred.get(schema) : undefined;
    if (known !== undefined) return known;
    const name = this.#newRule(where);
    if (typeof schema === "object") this.#referred.set(schema, name);
    this.rules.set(name, this.#node(schema, where));
    return name;
  }

  #newRule(where: string): string {
    const name = `${where} ${this.rules.size}`;
    this.rules.set(name, choice([]));
    return name;
  }

  /** The node as a rule, so that it can be repeated without being copied. */
  #shared(node: GrammarNode, where: string): GrammarNode {
    if (node.type === "rule" || node.type === "set") return node;
    const name = this.#newRule(where);
    this.rules.set(name, node);
    return rule(name);
  }

  #node(schema: Schema, where: string): GrammarNode {
    if (schema === true) return anyValue;
    if (schema === false) return choice([]);
    if (++this.#depth > GRAMMAR_LIMITS.depth) {
      throw new SchemaError("the schema nests too deep", { where, expected: `at most ${GRAMMAR_LIMITS.depth} levels` });
    }
    const node = this.#combined(schema, where);
    this.#depth--;
    return node;
  }

  #combined(schema: SchemaObject, where: string): GrammarNode {
    const spoken = speakingKeywords(schema, where);
    if (spoken.length === 1) {
      const [keyword] = spoken;
      if (keyword === "$ref") {
        return rule(this.#ruleOf(resolveReference(this.#root, schema.$ref, where), String(schema.$ref)));
      }
      const parts = ["allOf", "anyOf", "oneOf"].includes(keyword) ? schemaList(schema, keyword, where) : [];
      if (keyword === "oneOf") {
        const options = parts.map((part, at) => alternativesOf(this.#root, part, `${where}/oneOf/${at}`));
        requireApart(this.#root, options, where);
      }
      if (parts.length > 0 && (keyword !== "allOf" || parts.length === 1)) {
        return choice(parts.map((part, at) => this.#node(part, `${where}/${keyword}/${at}`)));
      }
    }
    const alternatives = alternativesOf(this.#root, schema, where);
    return choice(alternatives.map((alternative) => this.#plain(alternative, where)));
  }

  /** A schema without combining keywords. */
  #plain(schema: SchemaObject, where: string): GrammarNode {
    const values = valuesOf(schema, where);
    if (values !== undefined) return this.#values(schema, values, where);
    const types = generatedTypes(schema, where);
    if (Object.keys(schema).length === 0) return anyValue;
    return choice([...types].map((type) => this.#ofType(type, schema, where)));
  }

  #values(schema: SchemaObject, values: readonly unknown[], where: string): GrammarNode {
    const other = Object.keys(schema).find((keyword) => !["type", "nullable", "enum", "const"].includes(keyword));
    if (other !== undefined) throw refusal(other, where, "no other keyword beside enum and const");
    const types = typesOf(schema, where);
    return choice(values.filter((value) => allowsType(types, typeOfValue(value))).map(literal));
  }

  #ofType(type: TypeName, schema: SchemaObject, where: string): GrammarNode {
    switch (type) {
      case "null":
        return text("null");
      case "boolean":
        return choice([text("true"), text("false")]);
      case "integer":
      case "number":
        return numberNode(schema, type, where);
      case "string":
        return stringNode(schema, where);
      case "array":
        return this.#array(schema, where);
      case "object":
        return this.#object(schema, where);
    }
  }

  #array(schema: SchemaObject, where: string): GrammarNode {
    const min = numberOf(schema, "minItems", where) ?? 0;
    const max = numberOf(schema, "maxItems", where) ?? Infinity;
    if (schema.uniqueItems === true && max > 1) {
      throw refusal("uniqueItems", where, "items that may be equal", "list the values that may come as properties");
    }
    if (min > max) return choice([]);
    if (Math.max(min, max === Infinity ? 0 : max) > GRAMMAR_LIMITS.repeats) {
      throw refusal("minItems, maxItems", where, `at most ${GRAMMAR_LIMITS.repeats}`);
    }
    const prefix = schemaList(schema, "prefixItems", where).map((part, at) =>
      this.#node(part, `${where}/prefixItems/${at}`),
    );
    const rest = schema.items ?? (prefix.length === 0 || min > prefix.length);
    const item = this.#shared(this.#node(asSchema(rest, `${where}/items`), `${where}/items`), `${where}/items`);
    let tail = list(item, Math.max(0, min - prefix.length), Math.max(0, max - prefix.length)) ?? text("");
    for (let at = prefix.length - 1; at >= 0; at--) {
      if (at >= max) continue;
      const isLast = at === Math.min(prefix.length, max) - 1;
      // What follows an item comes after a comma; the list of the rest brings those between its own items.
      const more = isLast ? afterComma(item, min - at - 1, max - at - 1) : sequence(comma, tail);
      tail = sequence(prefix[at], isLast || min > at + 1 ? more : optional(more));
    }
    const members = min === 0 && prefix.length > 0 && max > 0 ? optional(tail) : tail;
    return enclosed("[", max === 0 ? undefined : members, "]");
  }

  #object(schema: SchemaObject, where: string): GrammarNode {
    const listed = propertiesOf(schema, where);
    const required = requiredOf(schema, where);
    const more = asSchema(schema.additionalProperties ?? listed.size === 0, `${where}/additionalProperties`);
    const properties = new Map(listed);
    for (const name of required) if (!properties.has(name)) properties.set(name, more);
    const [min, max] = this.#memberCounts(schema, properties.size, required.length, more, where);
    const value = this.#shared(this.#node(more, `${where}/additionalProperties`), `${where}/additionalProperties`);
    const others = member(quoted(nameBesides([...properties.keys()])), value);
    if (properties.size === 0) return enclosed("{", more === false ? undefined : list(others, min, max), "}");
    const pair = more === false ? choice([]) : this.#shared(others, `${where}/additionalProperties`);
    // What may follow when no member has come yet, and when some have; from the last property to the first.
    let first: GrammarNode = list(pair, 0, Infinity)!;
    let next: GrammarNode = repeat(sequence(comma, pair), 0, Infinity);
    for (const [name, part] of [...properties].reverse()) {
      const place = `${where}/properties/${name}`;
      const own = this.#shared(member(literal(name), this.#node(part, place)), place);
      const [after, before] = [this.#shared(next, place), first];
      const isRequired = required.includes(name);
      first = isRequired ? sequence(own, after) : choice([sequence(own, after), before]);
      next = sequence(isRequired ? sequence(comma, own) : optional(sequence(comma, own)), after);
    }
    return enclosed("{", first, "}");
  }

  /** How many members an object without listed ones has; with those, only counts that say nothing are known. */
  #memberCounts(
    schema: SchemaObject,
    count: number,
    requiredCount: number,
    more: Schema,
    where: string,
  ): [min: number, max: number] {
    const min = numberOf(schema, "minProperties", where) ?? 0;
    const max = numberOf(schema, "maxProperties", where) ?? Infinity;
    if (min > Math.max(requiredCount, count === 0 ? 1 : 0)) {
      throw refusal("minProperties", where, `at most the number of required properties, ${requiredCount}`);
    }
    if (count > 0 && max !== Infinity && (more !== false || max < count)) {
      throw refusal("maxProperties", where, "as many as are listed, and no additional ones");
    }
    return [min, max];
  }
}

/** From `min` to `max` of an item, each after a comma. */
function afterComma(item: GrammarNode, min: number, max: number): GrammarNode {
  return repeat(sequence(comma, item), Math.max(0, min), Math.max(0, max));
}

/** The characters of a name between its quotes, which is none of `names`. */
function nameBesides(names: readonly string[]): GrammarNode {
  if (names.length === 0) return repeat(character, 0, Infinity);
  const firsts = new Map<string, string[]>();
  for (const name of names) {
    if (name === "") continue;
    const [first] = name;
    const rests = firsts.get(first);
    if (rests === undefined) firsts.set(first, [name.slice(first.length)]);
    else rests.push(name.slice(first.length));
  }
  const others = jsonCharacters(set(inverted(charactersOf([...firsts.keys()].join("")))));
  const options = [sequence(others, repeat(character, 0, Infinity))];
  for (const [first, rests] of firsts) options.push(sequence(text(inString(first)), nameBesides(rests)));
  if (!names.includes("")) options.push(text(""));
  return choice(options);
}

function stringNode(schema: SchemaObject, where: string): GrammarNode {
  const min = numberOf(schema, "minLength", where) ?? 0;
  const max = numberOf(schema, "maxLength", where) ?? Infinity;
  const pattern = stringOf(schema, "pattern", where);
  const format = stringOf(schema, "format", where);
  if (format !== undefined && !Object.hasOwn(FORMATS, format)) {
    throw refusal("format", where, `one of ${Object.keys(FORMATS).join(", ")}`, undefined, format);
  }
  if (format !== undefined && pattern !== undefined) throw refusal("pattern", where, "a pattern or a format, not both");
  const source = pattern ?? (format === undefined ? undefined : `^(?:${FORMATS[format]})$`);
  if (source === undefined) {
    if (min > max) return choice([]);
    if (Math.max(min, max === Infinity ? 0 : max) > GRAMMAR_LIMITS.repeats) {
      throw refusal("minLength, maxLength", where, `at most ${GRAMMAR_LIMITS.repeats}`);
    }
    return quoted(repeat(character, min, max));
  }
  const any = repeat(character, 0, Infinity);
  let options: { readonly node: GrammarNode; readonly lengths: readonly [number, number] }[];
  try {
    options = parseRegex(source).map(({ body, isFromStart, isToEnd }) => {
      const [least, most] = lengthsOf(body);
      return {
        node: sequence(isFromStart ? text("") : any, jsonCharacters(body), isToEnd ? text("") : any),
        lengths: [least, isFromStart && isToEnd ? most : Infinity],
      };
    });
  } catch (cause) {
    throw new SchemaError('the schema\'s "pattern" cannot be used', { where, got: source, cause, ...detailsOf(cause) });
  }
  if (options.some(({ lengths: [least, most] }) => least < min || most > max)) {
    throw refusal(
      pattern === undefined ? "format" : "pattern",
      where,
      `texts of ${min} to ${max} characters by itself`,
    );
  }
  return quoted(choice(options.map(({ node }) => node)));
}

function detailsOf(cause: unknown): { readonly expected?: string } {
  return cause instanceof Error ? { expected: cause.message.replaceAll(/\s+/g, " ") } : {};
}

/** The fewest and the most characters of what a node without rules matches. */
function lengthsOf(node: GrammarNode): [min: number, max: number] {
  switch (node.type) {
    case "set":
      return [1, 1];
    case "text":
      return [Array.from(node.text).length, Array.from(node.text).length];
    case "sequence":
      return node.parts.map(lengthsOf).reduce(([min, max], [less, more]) => [min + less, max + more], [0, 0]);
    case "choice": {
      const all = node.options.map(lengthsOf);
      return [Math.min(...all.map(([min]) => min)), Math.max(...all.map(([, max]) => max))];
    }
    case "repeat": {
      const [min, max] = lengthsOf(node.body);
      return [min * node.min, max === 0 ? 0 : max * node.max];
    }
    case "rule":
      return [0, Infinity];
  }
}

/** Bounds that are safe as they are written. */
const INTEGERS_MAX = Number.MAX_SAFE_INTEGER;

function numberNode(schema: SchemaObject, type: "integer" | "number", where: string): GrammarNode {
  const multiple = numberOf(schema, "multipleOf", where);
  if (multiple !== undefined && multiple !== 1) {
    throw refusal("multipleOf", where, "1, for integers", undefined, String(multiple));
  }
  const isInteger = type === "integer" || multiple === 1;
  const [low, lowIsOut] = tighter(numberOf(schema, "minimum", where), numberOf(schema, "exclusiveMinimum", where), 1);
  const [high, highIsOut] = tighter(
    numberOf(schema, "maximum", where),
    numberOf(schema, "exclusiveMaximum", where),
    -1,
  );
  if (low === undefined && high === undefined) return isInteger ? anyInteger : anyNumber;
  for (const bound of [low ?? 0, high ?? 0]) {
    if (Math.abs(bound) > INTEGERS_MAX) throw refusal("minimum, maximum", where, `bounds up to ${INTEGERS_MAX}`);
  }
  if (!isInteger) return boundedNumber(low, lowIsOut, high, highIsOut, where);
  const least = low === undefined ? -INTEGERS_MAX : lowIsOut ? Math.floor(low) + 1 : Math.ceil(low);
  const most = high === undefined ? INTEGERS_MAX : highIsOut ? Math.ceil(high) - 1 : Math.floor(high);
  return least > most ? choice([]) : integersBetween(BigInt(least), BigInt(most));
}

/** The tighter of two bounds, and whether it is excluded. `sign` is 1 for lower bounds. */
function tighter(
  included: number | undefined,
  excluded: number | undefined,
  sign: number,
): [bound: number | undefined, isExcluded: boolean] {
  if (included === undefined || excluded === undefined) return [included ?? excluded, excluded !== undefined];
  return excluded * sign >= included * sign ? [excluded, true] : [included, false];
}

function boundedNumber(
  low: number | undefined,
  lowIsOut: boolean,
  high: number | undefined,
  highIsOut: boolean,
  where: string,
): GrammarNode {
  const written = [low, high].map((bound) => (bound === undefined ? ["0"] : String(Math.abs(bound)).split(".")));
  const wholeDigits = Math.max(9, ...written.map(([whole]) => whole.length));
  const places = EXACT_DIGITS - wholeDigits;
  if (places < 1) throw refusal("minimum, maximum", where, `bounds of up to ${EXACT_DIGITS - 1} digits`);
  if (written.some((parts) => parts.join("").includes("e") || (parts[1] ?? "").length > places)) {
    throw refusal("minimum, maximum", where, `bounds of up to ${places} digits after the point and no exponent`);
  }
  const limit: DecimalBound = { integer: 10n ** BigInt(wholeDigits) - 1n, fraction: "", isExcluded: false };
  const end = (bound: number | undefined, isExcluded: boolean): DecimalBound => {
    if (bound === undefined) return limit;
    const [whole, fraction = ""] = String(Math.abs(bound)).split(".");
    return { integer: BigInt(whole), fraction, isExcluded };
  };
  const zero: DecimalBound = { integer: 0n, fraction: "", isExcluded: false };
  const options: GrammarNode[] = [];
  if (low === undefined || low < 0) {
    // Minus zero is left to the numbers from zero on.
    const nearest = high !== undefined && high < 0 ? end(high, highIsOut) : { ...zero, isExcluded: true };
    options.push(sequence(text("-"), decimalsBetween(nearest, end(low, lowIsOut), places)));
  }
  if (high === undefined || high >= 0) {
    const from = low !== undefined && low >= 0 ? end(low, lowIsOut) : zero;
    options.push(decimalsBetween(from, end(high, highIsOut), places));
  }
  return choice(options);
}
