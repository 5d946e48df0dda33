// Reading ONNX (github.com/onnx/onnx, onnx.proto): a protobuf message with a graph of nodes and its weights. The
// message is looked over first (scan.ts), so that what is decoded fits into stated limits; weights stay where they are
// in the file. Nodes must come in an order in which values are made before they are used, as the format demands, which
// also excludes cycles; no value is made twice, and none is used that nobody makes.
//
// Left out: weights in other files (refused by name), sparse tensors, training graphs, functions of the model's own.

import { fromBinary } from "@bufbuild/protobuf";
import { AttributeProto_AttributeType as AttributeType, ModelProtoSchema } from "onnx-buf";
import type { AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto } from "onnx-buf";
import { MoreBytesNeeded, quote, show } from "../byte-cursor.ts";
import { InvalidHeaderError, UnsupportedFormatError } from "../errors.ts";
import type { PartialFile, PlainValue, SourceTensor } from "../tensor-source.ts";
import { ONNX_LIMITS } from "./model.ts";
import type { OnnxAttribute, OnnxModel, OnnxNode, OnnxValueInfo } from "./model.ts";
import { scanMessage, ScanError } from "./scan.ts";
import { dtypeOfOnnx, sourceTensor } from "./tensor-proto.ts";

/**
 * Reads an ONNX file. `bytes` is the whole file, and raw weights are views of it; `rest` only says how long the file
 * is where these are its first bytes. Throws `InvalidHeaderError`, `InvalidTensorError`, `UnsupportedFormatError`, and
 * `MoreBytesNeeded` where these are not all bytes.
 * @param fileName how errors call the file
 */
export function readOnnx(bytes: Uint8Array, fileName = "the ONNX file", rest?: PartialFile): OnnxModel {
  if (rest !== undefined && rest.fileSizeBytes > bytes.length) throw new MoreBytesNeeded(fileName, rest.fileSizeBytes);
  const proto = decode(bytes, fileName);
  const { graph } = proto;
  if (graph === undefined || proto.irVersion < 3n) {
    refuse(fileName, "holds no model", "a graph, of IR version 3 or later", `IR version ${proto.irVersion}`);
  }
  if (graph.sparseInitializer.length > 0) {
    throw new UnsupportedFormatError("sparse tensors are not read", { where: fileName, hint: "export dense weights" });
  }
  const tensors = graph.initializer.map((tensor) => sourceTensor(tensor, bytes, fileName));
  const initialized = new Set(tensors.map(({ name }) => name));
  const inputs = graph.input.filter(({ name }) => !initialized.has(name)).map((info) => valueInfo(info, fileName));
  const outputs = graph.output.map((info) => valueInfo(info, fileName));
  const nodes = graph.node.map((node, i) => readNode(node, i, bytes, fileName));
  requireOrder({ tensors, inputs, outputs, nodes }, fileName);
  const opsets = new Map(proto.opsetImport.map(({ domain, version }) => [ownDomain(domain), Number(version)]));
  const model = {
    irVersion: Number(proto.irVersion),
    opsets,
    producer: [proto.producerName, proto.producerVersion].filter(Boolean).join(" "),
    graphName: graph.name,
    metadata: new Map(proto.metadataProps.map(({ key, value }) => [key, value])),
    inputs,
    outputs,
    nodes,
  };
  return { format: "onnx", ...model, tensors, config: configOf(model) };
}

type GraphParts = Pick<OnnxModel, "tensors" | "inputs" | "outputs" | "nodes">;

function decode(bytes: Uint8Array, fileName: string): Omit<ModelProto, "graph"> & { readonly graph?: GraphProto } {
  try {
    scanMessage(ModelProtoSchema, bytes);
    return fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false, recursionLimit: ONNX_LIMITS.depth });
  } catch (error) {
    if (error instanceof ScanError) {
      refuse(fileName, "is no sound ONNX file", error.expected, error.got, `byte ${error.byteOffset}`);
    }
    // The wire reader throws plain errors: bytes that end early, varints without an end, texts that are not UTF-8.
    return refuse(fileName, "is no sound ONNX file", "a protobuf message", show(error));
  }
}

function refuse(fileName: string, summary: string, expected: string, got: string, place?: string): never {
  throw new InvalidHeaderError(`${fileName} ${summary}`, {
    where: place === undefined ? fileName : `${fileName}, ${place}`,
    expected,
    got,
    hint: "fetch the file again, or export it again",
  });
}

/** `ai.onnx` is another name of the domain without one. */
function ownDomain(domain: string): string {
  return domain === "ai.onnx" ? "" : domain;
}

