// FlatBuffers records, read by the accessors that `flatc --ts` generates (flatbuffers 25.9): `__init`, `__offset`,
// `__indirect` and `__vector` as in its output, objects used again. Two forms: tables, whose fields go through a vtable
// and may be added later, and structs, which are fixed as our layouts are.

/* oxlint-disable no-underscore-dangle -- the names of the runtime that generated code calls */
import { Builder, ByteBuffer } from "flatbuffers";

/** Slots of the vtable: 4, 6, 8, ... */
const FIRST_FIELD = 4;
const SECOND_FIELD = 6;
const THIRD_FIELD = 8;
const STRUCT_BYTES = 16;

class Accessor {
  protected bb!: ByteBuffer;
  protected bb_pos = 0;

  __init(position: number, bb: ByteBuffer): this {
    this.bb_pos = position;
    this.bb = bb;
    return this;
  }
}

/** `struct Vec { x: float; y: float; }`, nested in a table. */
class VecStruct extends Accessor {
  y(): number {
    return this.bb.readFloat32(this.bb_pos + 4);
  }
}

/** `table Point { id: uint; x: float; position: Vec; }` */
class PointTable extends Accessor {
  x(): number {
    const offset = this.bb.__offset(this.bb_pos, SECOND_FIELD);
    return offset ? this.bb.readFloat32(this.bb_pos + offset) : 0;
  }

  position(vec?: VecStruct): VecStruct | null {
    const offset = this.bb.__offset(this.bb_pos, THIRD_FIELD);
    return offset ? (vec ?? new VecStruct()).__init(this.bb_pos + offset, this.bb) : null;
  }
}

/** `struct Point { id: uint; x: float; y: float; z: float; }` */
class PointStruct extends Accessor {
  x(): number {
    return this.bb.readFloat32(this.bb_pos + 4);
  }
}

/** `table Circle { radius: float; }` */
class CircleTable extends Accessor {
  radius(): number {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    return offset ? this.bb.readFloat32(this.bb_pos + offset) : 0;
  }
}

/** `table Square { side: float; }` */
class SquareTable extends Accessor {
  side(): number {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    return offset ? this.bb.readFloat32(this.bb_pos + offset) : 0;
  }
}

/** Tags of `union Shape { Circle, Square }`. */
const CIRCLE = 1;
const SQUARE = 2;

/** `table Drawn { shape: Shape; }`: a tag, and an offset to the member's table. */
class DrawnTable extends Accessor {
  shapeType(): number {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    return offset ? this.bb.readUint8(this.bb_pos + offset) : 0;
  }

  shape<T extends CircleTable | SquareTable>(shape: T): T | null {
    const offset = this.bb.__offset(this.bb_pos, SECOND_FIELD);
    return offset ? (this.bb.__union(shape as never, this.bb_pos + offset) as unknown as T) : null;
  }
}

class Root extends Accessor {
  length(): number {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    return offset ? this.bb.__vector_len(this.bb_pos + offset) : 0;
  }

  tables(index: number, point?: PointTable): PointTable | null {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    if (!offset) return null;
    return (point ?? new PointTable()).__init(
      this.bb.__indirect(this.bb.__vector(this.bb_pos + offset) + index * 4),
      this.bb,
    );
  }

  drawn(index: number, drawn?: DrawnTable): DrawnTable | null {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    if (!offset) return null;
    return (drawn ?? new DrawnTable()).__init(
      this.bb.__indirect(this.bb.__vector(this.bb_pos + offset) + index * 4),
      this.bb,
    );
  }

  structs(index: number, point?: PointStruct): PointStruct | null {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    if (!offset) return null;
    return (point ?? new PointStruct()).__init(this.bb.__vector(this.bb_pos + offset) + index * STRUCT_BYTES, this.bb);
  }

  numbers(index: number): number | null {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    return offset ? this.bb.readFloat32(this.bb.__vector(this.bb_pos + offset) + index * 4) : 0;
  }

  numbersArray(): Float32Array | null {
    const offset = this.bb.__offset(this.bb_pos, FIRST_FIELD);
    if (!offset) return null;
    const bytes = this.bb.bytes();
    const at = bytes.byteOffset + this.bb.__vector(this.bb_pos + offset);
    return new Float32Array(bytes.buffer, at, this.length());
  }
}

