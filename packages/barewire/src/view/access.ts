// From a layout to views, once per node: an accessor that reads and writes a value in place, and a class for what has
// parts. Classes are put together from closures and property descriptors, so that pages whose content policy forbids
// `eval` can use them. Parts of a view are views that are made once and seated again, so reading in a loop makes no
// garbage; a part that is kept changes when its owner moves on.

import { readValueAt } from "./read.ts";
import { decodeText, ViewError } from "./memory.ts";
import type { Memory } from "./memory.ts";
import { ColumnsItem, ColumnsList, ItemList, NumbersList, PackedList, RecordList, SeatedView } from "./lists.ts";
import type { ColumnView, SeatedList } from "./lists.ts";
import { numberProperty, readEnum, readNumber, readTag, writeTag } from "./scalar.ts";
import { writeInPlace } from "./write.ts";
import type { DataNode, LayoutNode, ListNode, MapNode, OptionalNode, StructNode, UnionNode } from "../layout/node.ts";
import { NUMBER_BYTES } from "../layout/node.ts";

/** The views of an owner's parts. */
type Parts = (SeatedView | undefined)[];

/** Reads and writes values of one node. */
export interface Accessor {
  readonly sizeBytes: number;
  /** The value at an address, or its view: `parts[part]`, seated. */
  read(memory: Memory, at: number, parts: Parts, part: number): unknown;
  write(memory: Memory, at: number, value: unknown): void;
}

const accessors = new WeakMap<LayoutNode, Accessor>();

/** The accessor of a node, made once. */
export function accessorOf(node: LayoutNode): Accessor {
  let accessor = accessors.get(node);
  if (accessor !== undefined) return accessor;
  const write = (memory: Memory, at: number, value: unknown): void => writeInPlace(node, memory, at, value);
  accessor = { sizeBytes: node.sizeBytes, read: readerOf(node), write };
  accessors.set(node, accessor);
  return accessor;
}

function readerOf(node: LayoutNode): Accessor["read"] {
  switch (node.kind) {
    case "number":
      return (memory, at) => readNumber(node, memory, at);
    case "bool":
      return (memory, at) => memory.u8[at] !== 0;
    case "void":
      return () => undefined;
    case "enum":
      return (memory, at) => readEnum(node, memory, at);
    case "str":
      return (memory, at) => decodeText(memory, at + memory.u32[at >>> 2], memory.u32[(at >>> 2) + 1]);
    case "optional":
      return optionalReader(node);
    case "box": {
      // Asked for when it is read: the node may be one that is not finished.
      const { item } = node;
      return (memory, at, parts, part) => accessorOf(item()).read(memory, at + memory.u32[at >>> 2], parts, part);
    }
    default: {
      const make = makerOf(node);
      return (memory, at, parts, part) => {
        const view = (parts[part] ??= make());
        view.$seat(memory, at);
        return view;
      };
    }
  }
}

function optionalReader({ item, presenceOffsetBytes, presenceBit }: OptionalNode): Accessor["read"] {
  const accessor = accessorOf(item);
  const mask = 1 << presenceBit;
  return (memory, at, parts, part) =>
    (memory.u8[at + presenceOffsetBytes] & mask) === 0 ? undefined : accessor.read(memory, at, parts, part);
}

type PartNode = StructNode | ListNode | MapNode | UnionNode | DataNode;

const makers = new WeakMap<PartNode, () => SeatedView>();

/** Makes views of a node that has parts. */
export function makerOf(node: PartNode): () => SeatedView {
  let maker = makers.get(node);
  if (maker !== undefined) return maker;
  maker = newMaker(node);
  makers.set(node, maker);
  return maker;
}

function newMaker(node: PartNode): () => SeatedView {
  switch (node.kind) {
    case "struct": {
      const View = structClass(node);
      return () => new View();
    }
    case "data": {
      const list = bytesList(node);
      return () => new NumbersList(list);
    }
    case "list":
      return () => listView(node);
    case "map":
      return () => new EntriesView(node);
    default: {
      const accessors = node.members.map((member) => accessorOf(member.node));
      return () => new MemberView(node, accessors);
    }
  }
}

// Bytes are a list of u8 to a view.
function bytesList(node: DataNode): ListNode {
  const { length, contentAlignBytes, sizeBytes, alignBytes } = node;
  const item = { kind: "number", number: "u8", safe: false, isArrayItem: true, sizeBytes: 1, alignBytes: 1 } as const;
  const shape = { packing: undefined, columns: undefined, contentAlignBytes };
  return { kind: "list", length, item: () => item, ...shape, sizeBytes, alignBytes };
}

function listView(node: ListNode): SeatedList {
  if (node.packing !== undefined) return new PackedList(node);
  if (node.columns !== undefined) return columnsList(node);
  const item = node.item();
  if (item.kind === "number") return new NumbersList(node);
  if (item.kind === "struct") return new RecordList(node, accessorOf(item), makerOf(item)());
  return new ItemList(node, accessorOf(item));
}

