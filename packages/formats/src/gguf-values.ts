// GGUF's metadata values: twelve scalar types, and arrays of them. Arrays stay bytes until they are asked
// for, because a vocabulary has 100 000 strings that most readers of a header do not need. Specification: docs/gguf.md
// in ggml-org/ggml. Leaves out: arrays of arrays, which the specification allows, and no reader or model knows.

import type { ByteCursor } from "./byte-cursor.ts";

/** The types in the order of their numbers. */
export const GGUF_VALUE_TYPES = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const;

export type GgufValueType = (typeof GGUF_VALUE_TYPES)[number];
export type GgufScalarType = Exclude<GgufValueType, "array">;

/** What an element of an array is in memory: 64-bit integers are bigint. */
export type GgufElement = number | bigint | boolean | string;

export interface GgufScalar {
  readonly type: GgufScalarType;
  readonly value: GgufElement;
}

export interface GgufArray {
  readonly type: "array";
  readonly elementType: GgufScalarType;
  readonly length: number;
  /** Decodes the elements, anew at each call. */
  values(): readonly GgufElement[];
}

export type GgufValue = GgufScalar | GgufArray;

/** What a header may hold. A vocabulary has at most some 10^6 strings, a chat template some 10^5 bytes. */
export const GGUF_LIMITS = {
  metadataEntries: 1 << 16,
  tensors: 1 << 18,
  keyBytes: 65_535,
  tensorNameBytes: 1024,
  stringBytes: 1 << 26,
  arrayLength: 1 << 26,
} as const;

/** Bytes of a fixed-size value; null where it has a length of its own. */
const widths: Readonly<Record<GgufValueType, 1 | 2 | 4 | 8 | null>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: null,
  array: null,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** An array to write. Its elements are checked when they are written. */
export function ggufArray(elementType: GgufScalarType, elements: readonly GgufElement[]): GgufArray {
  return { type: "array", elementType, length: elements.length, values: () => elements };
}

/** Reads a value's type and then the value; arrays are passed over, and checked on the way. */
export function readGgufValue(cursor: ByteCursor, key: string): GgufValue {
  const type = readType(cursor, `type of ${key}`);
  return type === "array" ? readArray(cursor, key) : { type, value: readScalar(cursor, type, key) };
}

function readType(cursor: ByteCursor, what: string): GgufValueType {
  const at = cursor.offset;
  const id = cursor.u32(what);
  if (id >= GGUF_VALUE_TYPES.length) {
    cursor.refuse(`has an unknown ${what}`, `a number below ${GGUF_VALUE_TYPES.length}`, String(id), at);
  }
  return GGUF_VALUE_TYPES[id];
}

function readScalar(cursor: ByteCursor, type: GgufScalarType, key: string): GgufScalar["value"] {
  if (type === "string") return cursor.text(`the value of ${key}`, GGUF_LIMITS.stringBytes);
  const at = cursor.skip(widths[type] ?? 0, `the value of ${key}`);
  const view = cursor.since(at);
  if (type === "bool" && view.getUint8(0) > 1) {
    cursor.refuse(`has an impossible value of ${key}`, "0 or 1 for a boolean", String(view.getUint8(0)), at);
  }
  return scalarAt(view, type, 0);
}

function scalarAt(view: DataView, type: Exclude<GgufScalarType, "string">, at: number): number | bigint | boolean {
  switch (type) {
    case "u8":
      return view.getUint8(at);
    case "i8":
      return view.getInt8(at);
    case "u16":
      return view.getUint16(at, true);
    case "i16":
      return view.getInt16(at, true);
    case "u32":
      return view.getUint32(at, true);
    case "i32":
      return view.getInt32(at, true);
    case "f32":
      return view.getFloat32(at, true);
    case "bool":
      return view.getUint8(at) !== 0;
    case "u64":
      return view.getBigUint64(at, true);
    case "i64":
      return view.getBigInt64(at, true);
    case "f64":
      return view.getFloat64(at, true);
  }
}

