// Views of lists: numbers, packed values, structs (one view that is seated again for each item), columns, and the rest.
// A list is seated at its slot, or at its first item where its length is fixed.

import { columnOffsets } from "../layout/layout.ts";
import type { ListNode, NumberNode, StructNode } from "../layout/node.ts";
import { isPackable, readPacked, writePacked } from "../layout/packed.ts";
import { memoryOf, ViewError } from "./memory.ts";
import type { Memory, NumberArray } from "./memory.ts";
import { fail, checkNumber, readNumber, writeNumber } from "./scalar.ts";
import type { Seat } from "./scalar.ts";
import type { Accessor } from "./access.ts";

const EMPTY = memoryOf(new ArrayBuffer(0));

/** A view that can be seated at another address. */
export class SeatedView implements Seat {
  $memory: Memory = EMPTY;
  $at = 0;
  /** Views of the parts, made when they are first read and seated again after that. */
  readonly $parts: (SeatedView | undefined)[] = [];

  $seat(memory: Memory, at: number): void {
    this.$memory = memory;
    this.$at = at;
  }
}

/** What all lists share: where their items are. */
export abstract class SeatedList extends SeatedView {
  /** Number of entries. */
  length: number;
  protected $from = 0;
  readonly $node: ListNode;

  constructor(node: ListNode) {
    super();
    this.$node = node;
    this.length = node.length ?? 0;
  }

  override $seat(memory: Memory, at: number): void {
    this.$memory = memory;
    this.$at = at;
    this.$from = at;
    if (this.$node.length !== undefined) return;
    const slot = at >>> 2;
    this.$from = at + memory.u32[slot];
    this.length = memory.u32[slot + 1];
  }

  /** Items where nothing but a count tells how many there are: records one behind the other, columns. */
  $seatItems(memory: Memory, from: number, count: number): void {
    this.$memory = memory;
    this.$from = from;
    this.length = count;
  }

  /** One field of all structs as a list; only a structure of arrays has columns. */
  column(name: string): unknown {
    throw new ViewError("a list has no columns", {
      path: name,
      expected: "a list that was laid out with the option `soa`",
      got: "items one behind the other",
    });
  }

  array(): unknown {
    throw new ViewError("a list cannot be taken as an array in place", {
      expected: "numbers one behind the other",
      got: this.$node.packing === undefined ? "other items" : `values packed as ${this.$node.packing}`,
      hint: "read them by `at`, or copy them with `toArray`",
    });
  }

  protected $check(index: number): void {
    if (index >>> 0 === index && index < this.length) return;
    this.$refuse(index);
  }

  $refuse(index: number): never {
    throw new ViewError("an index lies outside its list", { expected: `0 to ${this.length - 1}`, got: `${index}` });
  }
}

/** Numbers of one kind, one behind the other; also data. */
export class NumbersList extends SeatedList {
  readonly #number: NumberNode;

  constructor(node: ListNode) {
    super(node);
    this.#number = node.item() as NumberNode;
  }

  at(index: number): number | bigint {
    this.$check(index);
    const number = this.#number;
    return readNumber(number, this.$memory, this.$from + index * number.sizeBytes);
  }

