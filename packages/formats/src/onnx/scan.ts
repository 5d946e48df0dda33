// Looks a protobuf message over before it is decoded: every length must fit into the message around it, every field
// have the wire type of its description, and nothing be deeper or more than the limits. A decoder of objects makes some
// hundred bytes of an empty message of two, so that the sum has to be known first.
// Source: Protocol Buffers' encoding (protobuf.dev/programming-guides/encoding). Groups are skipped, not looked into.

import { ScalarType } from "@bufbuild/protobuf";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ONNX_LIMITS } from "./model.ts";

/** What is wrong, without the file's name: the caller says more. */
export class ScanError extends Error {
  readonly expected: string;
  readonly got: string;
  readonly byteOffset: number;

  constructor(expected: string, got: string, byteOffset: number) {
    super(`expected ${expected}, got ${got}`);
    this.expected = expected;
    this.got = got;
    this.byteOffset = byteOffset;
  }
}

interface Sums {
  messages: number;
  headerBytes: number;
}

/** Throws `ScanError`, or what the wire reader throws, where `bytes` is no sound message of the type within limits. */
export function scanMessage(description: DescMessage, bytes: Uint8Array): void {
  const reader = new BinaryReader(bytes);
  scan(reader, description, bytes.length, 1, { messages: 0, headerBytes: 0 });
}

function scan(reader: BinaryReader, description: DescMessage, end: number, depth: number, sums: Sums): void {
  if (depth > ONNX_LIMITS.depth) throw new ScanError(`at most ${ONNX_LIMITS.depth} levels`, "more", reader.pos);
  const fields = fieldsOf(description);
  while (reader.pos < end) {
    const start = reader.pos;
    const [number, wireType] = reader.tag();
    const field = fields.get(number);
    if (field === undefined) {
      reader.skip(wireType, number, ONNX_LIMITS.depth);
    } else {
      requireWireType(field, wireType, start);
      if (wireType === WireType.LengthDelimited) scanDelimited(reader, field, end, depth, sums);
      else reader.skip(wireType, number);
    }
    if (reader.pos > end) throw new ScanError(`the message to end at ${end}`, `a field up to ${reader.pos}`, start);
    if (field?.message === undefined && !isRawData(field)) sums.headerBytes += reader.pos - start;
    if (sums.headerBytes <= ONNX_LIMITS.headerBytes) continue;
    throw new ScanError(`at most ${ONNX_LIMITS.headerBytes} bytes beside raw data`, "more", start);
  }
}

function scanDelimited(reader: BinaryReader, field: DescField, end: number, depth: number, sums: Sums): void {
  const at = reader.pos;
  const length = reader.uint32();
  const stop = reader.pos + length;
  if (stop > end) throw new ScanError(`${length} bytes for ${field.name}`, `${end - reader.pos} bytes`, at);
  if (field.message === undefined) {
    reader.pos = stop;
    return;
  }
  sums.messages++;
  if (sums.messages > ONNX_LIMITS.messages) throw new ScanError(`at most ${ONNX_LIMITS.messages} parts`, "more", at);
  scan(reader, field.message, stop, depth + 1, sums);
}

function isRawData(field: DescField | undefined): boolean {
  return field?.fieldKind === "scalar" && field.scalar === ScalarType.BYTES;
}

function requireWireType(field: DescField, wireType: WireType, at: number): void {
  const expected = wireTypeOf(field);
  const isPacked = field.fieldKind === "list" && wireType === WireType.LengthDelimited;
  if (wireType === expected || isPacked) return;
  throw new ScanError(`wire type ${expected} for ${field.name}`, `wire type ${wireType}`, at);
}

function wireTypeOf(field: DescField): WireType {
  switch (field.scalar) {
    case ScalarType.FLOAT:
      return WireType.Bit32;
    case ScalarType.DOUBLE:
      return WireType.Bit64;
    case ScalarType.INT32:
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return WireType.Varint;
    default:
      return field.enum === undefined ? WireType.LengthDelimited : WireType.Varint;
  }
}

const fieldTables = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

function fieldsOf(description: DescMessage): ReadonlyMap<number, DescField> {
  let table = fieldTables.get(description);
  if (table === undefined) {
    table = new Map(description.fields.map((field) => [field.number, field]));
    fieldTables.set(description, table);
  }
  return table;
}
