// The rules between the types of a schema's text (draft-devault-bare-14): names are defined once and before they are
// used, tags ascend, a union's types differ, void stands in unions only, map keys can be compared, values end. Older
// drafts allowed recursion, and use before the definition, and tags in any order.

import { resolveType } from "./ast.ts";
import type { AliasType, BareType, Definition, EnumMember, TypeOfKind, UnionMember } from "./ast.ts";
import { errorAt } from "./errors.ts";
import type { ParsedSchema } from "./parser.ts";
import { printType } from "./print.ts";
import { aliasesIn, isMapKey, isTooDeep, leastSizes, MAP_KEYS, partsOf, TYPE_DEPTH_MAX } from "./walk.ts";

/**
 * Throws a `SchemaError` at the first rule that is broken. Passes go from names, on which the others rely, to types.
 */
export function check(schema: ParsedSchema, legacy: boolean): void {
  const checker = new Checker(schema, legacy);
  checker.definedOnce();
  checker.aliasesLead();
  checker.notTooDeep();
  checker.valuesEnd();
  for (const definition of schema.definitions) checker.typeRules(definition.type);
}

class Checker {
  readonly #schema: ParsedSchema;
  readonly #legacy: boolean;
  readonly #indexOf = new Map<string, number>();

  constructor(schema: ParsedSchema, legacy: boolean) {
    this.#schema = schema;
    this.#legacy = legacy;
  }

  definedOnce(): void {
    for (const [index, definition] of this.#schema.definitions.entries()) {
      if (this.#indexOf.has(definition.name)) {
        this.#fail(definition, "a type is defined twice", { expected: "a name of its own", got: definition.name });
      }
      this.#indexOf.set(definition.name, index);
    }
  }

  /** Names lead to definitions that, in the current draft, stand before. */
  aliasesLead(): void {
    for (const [index, definition] of this.#schema.definitions.entries()) {
      for (const alias of aliasesIn(definition.type)) this.#aliasLeads(alias, definition, index);
    }
    const ending = new Set<BareType>();
    for (const definition of this.#schema.definitions) this.#namesSomething(definition, ending);
  }

  #aliasLeads(alias: AliasType, { name }: Definition, index: number): void {
    const found = this.#indexOf.get(alias.name);
    if (found === undefined) {
      const near = [...this.#indexOf.keys()].find((key) => key.toLowerCase() === alias.name.toLowerCase());
      const hint = near === undefined ? `define it before: type ${alias.name} ...` : near;
      this.#fail(alias, "a type is not defined", { got: alias.name, hint });
    }
    if (found < index || this.#legacy) return;
    if (alias.name === name) {
      this.#fail(alias, "a type contains itself", {
        expected: "no recursion, which drafts before the current one allowed",
        got: alias.name,
        hint: "read it as a schema of an older draft",
      });
    }
    this.#fail(alias, "a type is used before its definition", {
      got: alias.name,
      hint: `move the definition of ${alias.name} before that of ${name}, or read it as a schema of an older draft`,
    });
  }

  // An alias of an alias of an alias must come to an end. `ending` holds those that are known to.
  #namesSomething(definition: Definition, ending: Set<BareType>): void {
    const seen = new Set<BareType>();
    for (let { type } = definition; type.kind === "alias" && !ending.has(type); type = type.target()) {
      if (seen.has(type)) this.#fail(definition, "a type is defined by itself alone", { got: definition.name });
      seen.add(type);
    }
    for (const type of seen) ending.add(type);
  }

  notTooDeep(): void {
    const depths = new Map<BareType, number>();
    for (const definition of this.#schema.definitions) {
      if (!isTooDeep(definition.type, depths)) continue;
      this.#fail(definition, "types are nested too deeply", { expected: `at most ${TYPE_DEPTH_MAX} levels` });
    }
  }

  /** No value holds another of its own kind without end. */
  valuesEnd(): void {
    const sizes = leastSizes(this.#schema.definitions.map(({ type }) => type));
    for (const definition of this.#schema.definitions) {
      if (sizes.get(definition.type) !== Infinity) continue;
      this.#fail(definition, "a type has no value that ends", {
        got: `${definition.name} always holds another ${definition.name}`,
        hint: "make the recursive part optional, a list, a map, or a member of a union",
      });
    }
  }

  typeRules(type: BareType): void {
    if (type.kind === "struct") this.#uniqueNames(type.fields, "field of the struct");
    if (type.kind === "enum") {
      this.#uniqueNames(type.members, "member of the enum");
      this.#tags(type.members, (member) => member);
    }
    if (type.kind === "union") this.#tags(type.members, (member) => member.type);
    else for (const part of partsOf(type)) this.#notVoid(part, type.kind);
    if (type.kind === "map" && !isMapKey(type.key)) {
      const got = resolveType(type.key).kind;
      this.#fail(type.key, "a map cannot have such keys", { expected: MAP_KEYS, got });
    }
    for (const part of partsOf(type)) this.typeRules(part);
    // Types are compared by their texts, which only those have that break no rule.
    if (type.kind === "union") this.#differentTypes(type);
  }

  #uniqueNames(parts: readonly { readonly name: string }[], what: string): void {
    const seen = new Set<string>();
    for (const part of parts) {
      if (seen.has(part.name))
        this.#fail(part, "a name stands twice", { expected: `one ${what} of that name`, got: part.name });
      seen.add(part.name);
    }
  }

  #tags<T extends EnumMember | UnionMember>(members: readonly T[], placeOf: (member: T) => object): void {
    const seen = new Set<number>();
    let previous = -1;
    for (const member of members) {
      const { tag } = member;
      if (this.#legacy ? seen.has(tag) : tag <= previous) {
        const place = placeOf(member);
        const offset = this.#schema.tagOffsets.get(place) ?? this.#offsetOf(place);
        throw errorAt(this.#schema.source, offset, seen.has(tag) ? "a tag stands twice" : "tags do not ascend", {
          expected: this.#legacy ? "distinct tags" : `a number above ${previous}`,
          got: `${tag}`,
          hint: seen.has(tag) ? undefined : "put the members in the order of their tags",
        });
      }
      seen.add(tag);
      previous = tag;
    }
  }

  #differentTypes({ members }: TypeOfKind<"union">): void {
    const seen = new Set<string>();
    for (const { type } of members) {
      const text = printType(type);
      if (seen.has(text)) {
        this.#fail(type, "a union has a type twice", {
          got: text.split("\n")[0],
          hint: `give the second a name of its own: type Other ${text.split("\n")[0]}`,
        });
      }
      seen.add(text);
    }
  }

  #notVoid(part: BareType, kind: string): void {
    if (resolveType(part).kind !== "void") return;
    this.#fail(part, `void stands in ${kind === "optional" ? "an" : "a"} ${kind}`, {
      expected: "void as a member of a union, or alone",
    });
  }

  #offsetOf(thing: object): number {
    return this.#schema.offsets.get(thing) ?? 0;
  }

  #fail(thing: object, summary: string, details: { expected?: string; got?: string; hint?: string }): never {
    throw errorAt(this.#schema.source, this.#offsetOf(thing), summary, details);
  }
}
