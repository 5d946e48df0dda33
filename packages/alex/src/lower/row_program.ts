// A planned fused unit as a kernel: for each row of a chunk, for each pass, a vectorised loop over the columns, with
// the per-row arithmetic between the loops. See row_plan.ts for what runs in which pass.

import type { KernelBuilder, LoopValue, Node, Tensor } from "@fidelity/core";
import {
  cellBytes,
  elementCount,
  elementLoopType,
  elementSize,
  foldLanes,
  I32,
  laneWidths,
  largerOf,
  loadElement,
  loopType,
  storeElement,
} from "@fidelity/core";
import { invariant } from "@fidelity/units";
import type { Access, FusedUnit } from "../passes/fuse.ts";
import { isInline, isTail, operandsOf, resolveAlias, rowsAndColumns } from "../passes/fuse.ts";
import type { RowProgram } from "./row_plan.ts";
import { domainAccess, isTranscendental, tailsOf } from "./row_plan.ts";

/** Groups of rows of more bytes than this are not asked for ahead: they would not stay in the first cache. */
const AHEAD_BYTES_MAX = 16 * 1024;
const LINE_BYTES = 64;

/** Generates the kernel of a row program over buffers [loads..., outputs...]. */
export function generateRowProgram(k: KernelBuilder, program: RowProgram, buffers: readonly LoopValue[]): void {
  const emitter = new RowEmitter(k, program, buffers);
  if (program.rows === 1) {
    emitter.flatChunk();
    return;
  }
  const first = k.mul(k.chunk, k.index(program.rowsPerChunk));
  const end = k.min(k.index(program.rows), k.add(first, k.index(program.rowsPerChunk)));
  const { rowsTogether } = program;
  const whole = rowsTogether === 1 ? end : k.sub(end, k.rem(k.sub(end, first), k.index(rowsTogether)));
  k.loop(first, whole, rowsTogether, (row) => emitter.rows(row, rowsTogether));
  // Chunks but the last one hold whole groups of rows.
  if (program.rows % rowsTogether !== 0) k.loop(whole, end, 1, (row) => emitter.rows(row, 1));
}

/** Where a pass stands: column index, unrolled offset in elements, lanes. */
interface Place {
  readonly row: Row;
  readonly column: LoopValue;
  readonly ahead: number;
  readonly lanes: number;
  readonly values: Map<Tensor, LoopValue>;
  /** Addresses of `column` by the row that they are in, shared by the vectors of a turn. */
  readonly addresses: Map<LoopValue, LoopValue>;
}

/** A value that is the same along a row, by the number of lanes that hold it; 1 is always among them. */
type Repeated = ReadonlyMap<number, LoopValue>;

/** What is known of one row outside of the loops over its columns. */
interface Row {
  readonly index: LoopValue;
  /** By operand; see `accessKey`. */
  readonly addresses: Map<string, LoopValue>;
  /** Reductions, and what follows from them. */
  readonly values: Map<Tensor, Repeated>;
  /** Operands that are the same along the row. */
  readonly repeated: Map<string, Repeated>;
  /** Where values that a later pass needs are kept. */
  readonly scratch: ReadonlyMap<Tensor, LoopValue>;
}

class RowEmitter {
  readonly #k: KernelBuilder;
  readonly #program: RowProgram;
  readonly #bufferOf = new Map<Tensor, LoopValue>();
  readonly #members: ReadonlySet<Node>;
  /** For each row of a group. */
  readonly #scratch: readonly ReadonlyMap<Tensor, LoopValue>[];

  constructor(k: KernelBuilder, program: RowProgram, buffers: readonly LoopValue[]) {
    this.#k = k;
    this.#program = program;
    this.#members = new Set(program.unit.nodes);
    const { loads, unit } = program;
    loads.forEach((tensor, i) => this.#bufferOf.set(tensor, buffers[i]!));
    unit.outputs.forEach((tensor, i) => this.#bufferOf.set(tensor, buffers[loads.length + i]!));
    const kept = [...program.kept].filter((value) => !unit.outputs.includes(value));
    this.#scratch = Array.from({ length: program.rowsTogether }, () => {
      return new Map(kept.map((value) => [value, k.allocateScratch(program.columns * elementSize(value.dtype))]));
    });
  }

