// What a change from one version of a schema to the next breaks. BARE messages carry no names and no sizes, so nearly
// every change does: what stays harmless is a name (of a field, a member, a type), and what only grows is a union or an
// enum, whose new members old readers refuse when they meet one.
//
// Two questions, as two programs meet: can new readers read what old writers wrote, and can old readers read what new
// writers write. Left out: members that are never sent, which only the programs know.

import { resolveType } from "./ast.ts";
import type { BareSchema, BareType, EnumMember, StructField, TypeOfKind, UnionMember } from "./ast.ts";
import { printType } from "./print.ts";

/** Whom a change breaks. */
export interface SchemaChange {
  /** The part that changed, from its definition down: `Person.address.city`. */
  readonly path: string;
  /** What changed, in words. */
  readonly what: string;
  /** New programs cannot read what old ones wrote, or not all of it. */
  readonly breaksNewReaders: boolean;
  /** Old programs cannot read what new ones write, or not all of it. */
  readonly breaksOldReaders: boolean;
}

const HARMLESS = { breaksNewReaders: false, breaksOldReaders: false };
const BREAKING = { breaksNewReaders: true, breaksOldReaders: true };
const ADDED = { breaksNewReaders: false, breaksOldReaders: true };
const REMOVED = { breaksNewReaders: true, breaksOldReaders: false };

/** The changes from `before` to `after`, in the order of the definitions. Definitions are compared by their names. */
export function diffSchemas(before: BareSchema, after: BareSchema): SchemaChange[] {
  const differ = new Differ();
  const laterOf = new Map(after.definitions.map(({ name, type }) => [name, type]));
  for (const { name, type } of before.definitions) {
    const later = laterOf.get(name);
    if (later === undefined)
      differ.add(name, "the type was removed: nobody reads or writes such messages now", REMOVED);
    else differ.compareDefinition(type, later, name);
    laterOf.delete(name);
  }
  for (const name of laterOf.keys())
    differ.add(name, "the type was added: old programs do not know such messages", ADDED);
  return differ.changes;
}

class Differ {
  readonly changes: SchemaChange[] = [];
  // Pairs of types behind names that were compared or are being compared.
  readonly #compared = new Map<BareType, Set<BareType>>();

  add(path: string, what: string, breaks: Pick<SchemaChange, "breaksNewReaders" | "breaksOldReaders">): void {
    this.changes.push({ path, what, ...breaks });
  }

  /** Compares what two names stand for, once: whoever uses the name is not told again. */
  compareDefinition(before: BareType, after: BareType, path: string): void {
    const known = this.#compared.get(before) ?? new Set();
    if (known.has(after)) return;
    this.#compared.set(before, known.add(after));
    this.#compare(before, after, path);
  }

