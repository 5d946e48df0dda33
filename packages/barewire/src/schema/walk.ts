// Walks over types that readers, codec and printer share. Types may be recursive and may come from outside, so every
// walk here ends and has a bound on its depth.

import { resolveType } from "./ast.ts";
import type { BareType, TypeOfKind } from "./ast.ts";

/** Types inside types, names included, not counting recursion. */
export const TYPE_DEPTH_MAX = 256;

/** The types that a type is made of; none for an alias, which only names one. */
export function partsOf(type: BareType): readonly BareType[] {
  switch (type.kind) {
    case "optional":
    case "list":
      return [type.type];
    case "map":
      return [type.key, type.value];
    case "struct":
      return type.fields.map((field) => field.type);
    case "union":
      return type.members.map((member) => member.type);
    default:
      return [];
  }
}

/** The aliases in a type, in the order of the text, without what stands behind them. */
export function aliasesIn(type: BareType): TypeOfKind<"alias">[] {
  return type.kind === "alias" ? [type] : partsOf(type).flatMap(aliasesIn);
}

/** Whether types are nested more than `TYPE_DEPTH_MAX` deep, names followed; `depths` remembers what was measured. */
export function isTooDeep(type: BareType, depths = new Map<BareType, number>()): boolean {
  const inside = new Set<BareType>();
  const depthOf = (part: BareType, level: number): number => {
    const known = depths.get(part);
    if (known !== undefined || inside.has(part) || level > TYPE_DEPTH_MAX) return known ?? 1;
    inside.add(part);
    const parts = part.kind === "alias" ? [part.target()] : partsOf(part);
    // A struct may have more fields than a call takes arguments.
    const depth = 1 + parts.reduce((most, inner) => Math.max(most, depthOf(inner, level + 1)), 0);
    inside.delete(part);
    depths.set(part, depth);
    return depth;
  };
  return depthOf(type, 1) > TYPE_DEPTH_MAX;
}

// No message is as large; sizes stop growing here, so that only what never ends is infinite.
const LEAST_SIZE_MAX = 2 ** 64;

/**
 * The fewest bytes that values of each type in `roots` take, parts included, up to 2^64. A type whose values would
 * never end, such as a struct that holds itself, takes `Infinity`.
 */
export function leastSizes(roots: readonly BareType[]): ReadonlyMap<BareType, number> {
  const users = new Map<BareType, BareType[]>(); // who holds a type
  const pending = [...roots];
  const seen = new Set<BareType>(roots);
  while (pending.length > 0) {
    const type = pending.pop()!;
    for (const part of type.kind === "alias" ? [type.target()] : partsOf(type)) {
      const others = users.get(part);
      if (others === undefined) users.set(part, [type]);
      else others.push(type);
      if (!seen.has(part)) pending.push(part);
      seen.add(part);
    }
  }
  // Sizes start at infinity and only fall; a type is looked at again when one of its parts has fallen.
  const sizes = new Map<BareType, number>();
  const queue = [...seen].reverse();
  const queued = new Set(queue);
  for (const type of queue) {
    queued.delete(type);
    const least = leastSize(type, (part) => sizes.get(part) ?? Infinity);
    const size = least === Infinity ? Infinity : Math.min(least, LEAST_SIZE_MAX);
    if (size === (sizes.get(type) ?? Infinity)) continue;
    sizes.set(type, size);
    for (const user of users.get(type) ?? []) {
      if (!queued.has(user)) queue.push(user);
      queued.add(user);
    }
  }
  return new Map([...seen].map((type) => [type, sizes.get(type) ?? Infinity]));
}

const SCALAR_BYTES = { u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 } as const;

function leastSize(type: BareType, sizeOf: (part: BareType) => number): number {
  switch (type.kind) {
    case "void":
      return 0;
    case "data":
      return type.length ?? 1;
    case "list":
      return type.length === undefined ? 1 : type.length * sizeOf(type.type);
    case "struct":
      return type.fields.reduce((sum, field) => sum + sizeOf(field.type), 0);
    case "union":
      return 1 + type.members.reduce((least, member) => Math.min(least, sizeOf(member.type)), Infinity);
    case "alias":
      return sizeOf(type.target());
    case "uint":
    case "int":
    case "str":
    case "enum":
    case "map":
    case "optional":
      return 1;
    default:
      return SCALAR_BYTES[type.kind];
  }
}

/** Whether values of a type can be keys of a map: numbers that are not floating, bools, strings, bytes and enums. */
export function isMapKey(type: BareType): boolean {
  return /^(bool|uint|int|[ui](8|16|32|64)|str|data|enum)$/.test(resolveType(type).kind);
}

/** What a map key may be, in words. */
export const MAP_KEYS = "an integer, bool, str, data or an enum";
