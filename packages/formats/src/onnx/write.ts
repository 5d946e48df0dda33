// Writing ONNX: a graph of nodes and its weights as one protobuf message, with raw tensor data, as all readers take it.
//
// Left out: weights in files beside it, which models of 2 GiB and more would need.

import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from "onnx-buf";
import type { AttributeProto, NodeProto, TensorProto, ValueInfoProto } from "onnx-buf";
import { quote } from "../byte-cursor.ts";
import { FileSizeError, InvalidTensorError, UnsupportedFormatError } from "../errors.ts";
import { tensorSizeBytes } from "../quants/table.ts";
import type { SourceDtype } from "../quants/table.ts";
import type { TensorToWrite } from "../tensor-source.ts";
import type { OnnxValueInfo } from "./model.ts";
import { ONNX_TYPES } from "./tensor-proto.ts";

/** An attribute with its type, which the file states. */
export type AttributeToWrite =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly text: string }
  | { readonly tensor: TensorToWrite };

/** A node to write. */
export interface NodeToWrite {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  /** ONNX's own where absent. */
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeToWrite>>;
}

/** A model to write. */
export interface OnnxToWrite {
  readonly graphName: string;
  readonly opset: number;
  /** Versions of other domains. */
  readonly domains?: Readonly<Record<string, number>>;
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly nodes: readonly NodeToWrite[];
  readonly tensors: readonly TensorToWrite[];
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A message of protobuf has less than 2 GiB. */
const FILE_BYTES_MAX = 2 ** 31 - 1;

/** IR versions by the opset from which on they are wanted (onnx/helper.py, VERSION_TABLE). */
function irVersionOf(opset: number): bigint {
  if (opset >= 21) return 10n;
  if (opset >= 19) return 9n;
  return opset >= 15 ? 8n : 7n;
}

/**
 * The bytes of an ONNX file. Throws `InvalidTensorError` where bytes do not fill a shape, `UnsupportedFormatError` for
 * types that ONNX has not, and `FileSizeError` for what is too large for one file.
 */
export function writeOnnx(model: OnnxToWrite): Uint8Array {
  const sizeBytes = model.tensors.reduce((sum, { dtype, shape }) => sum + (tensorSizeBytes(dtype, shape) ?? 0), 0);
  if (sizeBytes > FILE_BYTES_MAX) {
    throw new FileSizeError("the model is too large for one ONNX file", {
      expected: `weights of at most ${FILE_BYTES_MAX} bytes`,
      got: `${sizeBytes} bytes`,
      hint: "write a smaller type, such as f16",
    });
  }
  const imports = [["", model.opset] as const, ...Object.entries(model.domains ?? {})];
  const proto = create(ModelProtoSchema, {
    irVersion: irVersionOf(model.opset),
    producerName: "fidelity",
    opsetImport: imports.map(([domain, version]) => ({ domain, version: BigInt(version) })),
    graph: {
      name: model.graphName,
      node: model.nodes.map(nodeProto),
      initializer: model.tensors.map(tensorProto),
      input: model.inputs.map(infoProto),
      output: model.outputs.map(infoProto),
    },
    metadataProps: Object.entries(model.metadata ?? {}).map(([key, value]) => ({ key, value })),
  });
  return toBinary(ModelProtoSchema, proto);
}

function nodeProto({ op, inputs, outputs, name = "", domain = "", attributes = {} }: NodeToWrite): NodeProto {
  return create(NodeProtoSchema, {
    opType: op,
    domain,
    name,
    input: [...inputs],
    output: [...outputs],
    attribute: Object.entries(attributes).map(([key, value]) => attributeProto(key, value)),
  });
}

function attributeProto(name: string, value: AttributeToWrite): AttributeProto {
  if ("int" in value) return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value.int) });
  if ("ints" in value) {
    return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.ints.map(BigInt) });
  }
  if ("float" in value) return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value.float });
  if ("text" in value) {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value.text) });
  }
  return create(AttributeProtoSchema, { name, type: AttributeType.TENSOR, t: tensorProto(value.tensor) });
}

function tensorProto(tensor: TensorToWrite): TensorProto {
  const { name, dtype, shape } = tensor;
  const bytes = tensor.bytes();
  if (bytes.length !== tensorSizeBytes(dtype, shape)) {
    throw new InvalidTensorError(`${quote(name)} cannot be written to an ONNX file`, {
      expected: `${tensorSizeBytes(dtype, shape)} bytes for ${dtype}[${shape.join(", ")}]`,
      got: `${bytes.length} bytes`,
    });
  }
  const rawData = new Uint8Array(bytes); // the message's own, never shared memory
  return create(TensorProtoSchema, { name, dataType: typeNumber(dtype), dims: shape.map(BigInt), rawData });
}

function infoProto({ name, dtype, shape = [] }: OnnxValueInfo): ValueInfoProto {
  const dim = shape.map((size) => {
    if (typeof size === "string") return { value: { case: "dimParam", value: size } as const };
    return { value: { case: "dimValue", value: BigInt(size) } as const };
  });
  const type = { value: { case: "tensorType", value: { elemType: typeNumber(dtype), shape: { dim } } } as const };
  return create(ValueInfoProtoSchema, { name, type });
}

function typeNumber(dtype: SourceDtype): number {
  const number = ONNX_TYPES.get(dtype);
  if (number !== undefined) return number;
  throw new UnsupportedFormatError(`ONNX has no type ${dtype}`, {
    expected: [...ONNX_TYPES.keys()].join(", "),
    got: dtype,
    hint: "write f32, f16 or bf16",
  });
}