function columnsList(node: ListNode): ColumnsList {
  const views = node.columns!.map(({ node: item }) => {
    const { sizeBytes, alignBytes } = item;
    const shape = { packing: undefined, columns: undefined, contentAlignBytes: alignBytes };
    // Its length is given when it is seated.
    return listView({ kind: "list", length: 0, item: () => item, ...shape, sizeBytes, alignBytes }) as ColumnView;
  });
  return new ColumnsList(node, views, columnsItemClass(node.item() as StructNode));
}

type StructClass = (new () => SeatedView) & { readonly prototype: { readonly $node: StructNode } };

function structClass(node: StructNode): StructClass {
  class View extends SeatedView {}
  Object.defineProperty(View.prototype, "$node", { value: node });
  node.fields.forEach(({ name, offsetBytes, node: field }, part) => {
    const property =
      field.kind === "number" ? numberProperty(field, offsetBytes, name) : partProperty(field, offsetBytes, part);
    Object.defineProperty(View.prototype, name, property);
  });
  return View as unknown as StructClass;
}

function partProperty(node: LayoutNode, offset: number, part: number): PropertyDescriptor & ThisType<SeatedView> {
  const accessor = accessorOf(node);
  return {
    enumerable: true,
    get() {
      return accessor.read(this.$memory, this.$at + offset, this.$parts, part);
    },
    set(value: unknown) {
      accessor.write(this.$memory, this.$at + offset, value);
    },
  };
}

function columnsItemClass(node: StructNode): new (columns: readonly ColumnView[]) => ColumnsItem {
  class Item extends ColumnsItem {}
  node.fields.forEach(({ name }, part) => {
    const property: PropertyDescriptor & ThisType<ColumnsItem> = {
      enumerable: true,
      get() {
        return this.$columns[part].at(this.$index);
      },
      set(value: unknown) {
        this.$columns[part].set(this.$index, value);
      },
    };
    Object.defineProperty(Item.prototype, name, property);
  });
  return Item;
}

/** A map in place. */
class EntriesView extends SeatedView {
  readonly #entries: SeatedList & { at(index: number): unknown };
  readonly #key: LayoutNode;
  readonly #keyOffset: number;

  constructor(node: MapNode) {
    super();
    this.#entries = listView(node.entries) as RecordList;
    const [key] = (node.entries.item() as StructNode).fields;
    this.#key = key.node;
    this.#keyOffset = key.offsetBytes;
  }

  override $seat(memory: Memory, at: number): void {
    super.$seat(memory, at);
    this.#entries.$seat(memory, at);
  }

  get size(): number {
    return this.#entries.length;
  }

  keyAt(index: number): unknown {
    return (this.#entries.at(index) as { readonly key: unknown }).key;
  }

  valueAt(index: number): unknown {
    return (this.#entries.at(index) as { readonly value: unknown }).value;
  }

  get(key: unknown): unknown {
    for (let i = 0; i < this.size; i++) {
      const entry = this.#entries.at(i) as SeatedView & { readonly value: unknown };
      if (readValueAt(this.#key, this.$memory, entry.$at + this.#keyOffset) === key) return entry.value;
    }
    return undefined;
  }
}

/** Functions by the names of a union's members. */
type Cases = Readonly<Record<string, (view: unknown) => unknown>>;

/** A union in place. */
export class MemberView extends SeatedView {
  readonly $node: UnionNode;
  readonly #accessors: readonly Accessor[];
  #cases: Cases | undefined;
  #handlers: ((view: unknown) => unknown)[] = [];

  constructor(node: UnionNode, accessors: readonly Accessor[]) {
    super();
    this.$node = node;
    this.#accessors = accessors;
  }

  /** Name of the member that is there. Throws `ViewError` where the tag is none of the schema's. */
  get kind(): string {
    return this.$node.members[this.#member()].name;
  }

  /** The member's value or view. */
  get value(): unknown {
    const member = this.#member();
    const at = this.$at + this.$node.payloadOffsetBytes;
    return this.#accessors[member].read(this.$memory, at, this.$parts, member);
  }

  $match(cases: Cases): unknown {
    const member = this.#member();
    const at = this.$at + this.$node.payloadOffsetBytes;
    const view = this.#accessors[member].read(this.$memory, at, this.$parts, member);
    // Looked up by name once for each object of cases, not for each value.
    if (cases !== this.#cases) {
      this.#cases = cases;
      this.#handlers = this.$node.members.map(({ name }) => cases[name]);
    }
    return this.#handlers[member](view);
  }

  $select(name: string): unknown {
    const { members, base, sizeBytes } = this.$node;
    const member = members.find((one) => one.name === name);
    if (member === undefined) {
      throw new ViewError("a union has no such member", { expected: members.map((m) => m.name).join(", "), got: name });
    }
    this.$memory.u8.fill(0, this.$at + NUMBER_BYTES[base], this.$at + sizeBytes);
    writeTag(base, this.$memory, this.$at, member.tag);
    return this.value;
  }

  #member(): number {
    const { members, base } = this.$node;
    const tag = readTag(base, this.$memory, this.$at);
    if (members[tag]?.tag === tag) return tag; // most unions count from 0
    for (let i = 0; i < members.length; i++) if (members[i].tag === tag) return i;
    throw new ViewError("a union has a tag that its schema does not know", {
      expected: members.map((member) => member.tag).join(", "),
      got: `${tag}`,
    });
  }
}