  #compare(before: BareType, after: BareType, path: string): void {
    if (before.kind === "alias" && after.kind === "alias") {
      const isSameName = before.name === after.name && before.name !== "";
      return this.compareDefinition(before.target(), after.target(), isSameName ? before.name : path);
    }
    if (before.kind === "alias" || after.kind === "alias") {
      return this.compareDefinition(resolveType(before), resolveType(after), path);
    }
    if (before.kind !== after.kind) return this.add(path, kindChange(before, after), BREAKING);
    switch (before.kind) {
      case "data":
        return this.#length(before, after as typeof before, path, "bytes");
      case "list":
        this.#length(before, after as typeof before, path, "entries");
        return this.#compare(before.type, (after as typeof before).type, `${path}[]`);
      case "optional":
        return this.#compare(before.type, (after as typeof before).type, path);
      case "map":
        this.#compare(before.key, (after as typeof before).key, `${path}<key>`);
        return this.#compare(before.value, (after as typeof before).value, `${path}<value>`);
      case "struct":
        return this.#struct(before, after as typeof before, path);
      case "union":
        return this.#members(before.members, (after as typeof before).members, path, "union");
      case "enum":
        return this.#members(before.members, (after as typeof before).members, path, "enum");
      default:
    }
  }

  #length(before: { length?: number }, after: { length?: number }, path: string, unit: string): void {
    if (before.length === after.length) return;
    const text = (length: number | undefined): string => (length === undefined ? "any number" : `exactly ${length}`);
    const what = `the length changed from ${text(before.length)} to ${text(after.length)} of ${unit}`;
    const why = before.length !== undefined && after.length !== undefined ? "" : "; only a free length is written down";
    this.add(path, what + why, BREAKING);
  }

  #struct(before: TypeOfKind<"struct">, after: TypeOfKind<"struct">, path: string): void {
    // Schemas may have very many fields and may come from outside, so that names are looked up and never searched.
    const old = indexOf(before.fields);
    const now = indexOf(after.fields);
    const isRename = (index: number): boolean => {
      // One field of the same type in the same place under another name is the same bytes.
      const [field, other] = [before.fields[index], after.fields[index]];
      if (old.size !== now.size || now.has(field.name) || old.has(other.name)) return false;
      return sameText(field, other);
    };
    const renames = new Set([...old.values()].filter(isRename));
    for (const index of renames) {
      const what = `the field was renamed to ${after.fields[index].name}: same bytes`;
      this.add(`${path}.${before.fields[index].name}`, what, HARMLESS);
    }
    for (const [name, index] of old) {
      if (now.has(name) || renames.has(index)) continue;
      this.add(`${path}.${name}`, "the field was removed, and all that follows moved", BREAKING);
    }
    for (const [name, index] of now) {
      if (old.has(name) || renames.has(index)) continue;
      this.add(`${path}.${name}`, `the field was added, ${placeOf(index, now.size)}`, BREAKING);
    }
    const keptNow = [...now.keys()].filter((name) => old.has(name));
    const moved = [...old.keys()].filter((name) => now.has(name)).filter((name, i) => keptNow[i] !== name);
    if (moved.length > 0) this.add(path, `fields changed their order: ${moved.join(", ")}`, BREAKING);
    for (const { name, type } of before.fields) {
      const later = now.get(name);
      if (later !== undefined) this.#compare(type, after.fields[later].type, `${path}.${name}`);
    }
  }

  #members<M extends EnumMember | UnionMember>(
    before: readonly M[],
    after: readonly M[],
    path: string,
    what: "enum" | "union",
  ): void {
    const laterByTag = new Map(after.map((member) => [member.tag, member]));
    const laterByName = new Map(after.map((member) => [member.name, member]));
    for (const member of before) {
      const sameTag = laterByTag.get(member.tag);
      const sameName = laterByName.get(member.name);
      const here = `${path}.${member.name}`;
      if (sameName !== undefined && sameName.tag !== member.tag) {
        this.add(here, `the tag changed from ${member.tag} to ${sameName.tag}`, BREAKING);
      } else if (sameTag === undefined) {
        this.add(here, `the member of the ${what} was removed: new programs refuse its tag ${member.tag}`, REMOVED);
      } else if (sameTag.name !== member.name && what === "enum") {
        this.add(here, `the member was renamed to ${sameTag.name}: same bytes, if it means the same`, HARMLESS);
      }
      if (what === "union" && sameTag !== undefined) {
        this.#compare((member as UnionMember).type, (sameTag as UnionMember).type, here);
      }
    }
    const oldTags = new Set(before.map(({ tag }) => tag));
    const oldNames = new Set(before.map(({ name }) => name));
    for (const member of after) {
      if (oldTags.has(member.tag) || oldNames.has(member.name)) continue;
      const message = `the member of the ${what} was added: old programs refuse its tag ${member.tag}`;
      this.add(`${path}.${member.name}`, message, ADDED);
    }
  }
}

function sameText(a: StructField, b: StructField): boolean {
  return printType(a.type) === printType(b.type);
}

function indexOf(fields: readonly StructField[]): ReadonlyMap<string, number> {
  return new Map(fields.map(({ name }, index) => [name, index]));
}

function placeOf(index: number, count: number): string {
  if (index === count - 1) return "at the end: old programs find bytes after the message, new ones too few";
  return "and all that follows moved";
}

function kindChange(before: BareType, after: BareType): string {
  const [old, now] = [before, after].map((type) => printType(type).split(" {")[0]);
  if (before.kind === "optional" || after.kind === "optional") {
    const verb = after.kind === "optional" ? "became optional" : "is no longer optional";
    return `it ${verb}: a byte that says whether there is a value ${after.kind === "optional" ? "came" : "went"}`;
  }
  const isWidth = /^[ui](8|16|32|64)$/.test(old) && /^[ui](8|16|32|64)$/.test(now);
  if (isWidth && old.slice(1) === now.slice(1)) return `the sign changed from ${old} to ${now}: large values differ`;
  if (isWidth) return `the width changed from ${old} to ${now}: other bytes`;
  return `the type changed from ${old} to ${now}`;
}
