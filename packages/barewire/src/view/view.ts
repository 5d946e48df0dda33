// Views for programs: `viewOf(layout)` gives what lays views over bytes, with types that follow from the schema's. What
// must be trusted was written by `build` or went through `checkView`; other bytes read as nonsense or throw, and never
// reach outside their buffer.

import type { Access, HostSpace, Region } from "../region.ts";
import type { Layout, LayoutNode, ListNode } from "../layout/node.ts";
import { accessorOf, makerOf, MemberView } from "./access.ts";
import { ColumnsItem, SeatedView } from "./lists.ts";
import { ViewError, windowFor } from "./memory.ts";
import type { ViewSource } from "./memory.ts";
import { readValueAt } from "./read.ts";
import { checkView, VIEW_LIMITS } from "./check.ts";
import type { ViewLimits } from "./check.ts";
import type { ListView, MatchCases, MemberValue, UnionValue, UnionView, View } from "./types.ts";

/** Lays views of one layout over bytes. */
export interface ViewClass<T> {
  readonly layout: Layout<T>;
  /**
   * A view of a value at the start of the source, or `offsetBytes` from it. Throws `ViewError` where the source is too
   * small or not aligned. A root without parts (a number, text) is read at once.
   */
  over<A extends Access>(region: Region<HostSpace, A>, offsetBytes?: number): View<T, A>;
  over(bytes: Uint8Array, offsetBytes?: number): View<T>;
  /** The same for bytes from outside: `checkView` first, and its `ViewError`s. */
  checked<A extends Access>(region: Region<HostSpace, A>, limits?: ViewLimits): View<T, A>;
  checked(bytes: Uint8Array, limits?: ViewLimits): View<T>;
  /** `count` values of fixed size, one behind the other. Throws `ViewError` where the layout has a tail. */
  array<A extends Access>(region: Region<HostSpace, A>, count: number): ListView<T, A>;
  array(bytes: Uint8Array, count: number): ListView<T, "rw">;
}

const classes = new WeakMap<Layout, ViewClass<unknown>>();

/** What lays views of a layout over bytes; made once for each layout. */
export function viewOf<T>(layout: Layout<T>): ViewClass<T> {
  let views = classes.get(layout);
  if (views === undefined) {
    views = makeClass(layout);
    classes.set(layout, views);
  }
  return views as ViewClass<T>;
}

function makeClass(layout: Layout): ViewClass<unknown> {
  const accessor = accessorOf(layout.root);
  const over = (source: ViewSource, offsetBytes = 0): unknown => {
    const { memory, start } = windowFor(layout, source, offsetBytes);
    return accessor.read(memory, start, [], 0);
  };
  const checked = (source: ViewSource, limits: ViewLimits = VIEW_LIMITS): unknown => {
    checkView(layout, source, limits);
    return over(source);
  };
  const array = (source: ViewSource, count: number): unknown => {
    if (!layout.isFixed || !Number.isSafeInteger(count) || count < 0) {
      throw new ViewError("values cannot be laid out as an array", {
        expected: "a layout of fixed size, and a whole count of at least 0",
        got: layout.isFixed ? `count ${count}` : "a layout with a tail",
      });
    }
    const { memory, start } = windowFor(layout, source, 0, count);
    const view = makerOf(arrayNode(layout.root, count))();
    view.$seat(memory, start);
    return view;
  };
  return { layout, over, checked, array } as ViewClass<unknown>;
}

function arrayNode(item: LayoutNode, length: number): ListNode {
  const { alignBytes } = item;
  const shape = { packing: undefined, columns: undefined, contentAlignBytes: alignBytes };
  return { kind: "list", length, item: () => item, ...shape, sizeBytes: length * item.sizeBytes, alignBytes };
}

/**
 * Takes a union apart: calls the case of the member that is there with its view. A missing case does not compile. Keep
 * the cases outside of loops, and nothing is allocated.
 */
export function match<T extends UnionValue, A extends Access, C extends MatchCases<T, A>>(
  view: UnionView<T, A>,
  cases: C,
): ReturnType<C[T["kind"]]> {
  if (!(view instanceof MemberView)) throw new ViewError("only views of unions can be matched");
  return view.$match(cases as unknown as Readonly<Record<string, (view: unknown) => unknown>>) as ReturnType<
    C[T["kind"]]
  >;
}

/** Makes a member the one that is there, all of it zero, and gives its view to be filled in place. */
export function select<T extends UnionValue, K extends T["kind"]>(
  view: UnionView<T, "rw">,
  member: K,
): View<MemberValue<T, K>> {
  if (!(view instanceof MemberView)) throw new ViewError("only views of unions have members to select");
  return view.$select(member) as View<MemberValue<T, K>>;
}

/** A copy of all values of a layout: plain TypeScript values. The bytes must be trusted as those of a view. */
export function readValue<T>(layout: Layout<T>, source: ViewSource): T {
  const { memory, start } = windowFor(layout, source, 0);
  return readValueAt(layout.root, memory, start) as T;
}

/** A copy of what a view shows, to keep when the view moves on. */
export function copyOf(view: object): unknown {
  if (view instanceof ColumnsItem) {
    return Object.fromEntries(fieldNames(view).map((name) => [name, copyPart(Reflect.get(view, name))]));
  }
  if (view instanceof SeatedView && "$node" in view) {
    return readValueAt(view.$node as LayoutNode, view.$memory, view.$at);
  }
  throw new ViewError("only views of structs, lists and unions can be copied");
}

function copyPart(part: unknown): unknown {
  return typeof part === "object" && part !== null ? copyOf(part) : part;
}

function fieldNames(view: ColumnsItem): string[] {
  return Object.keys(Object.getPrototypeOf(view) as object);
}