  set(index: number, value: number | bigint): void {
    this.$check(index);
    checkNumber(this.#number, value, `${index}`);
    writeNumber(this.#number, this.$memory, this.$from + index * this.#number.sizeBytes, value);
  }

  override array(): NumberArray {
    const { sizeBytes, number, alignBytes } = this.#number;
    if (sizeBytes !== alignBytes || sizeBytes > 8) return super.array() as never;
    const start = this.$from / sizeBytes;
    return this.$memory[number].subarray(start, start + this.length);
  }

  toArray(): NumberArray {
    return this.array().slice();
  }
}

/** Bools or trits in bits. */
export class PackedList extends SeatedList {
  at(index: number): number | boolean {
    this.$check(index);
    const packing = this.$node.packing!;
    const value = readPacked(packing, this.$memory.u8, this.$from, index);
    return packing === "bits" ? value === 1 : value;
  }

  set(index: number, value: number | boolean): void {
    this.$check(index);
    const packing = this.$node.packing!;
    if (!isPackable(packing, value)) fail(`${index}`, packing === "bits" ? "a bool" : "-1, 0 or 1", value);
    writePacked(packing, this.$memory.u8, this.$from, index, Number(value));
  }

  toArray(): Int8Array | boolean[] {
    const { length } = this;
    if (this.$node.packing === "bits") return Array.from({ length }, (_, index) => this.at(index) as boolean);
    return Int8Array.from({ length }, (_, index) => this.at(index) as number);
  }
}

/** Structs one behind the other: `at` seats one view again and again. */
export class RecordList extends SeatedList {
  readonly $accessor: Accessor;
  readonly #strideBytes: number;
  #item: SeatedView;

  constructor(node: ListNode, accessor: Accessor, item: SeatedView) {
    super(node);
    this.$accessor = accessor;
    this.#strideBytes = node.item().sizeBytes;
    this.#item = item;
  }

  at(index: number): SeatedView {
    if (index >>> 0 !== index || index >= this.length) this.$refuse(index);
    const item = this.#item;
    item.$memory = this.$memory;
    item.$at = this.$from + index * this.#strideBytes;
    return item;
  }

  set(index: number, value: unknown): void {
    this.$check(index);
    this.$accessor.write(this.$memory, this.$from + index * this.#strideBytes, value);
  }
}

/** Items of any other type. */
export class ItemList extends SeatedList {
  readonly $accessor: Accessor;

  constructor(node: ListNode, accessor: Accessor) {
    super(node);
    this.$accessor = accessor;
  }

  at(index: number): unknown {
    this.$check(index);
    return this.$accessor.read(this.$memory, this.$from + index * this.$accessor.sizeBytes, this.$parts, 0);
  }

  set(index: number, value: unknown): void {
    this.$check(index);
    this.$accessor.write(this.$memory, this.$from + index * this.$accessor.sizeBytes, value);
  }
}

/** A list that reads and writes entries: every column is one. */
export type ColumnView = SeatedList & { at(index: number): unknown; set(index: number, value: unknown): void };

/** A struct of a structure of arrays: its fields are entries of the columns. */
export class ColumnsItem {
  readonly $columns: readonly ColumnView[];
  $index = 0;

  constructor(columns: readonly ColumnView[]) {
    this.$columns = columns;
  }
}

/** One array for each field. */
export class ColumnsList extends SeatedList {
  readonly #columns: readonly ColumnView[];
  readonly #item: ColumnsItem;

  constructor(
    node: ListNode,
    columns: readonly ColumnView[],
    Item: new (columns: readonly ColumnView[]) => ColumnsItem,
  ) {
    super(node);
    this.#columns = columns;
    this.#item = new Item(columns);
  }

  override $seat(memory: Memory, at: number): void {
    super.$seat(memory, at);
    this.#seatColumns();
  }

  override $seatItems(memory: Memory, from: number, count: number): void {
    super.$seatItems(memory, from, count);
    this.#seatColumns();
  }

  at(index: number): ColumnsItem {
    this.$check(index);
    this.#item.$index = index;
    return this.#item;
  }

  set(index: number, value: unknown): void {
    this.$check(index);
    (this.$node.item() as StructNode).fields.forEach(({ name }, at) => {
      this.#columns[at].set(index, (value as Readonly<Record<string, unknown>>)[name]);
    });
  }

  override column(name: string): ColumnView {
    const at = this.$node.columns!.findIndex((column) => column.name === name);
    return at < 0 ? (super.column(name) as never) : this.#columns[at];
  }

  // Seated with the list, not for each item: `at` then only moves an index.
  #seatColumns(): void {
    const { offsets } = columnOffsets(this.$node, this.length);
    this.#columns.forEach((column, at) => column.$seatItems(this.$memory, this.$from + offsets[at], this.length));
  }
}
