// Whether two schema values are the same: names, tags, order and types, the types behind names compared once for each
// pair, so that recursion ends. Documentation does not count, nor does an alias without a name.

import type { BareSchema, BareType } from "./ast.ts";
import { partsOf } from "./walk.ts";

/** Whether two schemas define the same types under the same names in the same order. */
export function equalSchemas(a: BareSchema, b: BareSchema): boolean {
  if (a.definitions.length !== b.definitions.length) return false;
  const compared = new Map<BareType, Set<BareType>>();
  return a.definitions.every(({ name, type }, i) => {
    const other = b.definitions[i];
    return name === other.name && equal(type, other.type, compared);
  });
}

/** Whether two types are the same. */
export function equalTypes(a: BareType, b: BareType): boolean {
  return equal(a, b, new Map());
}

function equal(left: BareType, right: BareType, compared: Map<BareType, Set<BareType>>): boolean {
  const [a, b] = [named(left), named(right)];
  if (a === b) return true;
  if (a.kind !== b.kind || ownParts(a) !== ownParts(b)) return false;
  const known = compared.get(a) ?? new Set();
  if (known.has(b)) return true; // under way, or found equal
  compared.set(a, known.add(b));
  if (a.kind === "alias" && b.kind === "alias") return equal(a.target(), b.target(), compared);
  const others = partsOf(b);
  return partsOf(a).every((part, i) => equal(part, others[i], compared));
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
