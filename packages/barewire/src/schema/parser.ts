// From words to types: a recursive-descent parser of the BARE schema language (draft-devault-bare-14), and, where
// asked, of the forms that older drafts had: `[]type`, `[n]type`, `data<n>`, `map[key] value`, `(a | b)`, `{ ... }`,
// `string`, `enum Name` and `struct Name`. It holds what single words must look like; the rules between types are
// check.ts's.

import { LENGTH_MAX } from "./ast.ts";
import type { BareType, Definition, EnumMember, ScalarKind, StructField, UnionMember } from "./ast.ts";
import { errorAt } from "./errors.ts";
import type { SchemaText } from "./errors.ts";
import { tokenize } from "./lexer.ts";
import type { Token } from "./lexer.ts";
import { memberNames } from "./names.ts";

/** What was read, and where in the text each definition, type, field and member stands. */
export interface ParsedSchema {
  readonly source: SchemaText;
  readonly definitions: readonly Definition[];
  readonly offsets: ReadonlyMap<object, number>;
  /** The tags that are written out. */
  readonly tagOffsets: ReadonlyMap<object, number>;
}

/** Types inside types within one definition. */
export const NESTING_MAX = 64;

export const SCALARS: readonly ScalarKind[] = [
  ...(["uint", "u8", "u16", "u32", "u64", "int", "i8", "i16", "i32", "i64"] as const),
  ...(["f32", "f64", "bool", "str", "void"] as const),
];

const TYPE_NAME = /^[A-Z][A-Za-z0-9]*$/;
const FIELD_NAME = /^[a-z][A-Za-z0-9_]*$/;
const ENUM_NAME = /^[A-Z][A-Z0-9_]*$/;

/** Reads the text into types whose names are not resolved yet. Throws `SchemaError`. */
export function parse(source: SchemaText, legacy: boolean): ParsedSchema {
  return new Parser(source, legacy).schema();
}

class Parser {
  readonly #source: SchemaText;
  readonly #legacy: boolean;
  readonly #tokens: readonly Token[];
  readonly #offsets = new Map<object, number>();
  readonly #tagOffsets = new Map<object, number>();
  readonly #types = new Map<string, BareType>();
  #index = 0;
  #nesting = 0;

  constructor(source: SchemaText, legacy: boolean) {
    this.#source = source;
    this.#legacy = legacy;
    this.#tokens = tokenize(source);
  }