function readArray(cursor: ByteCursor, key: string): GgufArray {
  const typeAt = cursor.offset;
  const elementType = readType(cursor, `element type of ${key}`);
  if (elementType === "array") {
    return cursor.refuse(`holds an array of arrays in ${key}`, "elements that are no arrays", "arrays", typeAt);
  }
  const length = cursor.size(`length of ${key}`, GGUF_LIMITS.arrayLength);
  const start = cursor.offset;
  const width = widths[elementType];
  if (width === null) {
    for (let i = 0; i < length; i++) {
      cursor.skip(cursor.size(`length of string ${i} of ${key}`, GGUF_LIMITS.stringBytes), `string ${i} of ${key}`);
    }
  } else {
    cursor.skip(length * width, `the ${length} elements of ${key}`);
  }
  const view = cursor.since(start);
  return { type: "array", elementType, length, values: () => decodeElements(view, elementType, length) };
}

function decodeElements(view: DataView, elementType: GgufScalarType, length: number): readonly GgufElement[] {
  const elements: GgufElement[] = [];
  // Vocabularies may hold pieces of characters, which become replacement characters, and a byte order mark as a token.
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for (let i = 0, at = 0; i < length; i++) {
    if (elementType !== "string") {
      elements.push(scalarAt(view, elementType, i * (widths[elementType] ?? 0)));
      continue;
    }
    const sizeBytes = Number(view.getBigUint64(at, true));
    const text = new Uint8Array(view.buffer, view.byteOffset + at + 8, sizeBytes);
    elements.push(decoder.decode(new Uint8Array(text))); // a copy: the memory may be shared
    at += 8 + sizeBytes;
  }
  return elements;
}

/** The bytes of a value's type and the value. `refuse` is called with what is wrong with it. */
export function ggufValueBytes(value: GgufValue, refuse: (got: string) => never): Uint8Array {
  return concat([numberBytes("u32", GGUF_VALUE_TYPES.indexOf(value.type), refuse), contentBytes(value, refuse)]);
}

/** All pieces in one array. */
export function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A string as GGUF has it: a 64-bit length and UTF-8. */
export function ggufStringBytes(text: string): Uint8Array {
  const utf8 = new TextEncoder().encode(text);
  const bytes = new Uint8Array(8 + utf8.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(utf8.length), true);
  bytes.set(utf8, 8);
  return bytes;
}

function contentBytes(value: GgufValue, refuse: (got: string) => never): Uint8Array {
  if (value.type !== "array") return scalarBytes(value.type, value.value, refuse);
  const { elementType, length } = value;
  const head = [
    numberBytes("u32", GGUF_VALUE_TYPES.indexOf(elementType), refuse),
    numberBytes("u64", BigInt(length), refuse),
  ];
  const elements = value.values();
  if (elements.length !== length) refuse(`${elements.length} elements in an array of length ${length}`);
  return concat(head.concat(elements.map((element) => scalarBytes(elementType, element, refuse))));
}

function scalarBytes(type: GgufScalarType, value: GgufElement, refuse: (got: string) => never): Uint8Array {
  if (type === "string")
    return typeof value === "string" ? ggufStringBytes(value) : refuse(`${typeof value} as string`);
  if (type === "bool") {
    return typeof value === "boolean" ? Uint8Array.of(value ? 1 : 0) : refuse(`${typeof value} as bool`);
  }
  if (typeof value !== "number" && typeof value !== "bigint") return refuse(`${typeof value} as ${type}`);
  return numberBytes(type, value, refuse);
}

function numberBytes(
  type: Exclude<GgufScalarType, "string" | "bool">,
  value: number | bigint,
  refuse: (got: string) => never,
): Uint8Array {
  const bytes = new Uint8Array(widths[type] ?? 0);
  const view = new DataView(bytes.buffer);
  if (type === "f32") view.setFloat32(0, Number(value), true);
  else if (type === "f64") view.setFloat64(0, Number(value), true);
  else {
    if (typeof value === "number" && !Number.isSafeInteger(value)) refuse(`${value} as ${type}`);
    writeInteger(view, BigInt(value));
    if (BigInt(scalarAt(view, type, 0)) !== BigInt(value)) refuse(`${value} as ${type}`);
  }
  return bytes;
}

function writeInteger(view: DataView, value: bigint): void {
  for (let i = 0, rest = value; i < view.byteLength; i++, rest >>= 8n) view.setUint8(i, Number(rest & 255n));
}
