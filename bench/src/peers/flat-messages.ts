// FlatBuffers messages, packed from objects and unpacked to objects as the code does that `flatc --ts --gen-object-api`
// generates (flatbuffers 25.9): children first, then the table, by the runtime's builder.

/* oxlint-disable no-underscore-dangle -- the names of the runtime that generated code calls */
import { Builder, ByteBuffer } from "flatbuffers";
import type { Contact, Floats, Small } from "../suites/barewire-messages.ts";

const KINDS = ["INFO", "WARN", "ERROR"] as const;
/** A builder is used again, as FlatBuffers' own advice has it. */
const builder = new Builder(1024);

function finished(root: number): Uint8Array {
  builder.finish(root);
  return builder.asUint8Array().slice();
}

// The place of a field in a table; 0 where it is absent.
function at(bytes: ByteBuffer, table: number, field: number): number {
  const offset = bytes.__offset(table, 4 + 2 * field);
  return offset === 0 ? 0 : table + offset;
}

function text(bytes: ByteBuffer, table: number, field: number): string {
  return bytes.__string(at(bytes, table, field)) as string;
}

function rootOf(message: Uint8Array): { bytes: ByteBuffer; root: number } {
  const bytes = new ByteBuffer(message);
  return { bytes, root: bytes.readInt32(0) };
}

export function encodeFlatSmall(small: Small): Uint8Array {
  builder.clear();
  const name = builder.createString(small.name);
  builder.startObject(5);
  builder.addFieldInt32(0, small.id, 0);
  builder.addFieldOffset(1, name, 0);
  builder.addFieldInt8(2, Number(small.active), 0);
  builder.addFieldFloat64(3, small.score, 0);
  builder.addFieldInt8(4, KINDS.indexOf(small.kind), 0);
  return finished(builder.endObject());
}

export function decodeFlatSmall(message: Uint8Array): Small {
  const { bytes, root } = rootOf(message);
  const id = at(bytes, root, 0);
  const active = at(bytes, root, 2);
  const score = at(bytes, root, 3);
  const kind = at(bytes, root, 4);
  return {
    id: id === 0 ? 0 : bytes.readUint32(id),
    name: text(bytes, root, 1),
    active: active !== 0 && bytes.readInt8(active) !== 0,
    score: score === 0 ? 0 : bytes.readFloat64(score),
    kind: KINDS[kind === 0 ? 0 : bytes.readInt8(kind)],
  };
}

function packAddress({ street, city, zip, location }: Contact["address"]): number {
  const offsets = [street, city, zip].map((part) => builder.createString(part));
  builder.startObject(4);
  for (const [field, offset] of offsets.entries()) builder.addFieldOffset(field, offset, 0);
  builder.prep(8, 16); // a struct: two doubles, in place
  builder.writeFloat64(location.y);
  builder.writeFloat64(location.x);
  builder.addFieldStruct(3, builder.offset(), 0);
  return builder.endObject();
}

function packContact({ name, email, age, address, tags }: Contact): number {
  const nameAt = builder.createString(name);
  const emailAt = email === undefined ? 0 : builder.createString(email);
  const addressAt = packAddress(address);
  const tagsAt = tags.map((tag) => builder.createString(tag));
  builder.startVector(4, tagsAt.length, 4);
  for (let i = tagsAt.length - 1; i >= 0; i--) builder.addOffset(tagsAt[i]);
  const vector = builder.endVector();
  builder.startObject(5);
  builder.addFieldOffset(0, nameAt, 0);
  builder.addFieldOffset(1, emailAt, 0);
  builder.addFieldInt8(2, age, 0);
  builder.addFieldOffset(3, addressAt, 0);
  builder.addFieldOffset(4, vector, 0);
  return builder.endObject();
}

export function encodeFlatContacts(contacts: readonly Contact[]): Uint8Array {
  builder.clear();
  const offsets = contacts.map(packContact);
  builder.startVector(4, offsets.length, 4);
  for (let i = offsets.length - 1; i >= 0; i--) builder.addOffset(offsets[i]);
  const vector = builder.endVector();
  builder.startObject(1);
  builder.addFieldOffset(0, vector, 0);
  return finished(builder.endObject());
}

function unpackContact(bytes: ByteBuffer, table: number): Contact {
  const address = bytes.__indirect(at(bytes, table, 3));
  const location = at(bytes, address, 3);
  const email = at(bytes, table, 1);
  const tags = at(bytes, table, 4);
  return {
    name: text(bytes, table, 0),
    email: email === 0 ? undefined : (bytes.__string(email) as string),
    age: bytes.readUint8(at(bytes, table, 2)),
    address: {
      street: text(bytes, address, 0),
      city: text(bytes, address, 1),
      zip: text(bytes, address, 2),
      location: { x: bytes.readFloat64(location), y: bytes.readFloat64(location + 8) },
    },
    tags: Array.from(
      { length: bytes.__vector_len(tags) },
      (_, i) => bytes.__string(bytes.__vector(tags) + 4 * i) as string,
    ),
  };
}

export function decodeFlatContacts(message: Uint8Array): Contact[] {
  const { bytes, root } = rootOf(message);
  const vector = at(bytes, root, 0);
  return Array.from({ length: bytes.__vector_len(vector) }, (_, i) =>
    unpackContact(bytes, bytes.__indirect(bytes.__vector(vector) + 4 * i)),
  );
}

export function encodeFlatFloats(floats: Floats): Uint8Array {
  return finished(floatsTable(floats));
}

/** A window onto the builder's own bytes, which the next message is written over. */
export function encodeFlatFloatsInto(floats: Floats): Uint8Array {
  builder.finish(floatsTable(floats));
  return builder.asUint8Array();
}

function floatsTable({ name, values }: Floats): number {
  builder.clear();
  const vector = builder.createByteVector(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  const nameAt = builder.createString(name);
  builder.startObject(2);
  builder.addFieldOffset(0, nameAt, 0);
  builder.addFieldOffset(1, vector, 0);
  return builder.endObject();
}

/** The numbers are copied out of the message, as every other codec here does. */
export function decodeFlatFloats(message: Uint8Array): Floats {
  const { bytes, root } = rootOf(message);
  const vector = at(bytes, root, 1);
  const start = bytes.__vector(vector);
  return {
    name: text(bytes, root, 0),
    values: new Float32Array(message.slice(start, start + bytes.__vector_len(vector)).buffer),
  };
}