  schema(): ParsedSchema {
    const definitions: Definition[] = [];
    do definitions.push(this.#definition());
    while (this.#token.kind !== "end");
    return { source: this.#source, definitions, offsets: this.#offsets, tagOffsets: this.#tagOffsets };
  }

  get #token(): Token {
    return this.#tokens[this.#index];
  }

  #definition(): Definition {
    const start = this.#token;
    const isOldForm = this.#legacy && (start.text === "enum" || start.text === "struct");
    if (start.text !== "type" && !isOldForm) {
      const old = start.text === "enum" || start.text === "struct";
      const hint = old ? `type Name ${start.text} { ... }, or read it as a schema of an older draft` : undefined;
      this.#fail("a definition starts with the word type", "type Name ...", hint);
    }
    if (!isOldForm) this.#index++;
    const keyword = isOldForm ? this.#advance() : undefined;
    const nameToken = this.#token;
    const name = this.#name("a type's name", TYPE_NAME, "a capital letter, then letters and digits");
    const type = keyword === undefined ? this.#type() : this.#body(keyword);
    const definition: Definition = { name, type, ...docOf(start) };
    this.#offsets.set(definition, nameToken.offset);
    if (!this.#types.has(name)) this.#types.set(name, type);
    return definition;
  }

  #type(): BareType {
    if (++this.#nesting > NESTING_MAX) this.#fail("types are nested too deeply", `at most ${NESTING_MAX} levels`);
    const { offset } = this.#token;
    const type = this.#typeHere();
    this.#offsets.set(type, offset);
    this.#nesting--;
    return type;
  }

  #typeHere(): BareType {
    const token = this.#token;
    if (token.kind !== "name") return this.#legacyType(token);
    this.#index++;
    const scalar = SCALARS.find((kind) => kind === token.text);
    if (scalar !== undefined) return { kind: scalar };
    if (TYPE_NAME.test(token.text)) return this.#alias(token.text);
    switch (token.text) {
      case "data":
        return { kind: "data", ...this.#length(this.#legacy) };
      case "optional":
        return { kind: "optional", type: this.#between("<", ">") };
      case "list":
        return { kind: "list", type: this.#between("<", ">"), ...this.#length(false) };
      case "map":
        return this.#map();
      case "struct":
      case "enum":
      case "union":
        return this.#body(token);
      default:
        if (this.#legacy && token.text === "string") return { kind: "str" };
        this.#index--;
        return this.#fail(
          "there is no such type",
          "a type of BARE, or a name with a capital letter",
          HINTS.get(token.text),
        );
    }
  }

  #alias(name: string): BareType {
    return { kind: "alias", name, target: () => this.#types.get(name)! };
  }

  // The forms of older drafts that start with a sign.
  #legacyType(token: Token): BareType {
    const isOld = token.kind === "[" || token.kind === "(" || token.kind === "{";
    if (!isOld || !this.#legacy) {
      return this.#fail(
        "a type is missing",
        "a type",
        isOld ? "older drafts wrote types so; read it as one" : undefined,
      );
    }
    if (token.kind === "(") return this.#union(")");
    if (token.kind === "{") return this.#struct();
    this.#index++;
    const length = this.#token.kind === "]" ? {} : { length: this.#lengthNumber() };
    this.#expect("]");
    return { kind: "list", type: this.#type(), ...length };
  }

  #map(): BareType {
    if (this.#legacy && this.#token.kind === "[")
      return { kind: "map", key: this.#between("[", "]"), value: this.#type() };
    return { kind: "map", key: this.#between("<", ">"), value: this.#between("<", ">") };
  }

  #body(keyword: Token): BareType {
    if (keyword.text === "struct") return this.#struct();
    return keyword.text === "enum" ? this.#enum() : this.#union("}");
  }

  #struct(): BareType {
    this.#expect("{");
    const fields: StructField[] = [];
    while (this.#token.kind !== "}" || fields.length === 0) {
      const token = this.#token;
      if (token.kind === "}") this.#fail("a struct has no fields", "at least one field");
      const name = this.#name("a field's name", FIELD_NAME, "a small letter, then letters, digits and _");
      this.#expect(":");
      const field: StructField = { name, type: this.#type(), ...docOf(token) };
      this.#offsets.set(field, token.offset);
      fields.push(field);
    }
    this.#index++;
    return { kind: "struct", fields };
  }

  #enum(): BareType {
    this.#expect("{");
    const members: EnumMember[] = [];
    let next = 0;
    while (this.#token.kind !== "}" || members.length === 0) {
      const token = this.#token;
      if (token.kind === "}") this.#fail("an enum has no members", "at least one member");
      const name = this.#name("an enum member's name", ENUM_NAME, "capital letters, digits and _");
      const tagOffset = this.#tagOffset();
      const member: EnumMember = { name, tag: this.#tag(tagOffset, next), ...docOf(token) };
      this.#place(member, token.offset, tagOffset);
      members.push(member);
      next = member.tag + 1;
    }
    this.#index++;
    return { kind: "enum", members };
  }

  #union(end: "}" | ")"): BareType {
    this.#expect(end === "}" ? "{" : "(");
    const found: Omit<UnionMember, "name">[] = [];
    let next = 0;
    for (let isMore = true; isMore;) {
      const bar = this.#token; // documentation stands before the bar or behind it
      this.#advanceOver("|");
      const token = this.#token;
      if (token.kind === end && found.length === 0) this.#fail("a union has no members", "at least one member");
      const type = this.#type();
      const tagOffset = this.#tagOffset();
      const member = { type, tag: this.#tag(tagOffset, next), ...docOf(bar), ...docOf(token) };
      this.#place(type, token.offset, tagOffset);
      found.push(member);
      next = member.tag + 1;
      isMore = this.#token.kind === "|" && this.#tokens[this.#index + 1].kind !== end;
    }
    this.#advanceOver("|");
    this.#expect(end, "| or the end of the union");
    const names = memberNames(found);
    return { kind: "union", members: found.map((member, i) => ({ name: names[i], ...member })) };
  }

  #place(thing: object, offset: number, tagOffset: number | undefined): void {
    this.#offsets.set(thing, offset);
    if (tagOffset !== undefined) this.#tagOffsets.set(thing, tagOffset);
  }

  // Steps over the = before a tag, and says where the tag stands; undefined where there is none.
  #tagOffset(): number | undefined {
    return this.#advanceOver("=") ? this.#token.offset : undefined;
  }

  #tag(offset: number | undefined, next: number): number {
    const tag = offset === undefined ? next : this.#number("a tag");
    if (tag <= Number.MAX_SAFE_INTEGER) return tag;
    throw errorAt(this.#source, offset ?? this.#tokens[this.#index - 1].offset, "a tag is too large", {
      expected: `at most ${Number.MAX_SAFE_INTEGER}`,
      hint: "give the members smaller tags",
    });
  }

