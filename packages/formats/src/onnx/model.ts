// An ONNX model as this room sees it: a graph of named nodes in an order in which each value is made before it is used,
// and its weights, which are also a `TensorSource` like that of any other format. ONNX's own words are kept for what is
// ONNX's: node, initializer, opset, domain (github.com/onnx/onnx, docs/IR.md).

import type { SourceDtype } from "../quants/table.ts";
import type { SourceTensor, TensorSource } from "../tensor-source.ts";

/** What an attribute of a node holds. Graphs, types and sparse tensors are left out: no op that is read takes them. */
export type OnnxAttribute = number | string | readonly number[] | readonly string[] | SourceTensor;

/** One application of an operator. */
export interface OnnxNode {
  /** The file's name, which may be empty; `where` in errors says more. */
  readonly name: string;
  readonly op: string;
  /** Empty for ONNX's own operators. */
  readonly domain: string;
  /** Names of values; an empty one is an optional input that is not there. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** An input or output of the graph. A dim is a number, or the name that the file gives it (`?` where it has none). */
export interface OnnxValueInfo {
  readonly name: string;
  readonly dtype: SourceDtype;
  /** Undefined where the file says nothing, as it may for outputs. */
  readonly shape: readonly (number | string)[] | undefined;
}

/** A whole ONNX file. Its tensors are the initializers. */
export interface OnnxModel extends TensorSource {
  readonly format: "onnx";
  readonly irVersion: number;
  /** Versions of the operator sets by domain; "" is ONNX's own. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly producer: string;
  readonly graphName: string;
  readonly metadata: ReadonlyMap<string, string>;
  /** Without the initializers, which older files list as inputs too. */
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  /** In an order in which every value is made before it is used. */
  readonly nodes: readonly OnnxNode[];
}

/** What a file may have, whatever its size. */
export const ONNX_LIMITS = {
  /** Nodes, attributes, tensors, names and dims together. */
  messages: 2 ** 20,
  /** Bytes of all that is not a tensor's raw data: numbers one by one, names, texts. */
  headerBytes: 2 ** 26,
  /** Messages inside of messages: about 13 graphs inside of graphs. */
  depth: 40,
  rank: 16,
} as const;
