// One small model an operator, for the tests of the reader: what onnxruntime computes for them is in goldens/onnx. The
// same numbers follow from the same name.

import type { SourceDtype } from "../quants/table.ts";
import type { TensorToWrite } from "../tensor-source.ts";
import type { AttributeToWrite, OnnxToWrite } from "./write.ts";

/** A constant input: integers, which decide shapes. Operands without axes are constants as well. */
type Integers = readonly number[];
type Operand = {
  readonly dtype?: SourceDtype;
  readonly shape: readonly number[];
  readonly range?: readonly [number, number];
};

interface OperatorCase {
  readonly op: string;
  readonly opset?: number;
  readonly domain?: string;
  /** Shapes of inputs, lists of integers as initializers; null where an optional input is not there. */
  readonly inputs: readonly (Operand | Integers | number | null)[];
  readonly attributes?: Readonly<Record<string, AttributeToWrite>>;
  /** Types of the outputs; one of f32 by default. */
  readonly outputs?: readonly SourceDtype[];
}

const x = { shape: [3, 4] };
const positive = { shape: [3, 4], range: [0.1, 2] } as const;
const bools = { dtype: "bool", shape: [3, 4], range: [0, 1] } as const;
const whole = { dtype: "i64", shape: [3, 4], range: [-9, 9] } as const;
const divisor = { dtype: "i64", shape: [4], range: [1, 5] } as const;
const int = (value: number): AttributeToWrite => ({ int: value });
const ints = (...values: number[]): AttributeToWrite => ({ ints: values });
const float = (value: number): AttributeToWrite => ({ float: value });

