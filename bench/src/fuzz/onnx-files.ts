// Hostile ONNX files: models of an operator or two whose names, numbers, shapes and types are changed, and bytes. What
// is read is traced, and interpreted where it is small.

import { elementCount, interpret, topologicalOrder, trace, verifyGraph } from "@fidelity/core";
import type { Graph, TensorType, Traced } from "@fidelity/core";
import { FormatError } from "@fidelity/formats";
import { onnxFunction, readOnnx, writeOnnx } from "@fidelity/formats/onnx";
import type { AttributeToWrite, NodeToWrite, OnnxModel, OnnxToWrite } from "@fidelity/formats/onnx";
import { OPERATOR_MODELS } from "@fidelity/formats/testing/onnx";
import { FidelityError } from "@fidelity/units";
import { withinBytes } from "./allocation.ts";
import { BYTES_PER_BYTE, checkReading, outcome, refusalWord } from "./model-files.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const NUMBERS = [0, 1, -1, 2, 3, -2, 7, 2 ** 15, 2 ** 31 - 1, -(2 ** 31), 2 ** 40, 2 ** 53, 2 ** 62, -(2 ** 62)];
const DIMS = [0, 1, 2, 3, 4, 1000, 2 ** 20, 2 ** 31, 2 ** 40];
const OPS = [
  ...new Set(OPERATOR_MODELS.flatMap(({ model }) => model.nodes.map(({ op }) => op))),
  "If",
  "",
  "constructor",
];
const NAMES = ["x0", "x1", "y0", "", "z", "__proto__"];
/** Of each value, where a graph is interpreted. */
const INTERPRETED_ELEMENTS_MAX = 2 ** 10;

/** ONNX files, which are read or refused, traced or refused. */
export const onnxFiles: FuzzTarget = {
  name: "onnx",
  about: "damaged ONNX files are refused by FormatError, or are functions of tensors",
  open(seed) {
    return {
      run(index) {
        const random = randomFor(seed, index);
        const bytes = hostileFile(random);
        try {
          return withinBytes(BYTES_PER_BYTE * bytes.length, () => {
            const found = checkReading(bytes, readOnnx, random);
            return found instanceof FormatError ? refusalWord(found) : checkFunction(found);
          });
        } catch (error) {
          throw new Error(`a file of ${bytes.length} bytes`, { cause: error });
        }
      },
    };
  },
};

function checkFunction(model: OnnxModel): string {
  const traced = outcome(() => {
    const onnx = onnxFunction(model);
    return trace("onnx", onnx.apply, [onnx.parameterTypes, onnx.inputTypes({ n: 3 })]);
  });
  if (traced instanceof FormatError) return `read, and refused when traced: ${traced.name}`;
  const { graph } = traced as Traced<unknown>;
  verifyGraph(graph);
  return isSmall(graph) ? interpreted(graph) : "read and traced";
}

function isSmall({ results, parameters }: Graph): boolean {
  const nodes = topologicalOrder([...results, ...parameters]);
  // An axis may be long where another one is empty.
  const fits = ({ shape }: TensorType): boolean =>
    elementCount(shape.map((dim) => dim + 1)) <= INTERPRETED_ELEMENTS_MAX;
  return nodes.length < 200 && nodes.every((node) => node.results.every(({ type }) => fits(type)));
}

function interpreted(graph: Graph): string {
  try {
    interpret(
      graph,
      graph.parameters.map(({ type }) => ({ type, data: new Float64Array(elementCount(type.shape)).fill(1) })),
    );
    return "read, traced and interpreted";
  } catch (error) {
    if (error instanceof FidelityError) return `read and traced, ${error.name}`; // an index that there is not
    throw error;
  }
}

function hostileFile(random: Random): Uint8Array {
  let { model } = pick(random, OPERATOR_MODELS);
  for (let count = random(4); count > 0; count--) model = changed(model, random);
  const bytes = writeOnnx(model);
  return random(3) === 0 ? mutateBytes(bytes, random, writeOnnx(pick(random, OPERATOR_MODELS).model)) : bytes;
}

/** A model with one thing changed. */
function changed(model: OnnxToWrite, random: Random): OnnxToWrite {
  const at = random(model.nodes.length);
  switch (random(8)) {
    case 0:
      return { ...model, opset: pick(random, [9, 11, 12, 13, 17, 18, 21, 23, 24, 99]) };
    case 1:
      return { ...model, inputs: model.inputs.map((input) => ({ ...input, shape: someShape(random) })) };
    case 2: {
      const tensor = { name: pick(random, NAMES), dtype: "i64", shape: [1 + random(3)] } as const;
      const bytes = (): Uint8Array => bytesOf(Array.from({ length: tensor.shape[0] }, () => pick(random, NUMBERS)));
      const written = bytes();
      return { ...model, tensors: [...model.tensors, { ...tensor, bytes: () => written }] };
    }
    case 3:
      return { ...model, tensors: model.tensors.filter(() => random(2) === 0) };
    case 4: {
      const more = pick(random, OPERATOR_MODELS).model.nodes[0];
      const next: NodeToWrite = { ...more, inputs: more.inputs.map(() => "y0"), outputs: ["z"] };
      return { ...model, nodes: [...model.nodes, next], outputs: [{ name: "z", dtype: "f32", shape: undefined }] };
    }
    default:
      return { ...model, nodes: model.nodes.with(at, changedNode(model.nodes[at], random)) };
  }
}

function changedNode(node: NodeToWrite, random: Random): NodeToWrite {
  switch (random(4)) {
    case 0:
      return { ...node, op: pick(random, OPS) };
    case 1:
      return { ...node, inputs: node.inputs.map((name) => (random(2) === 0 ? pick(random, NAMES) : name)) };
    case 2:
      return { ...node, outputs: [...node.outputs, pick(random, NAMES)] };
    default: {
      const names = ["axis", "axes", "perm", "keepdims", "to", "start", "end", "epsilon", "split", "alpha", "value"];
      return { ...node, attributes: { ...node.attributes, [pick(random, names)]: someAttribute(random) } };
    }
  }
}

function someAttribute(random: Random): AttributeToWrite {
  const kind = random(5);
  if (kind === 0) return { ints: Array.from({ length: random(5) }, () => pick(random, NUMBERS)) };
  if (kind === 1) return { float: pick(random, [0, -1, 1e30, NaN, Infinity]) };
  if (kind === 2) return { text: "tanh" };
  if (kind === 3) {
    const written = bytesOf([pick(random, NUMBERS)]);
    return { tensor: { name: "", dtype: "i64", shape: [1], bytes: () => written } };
  }
  return { int: pick(random, NUMBERS) };
}

function someShape(random: Random): (number | string)[] {
  return Array.from({ length: random(4) }, () => (random(4) === 0 ? pick(random, ["n", "m"]) : pick(random, DIMS)));
}

function bytesOf(values: readonly number[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
}