/** Sums over FlatBuffers messages of `count` records, each a function to be timed. */
export interface FlatSums {
  readonly tableField: () => number;
  readonly tableNested: () => number;
  readonly structField: () => number;
  readonly numbersAt: () => number;
  readonly numbersArray: () => number;
  readonly union: () => number;
}

/** Builds the messages; record `i` has x and y = `i % 7`. */
export function flatSums(count: number): FlatSums {
  const tables = buildTables(count);
  const structs = buildStructs(count);
  const numbers = buildNumbers(count);
  const table = new PointTable();
  const struct = new PointStruct();
  const vec = new VecStruct();
  const shapes = buildShapes(count);
  const drawn = new DrawnTable();
  const circle = new CircleTable();
  const square = new SquareTable();
  // Each loop is written out: one that all shared would measure calls through a variable.
  return {
    tableField: () => {
      let total = 0;
      for (let i = 0, n = tables.length(); i < n; i++) total += tables.tables(i, table)!.x();
      return total;
    },
    tableNested: () => {
      let total = 0;
      for (let i = 0, n = tables.length(); i < n; i++) total += tables.tables(i, table)!.position(vec)!.y();
      return total;
    },
    structField: () => {
      let total = 0;
      for (let i = 0, n = structs.length(); i < n; i++) total += structs.structs(i, struct)!.x();
      return total;
    },
    numbersAt: () => {
      let total = 0;
      for (let i = 0, n = numbers.length(); i < n; i++) total += numbers.numbers(i)!;
      return total;
    },
    numbersArray: () => {
      const array = numbers.numbersArray()!;
      let total = 0;
      for (let i = 0; i < array.length; i++) total += array[i];
      return total;
    },
    union: () => {
      let total = 0;
      for (let i = 0, n = shapes.length(); i < n; i++) {
        const one = shapes.drawn(i, drawn)!;
        if (one.shapeType() === CIRCLE) total += one.shape(circle)!.radius();
        else if (one.shapeType() === SQUARE) total += one.shape(square)!.side();
      }
      return total;
    },
  };
}

function rootOf(builder: Builder, vector: number): Root {
  builder.startObject(1);
  builder.addFieldOffset(0, vector, 0);
  builder.finish(builder.endObject());
  const bb = new ByteBuffer(builder.asUint8Array());
  return new Root().__init(bb.readInt32(bb.position()) + bb.position(), bb);
}

function buildTables(count: number): Root {
  const builder = new Builder(64 * count);
  const offsets: number[] = [];
  for (let i = 0; i < count; i++) {
    builder.startObject(3);
    builder.addFieldInt32(0, i, -1);
    builder.addFieldFloat32(1, i % 7, -1);
    builder.prep(4, 8);
    builder.writeFloat32(i % 7);
    builder.writeFloat32(1);
    builder.addFieldStruct(2, builder.offset(), 0);
    offsets.push(builder.endObject());
  }
  builder.startVector(4, count, 4);
  for (let i = count - 1; i >= 0; i--) builder.addOffset(offsets[i]);
  return rootOf(builder, builder.endVector());
}

function buildShapes(count: number): Root {
  const builder = new Builder(64 * count);
  const offsets: number[] = [];
  for (let i = 0; i < count; i++) {
    builder.startObject(1);
    builder.addFieldFloat32(0, i % 7, -1);
    const shape = builder.endObject();
    builder.startObject(2);
    builder.addFieldInt8(0, i % 3 === 0 ? CIRCLE : SQUARE, 0);
    builder.addFieldOffset(1, shape, 0);
    offsets.push(builder.endObject());
  }
  builder.startVector(4, count, 4);
  for (let i = count - 1; i >= 0; i--) builder.addOffset(offsets[i]);
  return rootOf(builder, builder.endVector());
}

function buildStructs(count: number): Root {
  const builder = new Builder(STRUCT_BYTES * count + 1024);
  builder.startVector(STRUCT_BYTES, count, 4);
  for (let i = count - 1; i >= 0; i--) {
    builder.prep(4, STRUCT_BYTES);
    builder.writeFloat32(2);
    builder.writeFloat32(1);
    builder.writeFloat32(i % 7);
    builder.writeInt32(i);
  }
  return rootOf(builder, builder.endVector());
}

function buildNumbers(count: number): Root {
  const builder = new Builder(4 * count + 1024);
  builder.startVector(4, count, 4);
  for (let i = count - 1; i >= 0; i--) builder.addFloat32(i % 7);
  return rootOf(builder, builder.endVector());
}