const CASES: readonly OperatorCase[] = [
  ...[
    "Abs",
    "Ceil",
    "Cos",
    "Erf",
    "Exp",
    "Floor",
    "Neg",
    "Relu",
    "Round",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Tanh",
  ].map((op) => ({ op, inputs: [x] })),
  ...["Log", "Sqrt", "Reciprocal"].map((op) => ({ op, inputs: [positive] })),
  ...["Add", "Sub", "Mul", "Max", "Min", "Sum"].map((op) => ({ op, inputs: [x, { shape: [2, 1, 4] }] })),
  { op: "Div", inputs: [x, positive] },
  { op: "Div", inputs: [whole, divisor], outputs: ["i64"] },
  { op: "Mod", inputs: [whole, divisor], outputs: ["i64"] },
  { op: "Abs", inputs: [whole], outputs: ["i64"] },
  { op: "ReduceSum", inputs: [whole, [1]], outputs: ["i64"] },
  ...["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"].map((op): OperatorCase => {
    return { op, inputs: [whole, divisor], outputs: ["bool"] };
  }),
  ...["And", "Or"].map((op): OperatorCase => ({ op, inputs: [bools, { ...bools, shape: [4] }], outputs: ["bool"] })),
  { op: "Not", inputs: [bools], outputs: ["bool"] },
  { op: "Where", inputs: [bools, x, { shape: [4] }] },
  { op: "Pow", inputs: [x, { shape: [], range: [3, 3] }] },
  { op: "Pow", inputs: [positive, x] },
  { op: "Clip", inputs: [x, { shape: [], range: [-0.5, -0.5] }, { shape: [], range: [0.25, 0.25] }] },
  { op: "Clip", inputs: [x, null, { shape: [], range: [0.25, 0.25] }] },
  { op: "LeakyRelu", inputs: [x], attributes: { alpha: float(0.2) } },
  { op: "Elu", inputs: [x], attributes: { alpha: float(0.7) } },
  { op: "HardSigmoid", inputs: [x] },
  { op: "Gelu", opset: 20, inputs: [x] },
  { op: "Gelu", opset: 20, inputs: [x], attributes: { approximate: { text: "tanh" } } },
  { op: "Gelu", domain: "com.microsoft", inputs: [x] },
  { op: "FastGelu", domain: "com.microsoft", inputs: [x, { shape: [4] }] },
  { op: "BiasGelu", domain: "com.microsoft", inputs: [x, { shape: [4] }] },
  { op: "MatMul", inputs: [{ shape: [2, 1, 3, 4] }, { shape: [5, 4, 2] }] },
  { op: "MatMul", inputs: [{ shape: [4] }, { shape: [2, 4, 3] }] },
  { op: "MatMul", inputs: [{ shape: [2, 3, 4] }, { shape: [4] }] },
  { op: "MatMul", inputs: [{ shape: [2, 3, 4] }, { shape: [4, 5] }] },
  {
    op: "Gemm",
    inputs: [{ shape: [4, 3] }, { shape: [5, 4] }, { shape: [5] }],
    attributes: { transA: int(1), transB: int(1), alpha: float(0.5), beta: float(2) },
  },
  { op: "Gemm", inputs: [{ shape: [3, 4] }, { shape: [4, 5] }] },
  { op: "Softmax", inputs: [{ shape: [2, 3, 4] }], attributes: { axis: int(1) } },
  { op: "Softmax", opset: 11, inputs: [{ shape: [2, 3, 4] }] },
  { op: "LogSoftmax", inputs: [x] },
  {
    op: "LayerNormalization",
    inputs: [{ shape: [2, 3, 4] }, { shape: [4] }, { shape: [4] }],
    attributes: { epsilon: float(1e-3) },
  },
  { op: "LayerNormalization", inputs: [{ shape: [2, 3, 4] }, { shape: [3, 4] }], attributes: { axis: int(1) } },
  { op: "RMSNormalization", opset: 23, inputs: [x, { shape: [4] }] },
  { op: "SimplifiedLayerNormalization", inputs: [x, { shape: [4] }], attributes: { epsilon: float(1e-4) } },
  {
    op: "SkipLayerNormalization",
    domain: "com.microsoft",
    inputs: [{ shape: [1, 3, 4] }, { shape: [1, 3, 4] }, { shape: [4] }, { shape: [4] }, { shape: [4] }],
    attributes: { epsilon: float(1e-5) },
  },
  {
    op: "SkipSimplifiedLayerNormalization",
    domain: "com.microsoft",
    inputs: [{ shape: [1, 3, 4] }, { shape: [1, 3, 4] }, { shape: [4] }],
    attributes: { epsilon: float(1e-5) },
  },
  { op: "Reshape", inputs: [{ shape: [2, 3, 4] }, [0, -1]] },
  { op: "Transpose", inputs: [{ shape: [2, 3, 4] }] },
  { op: "Transpose", inputs: [{ shape: [2, 3, 4] }], attributes: { perm: ints(1, 2, 0) } },
  { op: "Squeeze", inputs: [{ shape: [1, 3, 1, 4] }, [0, -2]] },
  { op: "Squeeze", opset: 11, inputs: [{ shape: [1, 3, 1] }] },
  { op: "Unsqueeze", inputs: [x, [0, -1]] },
  { op: "Unsqueeze", opset: 11, inputs: [x], attributes: { axes: ints(1) } },
  { op: "Concat", inputs: [x, { shape: [3, 2] }], attributes: { axis: int(-1) } },
  { op: "Slice", inputs: [{ shape: [4, 6] }, [1, -1], [1000, -7], [0, 1], [2, -2]] },
  { op: "Slice", inputs: [{ shape: [4, 6] }, [-3], [-1], [-1]] },
  {
    op: "Split",
    opset: 13,
    inputs: [{ shape: [5, 2] }, [2, 3]],
    attributes: { axis: int(0) },
    outputs: ["f32", "f32"],
  },
  { op: "Split", opset: 18, inputs: [{ shape: [5, 2] }], attributes: { num_outputs: int(2) }, outputs: ["f32", "f32"] },
  { op: "Expand", inputs: [{ shape: [3, 1] }, [2, 1, 4]] },
  { op: "Flatten", inputs: [{ shape: [2, 3, 4] }], attributes: { axis: int(-1) } },
  { op: "Tile", inputs: [x, [2, 3]] },
  { op: "Pad", inputs: [x, [1, 0, 0, 2], { shape: [], range: [0.5, 0.5] }] },
  { op: "Shape", inputs: [{ shape: [2, 3, 4] }], attributes: { start: int(-2) }, outputs: ["i64"] },
  { op: "Size", inputs: [x], outputs: ["i64"] },
  { op: "Cast", inputs: [{ shape: [3, 4], range: [-9, 9] }], attributes: { to: int(7) }, outputs: ["i64"] },
  { op: "Cast", inputs: [whole], attributes: { to: int(9) }, outputs: ["bool"] },
  { op: "Cast", inputs: [x], attributes: { to: int(11) }, outputs: ["f64"] },
  {
    op: "Gather",
    inputs: [{ shape: [3, 4, 2] }, { dtype: "i64", shape: [2, 2], range: [-4, 3] }],
    attributes: { axis: int(1) },
  },
  { op: "Gather", inputs: [x, -1] },
  { op: "ConstantOfShape", inputs: [[2, 3]] },
  { op: "Range", inputs: [5, -4, -3], outputs: ["i64"] },
  { op: "Trilu", opset: 14, inputs: [{ shape: [2, 3, 4] }, 1] },
  { op: "Trilu", opset: 14, inputs: [x], attributes: { upper: int(0) } },
  { op: "CumSum", inputs: [x, 1], attributes: { exclusive: int(1), reverse: int(1) } },
  { op: "CumSum", inputs: [whole, 0], outputs: ["i64"] },
  ...["ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSumSquare"].flatMap(
    (op): OperatorCase[] => [
      { op, opset: 13, inputs: [{ shape: [2, 3, 4] }], attributes: { axes: ints(-1, 0), keepdims: int(0) } },
      { op, opset: 18, inputs: [{ shape: [2, 3, 4] }, [1]] },
    ],
  ),
  { op: "ReduceSum", inputs: [x] },
  { op: "ReduceSum", inputs: [x, []], attributes: { noop_with_empty_axes: int(1) } },
  { op: "ArgMax", inputs: [x], attributes: { axis: int(1), keepdims: int(0) }, outputs: ["i64"] },
  { op: "ArgMin", inputs: [x], outputs: ["i64"] },
  { op: "TopK", inputs: [x, [2]], attributes: { axis: int(0), largest: int(0) }, outputs: ["f32", "i64"] },
  { op: "Dropout", inputs: [x] },
  { op: "Identity", inputs: [x] },
];

