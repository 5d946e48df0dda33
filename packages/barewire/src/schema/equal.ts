// Whether two schema values are the same: names, tags, order and types, the types behind names compared once for each
// pair, so that recursion ends. Documentation does not count, nor does an alias without a name.

import type { BareSchema, BareType } from "./ast.ts";
import { partsOf } from "./walk.ts";

/** Whether two schemas define the same types under the same names in the same order. */
export function equalSchemas(a: BareSchema, b: BareSchema): boolean {
  if (a.definitions.length !== b.definitions.length) return false;
  if (a.definitions.some(({ name }, i) => name !== b.definitions[i].name)) return false;
  return equal(a.definitions.map(({ type }, i) => [type, b.definitions[i].type]));
}

/** Whether two types are the same. */
export function equalTypes(a: BareType, b: BareType): boolean {
  return equal([[a, b]]);
}

type Pair = readonly [BareType, BareType];

// A list of what is still to be compared and no recursion: names may lead far.
function equal(pending: Pair[]): boolean {
  const compared = new Map<BareType, Set<BareType>>();
  while (pending.length > 0) {
    const [a, b] = pending.pop()!.map(named);
    if (a === b) continue;
    if (a.kind !== b.kind || ownParts(a) !== ownParts(b)) return false;
    const known = compared.get(a) ?? new Set();
    if (known.has(b)) continue;
    compared.set(a, known.add(b));
    if (a.kind === "alias" && b.kind === "alias") pending.push([a.target(), b.target()]);
    else {
      const others = partsOf(b);
      for (const [i, part] of partsOf(a).entries()) pending.push([part, others[i]]);
    }
  }
  return true;
}

// Through aliases that have no name.
function named(type: BareType): BareType {
  let current = type;
  while (current.kind === "alias" && current.name === "") current = current.target();
  return current;
}

// All of a type but its parts, as a text that can be compared.
function ownParts(type: BareType): string {
  switch (type.kind) {
    case "alias":
      return type.name;
    case "data":
    case "list":
      return `${type.length}`;
    case "struct":
      return JSON.stringify(type.fields.map(({ name }) => name));
    case "enum":
    case "union":
      return JSON.stringify(type.members.map(({ name, tag }) => [name, tag]));
    case "uint":
    case "int":
    case "u64":
    case "i64":
      return `${type.safe === true}`;
    default:
      return "";
  }
}