  /** The chunk of a flat program, or a program with a single row. */
  flatChunk(): void {
    const { columns, chunks, chunkElements } = this.#program;
    if (chunks === 1) {
      this.rows(this.#k.index(0), 1);
      return;
    }
    const k = this.#k;
    const first = k.mul(k.chunk, k.index(chunkElements));
    this.#pass(this.#startRow(k.index(0), 0), 0, first, k.min(k.index(columns), k.add(first, k.index(chunkElements))));
  }

  /** `count` rows, all of them pass by pass: while one row's sum is put together, the next one's is under way. */
  rows(first: LoopValue, count: number): void {
    const k = this.#k;
    const group = Array.from({ length: count }, (_, i) => this.#startRow(k.add(first, k.index(i)), i));
    for (let pass = 0; pass < this.#program.passes; pass++) {
      this.#rowStage(group, pass);
      for (const row of group) this.#pass(row, pass, k.index(0), k.index(this.#program.columns));
    }
    for (const row of group) this.#tails(row);
  }

  /** Work on whole rows, whose elements are in scratch memory or where the unit's output is. */
  #tails(row: Row): void {
    const { unit, lanes } = this.#program;
    for (const node of tailsOf(unit)) {
      const { lowering } = node.op;
      invariant(lowering.kind === "kernel" && lowering.rowTail !== undefined, `${node.op.name} ends a row program`);
      const input = resolveAlias(node.inputs[0]!);
      const values = row.scratch.get(input) ?? row.addresses.get(accessKey(input, "same"));
      invariant(values !== undefined, `the rows of ${input.toString()} have a place`);
      const [result] = node.results;
      const { type } = result!;
      lowering.rowTail(this.#k, { type, result: this.#bufferOf.get(result!)!, index: row.index, values, lanes });
    }
  }

  #startRow(index: LoopValue, place: number): Row {
    const { unit, columns } = this.#program;
    const scratch = this.#scratch[place]!;
    const row: Row = { index, addresses: new Map(), values: new Map(), repeated: new Map(), scratch };
    for (const operand of unit.nodes.flatMap(operandsOf)) {
      const access = domainAccess(unit, operand);
      if (access === undefined || isInline(operand, access, unit.columns) || this.#members.has(access.base.node))
        continue;
      const bytes = cellBytes(access.base.dtype);
      if (!repeats(access, unit)) this.#addRowAddress(row, access.base, access.rows, columns * bytes);
      else this.#addRepeated(row, access);
    }
    for (const output of unit.outputs) {
      if (!this.#program.perRow.has(output) && !isTail(output.node))
        this.#addRowAddress(row, output, "same", columns * cellBytes(output.dtype));
    }
    return row;
  }

  #addRowAddress(row: Row, base: Tensor, rows: Access["rows"], rowBytes: number): void {
    const key = accessKey(base, rows);
    if (row.addresses.has(key)) return;
    const k = this.#k;
    const index = rows === "same" ? row.index : k.rem(row.index, k.index(rows.modulo));
    row.addresses.set(key, k.offset(this.#bufferOf.get(base)!, index, rowBytes));
  }

  /** An operand with one element a row (or one in all), read once a row. */
  #addRepeated(row: Row, { base, rows }: Access): void {
    const key = accessKey(base, rows);
    if (row.repeated.has(key)) return;
    const k = this.#k;
    const single = elementCount(base.shape) === 1;
    const index = rows === "same" ? row.index : k.rem(row.index, k.index(rows.modulo));
    const address = single
      ? this.#bufferOf.get(base)!
      : k.offset(this.#bufferOf.get(base)!, index, cellBytes(base.dtype));
    row.repeated.set(key, this.#repeat(loadElement(k, base.dtype, 1, address, 0)));
  }

  #repeat(scalar: LoopValue): Repeated {
    // Made outside of the loops that use them; what no loop uses is left out by targets.
    const { columns, lanes, unroll } = this.#program;
    const widths = new Set([1, ...strides(columns, lanes, unroll).map(({ width }) => width)]);
    return new Map([...widths].map((width) => [width, this.#k.splat(scalar, width)]));
  }

  /** Per-row values of a group that are known before `pass`, other than reductions. */
  #rowStage(group: readonly Row[], pass: number): void {
    const { unit, perRow, passOf } = this.#program;
    for (const node of unit.nodes) {
      const [result] = node.results;
      if (!perRow.has(result!) || passOf.get(result!) !== pass) continue;
      if (node.op.lowering.kind !== "reduce") {
        this.#ofRows(node, group).forEach((value, i) => group[i]!.values.set(result!, this.#repeat(value)));
      }
      if (!unit.outputs.includes(result!)) continue;
      for (const row of group) {
        const address = this.#k.offset(this.#bufferOf.get(result!)!, row.index, cellBytes(result!.dtype));
        storeElement(this.#k, row.values.get(result!)!.get(1)!, result!.dtype, address, 0);
      }
    }
  }

  /** A per-row value for each row of a group: scalars, but long functions of all rows in the lanes of one vector. */
  #ofRows(node: Node, group: readonly Row[]): LoopValue[] {
    const k = this.#k;
    const places = group.map((row): Place => {
      return { row, column: k.index(0), ahead: 0, lanes: 1, values: new Map(), addresses: new Map() };
    });
    const count = group.length;
    if (!isTranscendental(node) || count === 1 || count > this.#program.lanes) {
      return places.map((place) => this.#compute(node, place));
    }
    const operands = operandsOf(node).map((_operand, index) => {
      const [first, ...others] = places.map((place) => this.#operand(node, index, place, Infinity));
      return others.reduce((lanes, value, i) => k.insert(lanes, value, i + 1), k.splat(first!, count));
    });
    const lanes = this.#apply(node, { ...places[0]!, lanes: count }, operands);
    return places.map((_place, i) => k.extract(lanes, i));
  }

  /** All full work of one pass over the columns [first, end). */
  #pass(row: Row, pass: number, first: LoopValue, end: LoopValue): void {
    const { unit, perRow, passOf, lanes, columns, kept, unroll, computes } = this.#program;
    const isFull = (node: Node): boolean => !perRow.has(node.results[0]!);
    const reductions = unit.nodes.filter(
      (node) => node.op.lowering.kind === "reduce" && passOf.get(node.results[0]!) === pass + 1,
    );
    const stored = unit.nodes.filter(
      (node) =>
        isFull(node) &&
        !isTail(node) &&
        passOf.get(node.results[0]!) === pass &&
        (unit.outputs.includes(node.results[0]!) || kept.has(node.results[0]!)),
    );
    if (reductions.length === 0 && stored.length === 0) return;
    const k = this.#k;
    const body = (column: LoopValue, width: number, copies: number, sums: readonly LoopValue[]): LoopValue[] => {
      const addresses = new Map<LoopValue, LoopValue>();
      const places = Array.from({ length: copies }, (_, copy): Place => {
        return { row, column, ahead: copy * width, lanes: width, values: new Map(), addresses };
      });
      if (pass === 1 && computes && width === lanes) for (const place of places) this.#prefetch(place);
      // All reads come before all writes: an output may lie in the memory of an input, and engines join neighbouring
      // vectors only if nothing is written between them.
      const values = stored.map((node) => places.map((place) => this.#value(node.results[0]!, place, pass)));
      const operands = reductions.map((node) => places.map((place) => this.#operand(node, 0, place, pass)));
      stored.forEach((node, i) => {
        places.forEach((place, copy) => this.#store(node.results[0]!, values[i]![copy]!, place));
      });
      return reductions.flatMap((node, i) =>
        places.map((_place, copy) => combine(k, node, sums[i * copies + copy]!, operands[i]![copy]!)),
      );
    };
    const start = (width: number, copies: number): LoopValue[] =>
      reductions.flatMap((node) => Array.from({ length: copies }, () => identity(k, node, width)));
    const totals = new Map<Node, LoopValue>();
    let at = first;
    for (const { width, copies, isLast } of strides(columns, lanes, unroll)) {
      const step = width * copies;
      const stop = isLast ? end : k.sub(end, k.rem(k.sub(end, at), k.index(step)));
      const sums = k.for(at, stop, step, start(width, copies), (column, carried) =>
        body(column, width, copies, carried),
      );
      reductions.forEach((node, i) => {
        const ofVectors = sums.slice(i * copies, (i + 1) * copies).reduce((a, b) => combine(k, node, a, b));
        const sum = foldLanes(k, ofVectors, (a, b) => combine(k, node, a, b));
        const before = totals.get(node);
        totals.set(node, before === undefined ? sum : combine(k, node, before, sum));
      });
      at = stop;
    }
    for (const [node, total] of totals) row.values.set(node.results[0]!, this.#repeat(total));
  }

  /** A value of the unit at a place: computed, taken from the row's values, or read back. */
  #value(tensor: Tensor, place: Place, pass: number): LoopValue {
    const known = place.values.get(tensor);
    if (known !== undefined) return known;
    const { perRow, passOf } = this.#program;
    let value: LoopValue;
    if (perRow.has(tensor)) value = atLanes(place.row.values.get(tensor)!, place);
    else if (passOf.get(tensor)! < pass) value = this.#readBack(tensor, place);
    else value = this.#compute(tensor.node, place, pass);
    place.values.set(tensor, value);
    return value;
  }

  #readBack(tensor: Tensor, place: Place): LoopValue {
    const scratch = place.row.scratch.get(tensor);
    if (scratch === undefined) return this.#load(tensor, "same", place);
    const bytes = elementSize(tensor.dtype);
    const type = elementLoopType(tensor.dtype, place.lanes);
    return this.#k.load(type, this.#at(scratch, place, bytes), place.ahead * bytes);
  }

  #compute(node: Node, place: Place, pass = Infinity): LoopValue {
    const operands = operandsOf(node).map((_operand, i) => this.#operand(node, i, place, pass));
    if (node.op.lowering.kind === "broadcast") return operands[0]!;
    return this.#apply(node, place, operands);
  }

  #apply(node: Node, place: Place, operands: readonly LoopValue[]): LoopValue {
    const { lowering } = node.op;
    invariant(lowering.kind === "elementwise", `${node.op.name} in a row program`);
    const columnIndex = (): LoopValue => columnVector(this.#k, place);
    const context = { k: this.#k, attrs: node.attrs, result: node.results[0]!.type, lanes: place.lanes, columnIndex };
    return lowering.value(context, operands);
  }

  #operand(node: Node, index: number, place: Place, pass: number): LoopValue {
    const { unit } = this.#program;
    const operand = operandsOf(node)[index]!;
    const access = domainAccess(unit, operand);
    if (isInline(operand, access, unit.columns)) return this.#inline(operand, place);
    invariant(access !== undefined, `no access to ${operand.toString()}`);
    const { base } = access;
    if (this.#members.has(base.node)) return this.#value(base, place, pass);
    if (repeats(access, unit)) return atLanes(place.row.repeated.get(accessKey(base, access.rows))!, place);
    return this.#load(base, access.rows, place);
  }

  /** A number or counter, computed here. */
  #inline(operand: Tensor, place: Place): LoopValue {
    let source = operand;
    while (source.node.inputs.length > 0) source = source.node.inputs[0]!;
    const isFirst = source.node.op.name !== "splat" && rowsAndColumns(source.shape).columns === 1;
    if (isFirst) return this.#k.constant(elementLoopType(source.dtype, place.lanes), 0);
    return this.#apply(source.node, place, []);
  }

  /** The address of a place's column; one value for all vectors of a turn, which lets engines see that they adjoin. */
  #at(row: LoopValue, place: Place, bytes: number): LoopValue {
    let address = place.addresses.get(row);
    if (address === undefined) place.addresses.set(row, (address = this.#k.offset(row, place.column, bytes)));
    return address;
  }

  #load(base: Tensor, rows: Access["rows"], place: Place): LoopValue {
    const bytes = cellBytes(base.dtype);
    const row = place.row.addresses.get(accessKey(base, rows))!;
    return loadElement(this.#k, base.dtype, place.lanes, this.#at(row, place, bytes), place.ahead * bytes);
  }

  /** Asks for what the rows of the next group read: their first pass would do little but wait for it. */
  #prefetch(place: Place): void {
    const { loads, columns, rowsTogether } = this.#program;
    for (const base of loads) {
      const row = place.row.addresses.get(accessKey(base, "same"));
      const bytes = cellBytes(base.dtype);
      const groupBytes = rowsTogether * columns * bytes;
      if (row === undefined || groupBytes > AHEAD_BYTES_MAX || (place.ahead * bytes) % LINE_BYTES !== 0) continue;
      this.#k.prefetch(this.#at(row, place, bytes), place.ahead * bytes + groupBytes);
    }
  }

  #store(tensor: Tensor, value: LoopValue, place: Place): void {
    const scratch = place.row.scratch.get(tensor);
    if (scratch !== undefined) {
      const bytes = elementSize(tensor.dtype);
      this.#k.store(value, this.#at(scratch, place, bytes), place.ahead * bytes);
      return;
    }
    const bytes = cellBytes(tensor.dtype);
    const row = place.row.addresses.get(accessKey(tensor, "same"))!;
    if (this.#program.pastCaches.has(tensor) && place.lanes === this.#program.lanes) {
      this.#k.storeNontemporal(value, this.#at(row, place, bytes), place.ahead * bytes);
      return;
    }
    storeElement(this.#k, value, tensor.dtype, this.#at(row, place, bytes), place.ahead * bytes);
  }
}

/** Whether an operand is the same along a row. */
function repeats({ base, rows, columns }: Access, unit: FusedUnit): boolean {
  return columns === "zero" || elementCount(base.shape) === 1 || (unit.columns === 1 && rows !== "same");
}

function accessKey(base: Tensor, rows: Access["rows"]): string {
  return `${base.node.id}.${base.index}.${rows === "same" ? "same" : rows.modulo}`;
}

function atLanes(repeated: Repeated, place: Place): LoopValue {
  const value = repeated.get(place.lanes);
  invariant(value !== undefined, `a repeated value in ${place.lanes} lanes`);
  return value;
}

function columnVector(k: KernelBuilder, { column, ahead, lanes }: Place): LoopValue {
  const first = k.convert(I32, k.add(column, k.index(ahead)));
  let counter = k.constant(loopType("i32", lanes), 0);
  for (let lane = 1; lane < lanes; lane++) counter = k.insert(counter, k.i32(lane), lane);
  return k.add(k.splat(first, lanes), counter);
}

function combine(k: KernelBuilder, node: Node, a: LoopValue, b: LoopValue): LoopValue {
  const { lowering } = node.op;
  if (lowering.kind !== "reduce" || lowering.combine !== "max") return k.add(a, b);
  return node.attrs["skipsNaN"] === true ? largerOf(k, a, b) : k.max(a, b);
}

function identity(k: KernelBuilder, node: Node, lanes: number): LoopValue {
  const { lowering } = node.op;
  const value = lowering.kind === "reduce" && lowering.combine === "max" ? -Infinity : 0;
  return k.constant(elementLoopType(node.results[0]!.dtype, lanes), value);
}

/** The loops over a row: as many vectors at a time as may be, then one, then narrower ones, then single elements. */
interface Stride {
  readonly width: number;
  readonly copies: number;
  /** Whether nothing is left behind it. */
  readonly isLast: boolean;
}

function strides(columns: number, lanes: number, unroll: number): Stride[] {
  const list: Stride[] = [];
  let left = columns;
  const add = (width: number, copies: number): void => {
    if (left < width * copies) return;
    left %= width * copies;
    list.push({ width, copies, isLast: left === 0 });
  };
  if (unroll > 1) add(lanes, unroll);
  for (const width of laneWidths(lanes)) add(width, 1);
  return list.length > 0 ? list : [{ width: 1, copies: 1, isLast: true }];
}
