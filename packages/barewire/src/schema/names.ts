// Names of union members. BARE knows a member by its tag alone; programs want a name, and it is derived here in the one
// way that reader, printer and generator share: an alias by its name, another type by its kind, the second of a kind
// with its tag behind it (`list`, `list3`).

import type { BareType } from "./ast.ts";

/** The names of a union's members, each of them once. */
export function memberNames(members: readonly { readonly type: BareType; readonly tag: number }[]): string[] {
  const taken = new Set<string>();
  return members.map(({ type, tag }) => {
    const base = type.kind === "alias" && type.name !== "" ? type.name : type.kind;
    const name = taken.has(base) ? `${base}${tag}` : base;
    taken.add(name);
    return name;
  });
}
