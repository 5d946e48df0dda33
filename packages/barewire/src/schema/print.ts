// A schema value as text of the BARE schema language. What the language cannot say is put in its terms: a union member
// that has a name beside its type's becomes a definition of that name, and an enum member's name is put in capitals;
// both leave the bytes of messages as they are. A schema that was read prints to text that reads back to the same
// value.

import type { BareSchema, BareType, Definition, EnumMember, StructField, TypeOfKind } from "./ast.ts";
import { recursionWithoutName, SchemaError } from "./errors.ts";
import { memberNames } from "./names.ts";

/** Text of a whole schema, ending in a line break. Throws `SchemaError` where a name has no form in the language. */
export function printSchema(schema: BareSchema): string {
  return new Printer(schema.definitions).print();
}

/** Text of one type; other types appear by name. */
export function printType(type: BareType): string {
  return new Printer([]).type(type, "");
}

const STEP = "  ";
const TYPE_NAME = /^[A-Z][A-Za-z0-9]*$/;
const FIELD_NAME = /^[a-z][A-Za-z0-9_]*$/;
const ENUM_NAME = /^[A-Z][A-Z0-9_]*$/;

class Printer {
  readonly #definitions: readonly Definition[];
  readonly #names: Set<string>;
  // Definitions of members that are named otherwise than their types; they come before the one that uses them.
  #added: string[] = [];
  // Aliases without names that are being printed.
  readonly #inside = new Set<BareType>();

  constructor(definitions: readonly Definition[]) {
    this.#definitions = definitions;
    this.#names = new Set(definitions.map(({ name }) => name));
  }

  print(): string {
    const blocks: string[] = [];
    for (const { name, type, doc } of this.#definitions) {
      if (!TYPE_NAME.test(name)) refuse("a type's name", name, "a capital letter, then letters and digits");
      const text = `${docLines(doc, "")}type ${name} ${this.type(type, "")}`;
      blocks.push(this.#added.concat(text).join("\n\n"));
      this.#added = [];
    }
    return `${blocks.join("\n\n")}\n`;
  }

  type(type: BareType, indent: string): string {
    switch (type.kind) {
      case "alias":
        return this.#alias(type, indent);
      case "data":
        return `data${lengthText(type.length)}`;
      case "list":
        return `list<${this.type(type.type, indent)}>${lengthText(type.length)}`;
      case "optional":
        return `optional<${this.type(type.type, indent)}>`;
      case "map":
        return `map<${this.type(type.key, indent)}><${this.type(type.value, indent)}>`;
      case "struct":
        return this.#block("struct", type.fields, indent, (field, inner) => this.#field(field, inner));
      case "enum":
        return this.#enum(type, indent);
      case "union":
        return this.#union(type, indent);
      default:
        return type.kind;
    }
  }

  #alias(type: TypeOfKind<"alias">, indent: string): string {
    if (type.name !== "") return type.name;
    const target = type.target();
    if (this.#inside.has(target)) throw recursionWithoutName();
    this.#inside.add(target);
    const text = this.type(target, indent);
    this.#inside.delete(target);
    return text;
  }

  #block<T extends { readonly doc?: string }>(
    keyword: string,
    parts: readonly T[],
    indent: string,
    print: (part: T, indent: string) => string,
  ): string {
    const inner = indent + STEP;
    const lines = parts.map((part) => `${docLines(part.doc, inner)}${inner}${print(part, inner)}\n`);
    return `${keyword} {\n${lines.join("")}${indent}}`;
  }

  #field({ name, type }: StructField, indent: string): string {
    if (!FIELD_NAME.test(name)) refuse("a field's name", name, "a small letter, then letters, digits and _");
    return `${name}: ${this.type(type, indent)}`;
  }

  #enum({ members }: TypeOfKind<"enum">, indent: string): string {
    const names = members.map(({ name }) => (ENUM_NAME.test(name) ? name : toCapitals(name)));
    const taken = new Set<string>();
    const clash = names.find((name) => taken.size === taken.add(name).size);
    if (clash !== undefined) refuse("two members of an enum", clash, "names that differ in capitals too");
    let next = 0;
    const tagged = members.map((member: EnumMember, i) => {
      const text = names[i] + tagText(member.tag, next);
      next = member.tag + 1;
      return { text, doc: member.doc };
    });
    return this.#block("enum", tagged, indent, ({ text }) => text);
  }

  #union({ members }: TypeOfKind<"union">, indent: string): string {
    const usual = memberNames(members);
    let next = 0;
    const tagged = members.map((member, i) => {
      const isUsual = member.name === usual[i];
      const tag = tagText(member.tag, next);
      next = member.tag + 1;
      const print = (inner: string): string => (isUsual ? this.type(member.type, inner) : this.#named(member)) + tag;
      return { print, doc: member.doc };
    });
    return this.#block("union", tagged, indent, ({ print }, inner) => `| ${print(inner)}`);
  }

  // A definition for a member's own name; the one of that name that there is, where it is the same type.
  #named({ name, type }: { readonly name: string; readonly type: BareType }): string {
    const typeName = toTypeName(name);
    const text = this.type(type, "");
    let unique = typeName;
    for (let i = 2; this.#names.has(unique); i++) unique = `${typeName}${i}`;
    this.#names.add(unique);
    this.#added.push(`type ${unique} ${text}`);
    return unique;
  }
}

function docLines(doc: string | undefined, indent: string): string {
  if (doc === undefined) return "";
  return doc
    .split("\n")
    .map((line) => `${indent}# ${line}`.trimEnd() + "\n")
    .join("");
}

function lengthText(length: number | undefined): string {
  return length === undefined ? "" : `[${length}]`;
}

function tagText(tag: number, next: number): string {
  return tag === next ? "" : ` = ${tag}`;
}

function toCapitals(name: string): string {
  const text = name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[^A-Za-z0-9]+/g, "_")
    .toUpperCase();
  return ENUM_NAME.test(text) ? text : refuse("a member of an enum", name, "a name that starts with a letter");
}

function toTypeName(name: string): string {
  const words = name.split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  const text = words.map((word) => word[0].toUpperCase() + word.slice(1)).join("");
  return TYPE_NAME.test(text) ? text : refuse("a member of a union", name, "a name that starts with a letter");
}

function refuse(what: string, name: string, expected: string): never {
  throw new SchemaError(`${what} has no form in the schema language`, { expected, got: JSON.stringify(name) });
}