function valueInfo({ name, type }: ValueInfoProto, fileName: string): OnnxValueInfo {
  const where = `${fileName}, value ${quote(name)}`;
  if (type?.value.case !== "tensorType") {
    throw new UnsupportedFormatError("an input or output of the graph is no tensor", {
      where,
      expected: "a tensor",
      got: type?.value.case ?? "no type",
      hint: "export the model with tensors only",
    });
  }
  const { elemType, shape } = type.value.value;
  const dims = shape?.dim.map(({ value }): number | string => {
    return value.case === "dimValue" ? Number(value.value) : (value.value ?? "?") || "?";
  });
  const fits = dims?.every((dim) => typeof dim === "string" || (Number.isSafeInteger(dim) && dim >= 0)) ?? true;
  if (!fits || (dims?.length ?? 0) > ONNX_LIMITS.rank) {
    refuse(fileName, "has an impossible shape", `at most ${ONNX_LIMITS.rank} sizes`, quote(String(dims)), quote(name));
  }
  return { name, dtype: dtypeOfOnnx(elemType, where), shape: dims };
}

function readNode(proto: NodeProto, index: number, file: Uint8Array, fileName: string): OnnxNode {
  const { name, opType: op, input: inputs, output: outputs } = proto;
  const attributes = new Map<string, OnnxAttribute>();
  for (const attribute of proto.attribute) {
    const value = attributeValue(attribute, file, `${fileName}, node ${index}`);
    if (value !== undefined) attributes.set(attribute.name, value);
  }
  return { name, op, domain: ownDomain(proto.domain), inputs, outputs, attributes };
}

/** Undefined for what no op that is read takes: graphs, types, lists of tensors. */
function attributeValue(proto: AttributeProto, file: Uint8Array, where: string): OnnxAttribute | undefined {
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(new Uint8Array(bytes)); // a copy: may be shared
  switch (proto.type) {
    case AttributeType.FLOAT:
      return proto.f;
    case AttributeType.INT:
      return Number(proto.i);
    case AttributeType.STRING:
      return text(proto.s);
    case AttributeType.TENSOR:
      return proto.t && attributeTensor(sourceTensor(proto.t, file, where), proto.name);
    case AttributeType.FLOATS:
      return proto.floats;
    case AttributeType.INTS:
      return proto.ints.map(Number);
    case AttributeType.STRINGS:
      return proto.strings.map(text);
    default:
      return undefined;
  }
}

function attributeTensor(tensor: SourceTensor, name: string): SourceTensor {
  return tensor.name === "" ? { ...tensor, name } : tensor;
}

/** Throws where a value is made twice, or used before it is made or without. */
function requireOrder({ tensors, inputs, outputs, nodes }: GraphParts, fileName: string): void {
  const made = new Set<string>();
  const make = (name: string, place: string): void => {
    if (made.has(name)) refuse(fileName, "makes a value twice", "names that are unique", quote(name), place);
    made.add(name);
  };
  const use = (name: string, place: string): void => {
    if (made.has(name)) return;
    const makes = nodes.some((node) => node.outputs.includes(name));
    const got = makes ? "a node before the one that makes it, or a cycle" : "a value that nothing makes";
    refuse(fileName, `uses the value ${quote(name)} too early`, "values that earlier nodes make", got, place);
  };
  for (const { name } of tensors) make(name, "initializers");
  for (const { name } of inputs) make(name, "inputs");
  nodes.forEach((node, i) => {
    const place = `node ${i}, ${quote(node.op)} ${quote(node.name)}`;
    for (const name of node.inputs) if (name !== "") use(name, place);
    for (const name of node.outputs) if (name !== "") make(name, place);
  });
  for (const { name } of outputs) use(name, "outputs");
}

/** What `fidelity show` tells of a model. */
function configOf(model: Omit<OnnxModel, "format" | "config" | "tensors">): Readonly<Record<string, PlainValue>> {
  const describe = ({ name, dtype, shape }: OnnxValueInfo): string => `${name}: ${dtype}[${shape?.join(", ") ?? "?"}]`;
  const counts = Map.groupBy(model.nodes, ({ domain, op }) => (domain === "" ? op : `${domain}.${op}`));
  const sorted = [...counts].toSorted(([, a], [, b]) => b.length - a.length);
  const opsets = Array.from(model.opsets, ([domain, version]) => (domain === "" ? version : `${domain} ${version}`));
  return {
    irVersion: model.irVersion,
    opset: opsets.join(", "),
    producer: model.producer,
    graph: model.graphName,
    inputs: model.inputs.map(describe).join("; "),
    outputs: model.outputs.map(describe).join("; "),
    nodes: model.nodes.length,
    operators: sorted.map(([op, nodes]) => `${op} ${nodes.length}`).join(", "),
  };
}
