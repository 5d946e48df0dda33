// What the codec must know of a type before it compiles it: the fewest bytes of each part, against which the counts of
// lists are held, and where the type goes into itself, which is where depth is counted.

import { resolveType } from "../schema/ast.ts";
import type { BareType } from "../schema/ast.ts";
import { SchemaError } from "../schema/errors.ts";
import { isTooDeep, leastSizes, partsOf, TYPE_DEPTH_MAX } from "../schema/walk.ts";

export interface Analysis {
  /** The fewest bytes of each type that is reached. */
  readonly sizes: ReadonlyMap<BareType, number>;
  /** The types that contain themselves, never aliases, each with the levels that one round through them adds. */
  readonly recursive: ReadonlyMap<BareType, number>;
}

/** Throws `SchemaError` for types that no message can have: nested too deeply, or without end. */
export function analyse(root: BareType): Analysis {
  if (isTooDeep(root)) {
    throw new SchemaError("types are nested too deeply", { expected: `at most ${TYPE_DEPTH_MAX} levels` });
  }
  const sizes = leastSizes([root]);
  if (sizes.get(root) === Infinity) {
    throw new SchemaError("a type has no value that ends", {
      hint: "make the recursive part optional, a list, a map, or a member of a union",
    });
  }
  for (const type of sizes.keys()) {
    if (type.kind === "alias" || type.kind === "union") continue;
    if (!partsOf(type).some((part) => resolveType(part).kind === "void")) continue;
    throw new SchemaError(`void stands in a ${type.kind}`, { expected: "void as a member of a union, or alone" });
  }
  return { sizes, recursive: levelsOf(recursiveTargets(root)) };
}

// A depth-first walk; a part that is being walked leads back to itself. Where that is an alias, what stands behind it
// is taken, so that it counts the same by whatever name a value comes to it.
function recursiveTargets(root: BareType): Set<BareType> {
  const targets = new Set<BareType>();
  const inside = new Set<BareType>();
  const done = new Set<BareType>();
  const walk = (type: BareType): void => {
    if (done.has(type)) return;
    inside.add(type);
    const parts = type.kind === "alias" ? [type.target()] : partsOf(type);
    for (const part of parts) {
      if (inside.has(part)) targets.add(resolveType(part));
      else walk(part);
    }
    inside.delete(type);
    done.add(type);
  };
  walk(root);
  return targets;
}

// From each of the types down to where one of them stands again, by whatever name. What lies between is common to them.
function levelsOf(targets: ReadonlySet<BareType>): Map<BareType, number> {
  const known = new Map<BareType, number>();
  const levels = (type: BareType): number => {
    const found = known.get(type);
    if (found !== undefined) return found;
    let depth = 0;
    if (type.kind === "alias") {
      const target = resolveType(type);
      if (!targets.has(target)) depth = levels(target);
    } else {
      for (const part of partsOf(type)) depth = Math.max(depth, 1 + levels(part));
    }
    known.set(type, depth);
    return depth;
  };
  return new Map([...targets].map((target) => [target, levels(target)]));
}