/** An operator's model, and what it is fed with. */
export interface OperatorModel {
  readonly name: string;
  readonly model: OnnxToWrite;
  readonly feeds: Readonly<Record<string, OnnxFeed>>;
}

/** An input of a model: numbers in row-major order. */
export interface OnnxFeed {
  readonly dtype: SourceDtype;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

/** All of them. */
export const OPERATOR_MODELS: readonly OperatorModel[] = CASES.map((each, i) => operatorModel(each, i));

function operatorModel(
  { op, opset = 17, domain, inputs, attributes, outputs = ["f32"] }: OperatorCase,
  index: number,
): OperatorModel {
  const name = `${index} ${op}`;
  const tensors: TensorToWrite[] = [];
  const feeds: Record<string, OnnxFeed> = {};
  const names = inputs.map((input, i) => {
    if (input === null) return "";
    if (typeof input === "object" && "shape" in input && input.shape.length === 0) {
      const [value = 0] = input.range ?? [];
      tensors.push({ name: `x${i}`, dtype: "f32", shape: [], bytes: () => bytesOf(Float32Array.of(value)) });
    } else if (typeof input === "object" && "shape" in input) {
      const { dtype = "f32", shape, range = [-2, 2] } = input;
      feeds[`x${i}`] = { dtype, shape, values: numbersFor(`${name} ${i}`, dtype, shape, range) };
    } else {
      const list = typeof input === "number" ? [input] : input;
      const shape = typeof input === "number" ? [] : [list.length];
      tensors.push({ name: `x${i}`, dtype: "i64", shape, bytes: () => bytesOf(BigInt64Array.from(list, BigInt)) });
    }
    return `x${i}`;
  });
  const results = outputs.map((_dtype, i) => `y${i}`);
  const model: OnnxToWrite = {
    graphName: op,
    opset,
    ...(domain !== undefined && { domains: { [domain]: 1 } }),
    inputs: Object.entries(feeds).map(([input, { dtype, shape }]) => ({ name: input, dtype, shape })),
    outputs: results.map((result, i) => ({ name: result, dtype: outputs[i], shape: undefined })),
    nodes: [{ op, domain, inputs: names, outputs: results, attributes }],
    tensors,
  };
  return { name, model, feeds };
}

/** The bytes of an array's numbers. */
export function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Numbers that follow from a text, evenly spread over a range; whole ones for integers and bools. */
export function numbersFor(
  text: string,
  dtype: SourceDtype,
  shape: readonly number[],
  [low, high]: readonly [number, number],
): number[] {
  let state = Array.from(text).reduce(
    (hash, letter) => Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193),
    0x811c9dc5,
  );
  const count = shape.reduce((product, dim) => product * dim, 1);
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const unit = (state >>> 8) / 2 ** 24;
    if (dtype === "f32") return Math.fround(low + unit * (high - low));
    return Math.min(high, low + Math.floor(unit * (high - low + 1)));
  });
}
