// @bufbuild/protobuf (2.17): message types from a descriptor that is put together here, which gives the same code
// paths as the descriptors that protoc-gen-es embeds: encoding and decoding go by reflection either way.

import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, Message, MessageInitShape } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

/** A field: its name, its type (a message's name where it is none of the scalars), and whether it repeats. */
export type ProtoField = readonly [name: string, type: string, repeated?: "repeated"];

const SCALARS: Readonly<Record<string, Type>> = {
  double: Type.DOUBLE,
  float: Type.FLOAT,
  uint32: Type.UINT32,
  fixed32: Type.FIXED32,
  bool: Type.BOOL,
  string: Type.STRING,
};

/** The message types of a proto3 file, by name. */
export function protobufTypes(
  messages: Readonly<Record<string, readonly ProtoField[]>>,
): (name: string) => DescMessage {
  const file = create(FileDescriptorProtoSchema, {
    name: "bench.proto",
    package: "bench",
    syntax: "proto3",
    messageType: Object.entries(messages).map(([name, fields]) => ({
      name,
      field: fields.map(([fieldName, type, repeated], i) => ({
        name: fieldName,
        jsonName: fieldName,
        number: i + 1,
        label: repeated === undefined ? Label.OPTIONAL : Label.REPEATED,
        type: SCALARS[type] ?? Type.MESSAGE,
        typeName: type in SCALARS ? "" : `.bench.${type}`,
      })),
    })),
  });
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  return (name) => registry.getMessage(`bench.${name}`)!;
}

/** Makes, encodes and decodes messages of one type. */
export function protobufCodec(type: DescMessage): {
  readonly make: (value: object) => Message;
  readonly encode: (message: Message) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Message;
} {
  return {
    make: (value) => create(type, value as MessageInitShape<DescMessage>),
    encode: (message) => toBinary(type, message),
    decode: (bytes) => fromBinary(type, bytes),
  };
}