  #length(angled: boolean): { length?: number } {
    const isAngled = angled && this.#token.kind === "<";
    if (!isAngled && this.#token.kind !== "[") return {};
    this.#index++;
    const length = this.#lengthNumber();
    this.#expect(isAngled ? ">" : "]");
    return { length };
  }

  #lengthNumber(): number {
    const { offset } = this.#token;
    const length = this.#number("a length");
    if (length > 0 && length <= LENGTH_MAX) return length;
    const expected = `a whole number from 1 to ${LENGTH_MAX}`;
    throw errorAt(this.#source, offset, "an impossible length", { expected, got: `${length}` });
  }

  #number(what: string): number {
    if (this.#token.kind !== "number") this.#fail(`${what} is missing`, "a number of decimal digits");
    return Number(this.#advance().text);
  }

  #name(what: string, pattern: RegExp, expected: string): string {
    if (this.#token.kind !== "name") this.#fail(`${what} is missing`, expected);
    if (!pattern.test(this.#token.text)) this.#fail(`${what} has a form that BARE does not allow`, expected);
    return this.#advance().text;
  }

  #between(open: "<" | "[", close: ">" | "]"): BareType {
    this.#expect(open);
    const type = this.#type();
    this.#expect(close);
    return type;
  }

  #advance(): Token {
    return this.#tokens[this.#index++];
  }

  #advanceOver(kind: Token["kind"]): boolean {
    if (this.#token.kind !== kind) return false;
    this.#index++;
    return true;
  }

  #expect(kind: Token["kind"], what: string = kind): void {
    if (!this.#advanceOver(kind)) this.#fail(`${what} is missing`, what);
  }

  #fail(summary: string, expected: string, hint?: string): never {
    const { kind, text, offset } = this.#token;
    const got = kind === "end" ? "the end of the schema" : text.slice(0, 40);
    throw errorAt(this.#source, offset, summary, { expected, got, hint });
  }
}

function docOf({ doc }: Token): { doc?: string } {
  return doc === undefined ? {} : { doc };
}

const HINTS: ReadonlyMap<string, string> = new Map([
  ["string", "str"],
  ["float", "f32 or f64"],
  ["double", "f64"],
  ["boolean", "bool"],
  ["bytes", "data"],
  ["array", "list<type>[length]"],
]);
