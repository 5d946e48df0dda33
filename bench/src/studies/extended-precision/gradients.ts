// How far a gradient is from the exact one, in each arithmetic, beside how far the gradients of two batches are from
// each other: one step of each model at its first parameters, the exact gradient in double-double.

import { decodeTensor, encodeTensor, tensorType, trace } from "@fidelity/core";
import type { Device, Graph, HostTensor, TensorType } from "@fidelity/core";
import { accumulations, doubleDouble, extendGraph, grad, gradientStability } from "@fidelity/furnace";
import type { StabilityReport } from "@fidelity/furnace";
import { Batches } from "@fidelity/train";
import type { TokenData } from "@fidelity/train";
import type { LanguageModel, Parameters, Tokens } from "./models.ts";
import { firstValues, typesIn } from "./models.ts";

/** Sequences of the gradient's batch: few, since double-double is slow. */
const SHAPE = [2, 32] as const;

export interface GradientErrors {
  readonly model: string;
  readonly seed: number;
  /** |g - exact| / |exact| by arithmetic. */
  readonly errors: Readonly<Record<string, number>>;
  /** The same distance between the gradients of two batches. */
  readonly otherBatch: number;
}

function slope(model: LanguageModel): (p: Parameters, tokens: Tokens, targets: Tokens) => unknown {
  return grad((p: Parameters, tokens: Tokens, targets: Tokens) => model.loss(p, tokens, targets) as never) as never;
}

function graphOf(
  model: LanguageModel,
  dtype: "f32" | "f64",
  isDouble = false,
): { graph: Graph; paths: readonly string[] } {
  const tokens = tensorType("i32", SHAPE);
  const fn = slope(model);
  const types = [typesIn(model, dtype), tokens, tokens];
  const { graph, resultPaths } = trace("slope", (isDouble ? doubleDouble(fn as never) : fn) as never, types as never);
  return { graph, paths: resultPaths };
}

/** Parameters and one batch, as a graph of a dtype takes them. */
function inputsOf(model: LanguageModel, data: TokenData, seed: number, batch: number, types: readonly TensorType[]) {
  const [count, context] = SHAPE;
  const batches = new Batches(data.tokens, { batchSize: count, contextLength: context, seed });
  const [tokens, targets] = [new Int32Array(count * context), new Int32Array(count * context)];
  batches.batch(batch, tokens, targets);
  const values = [...firstValues(model, seed).values(), tokens, targets];
  return values.map((from, i): HostTensor => ({ type: types[i], data: Float64Array.from(from) }));
}

async function run(device: Device, graph: Graph, inputs: readonly HostTensor[]): Promise<Float64Array[]> {
  const program = await device.compile(graph);
  const tensors = program.parameterTypes.map((type) => device.tensor(type));
  const results = program.resultTypes.map((type) => device.tensor(type));
  inputs.forEach((input, i) => encodeTensor(input, tensors[i].bytes()));
  program.bind(tensors, results);
  program.run();
  const values = results.map((tensor) => decodeTensor(tensor.type, tensor.bytes()).data);
  program.free();
  for (const tensor of [...tensors, ...results]) tensor.free();
  return values;
}

function distance(a: readonly Float64Array[], b: readonly Float64Array[]): number {
  let [difference, size] = [0, 0];
  b.forEach((values, i) =>
    values.forEach((value, j) => {
      difference += (a[i][j] - value) ** 2;
      size += value ** 2;
    }),
  );
  return Math.sqrt(difference / size);
}

export async function gradientErrors(
  device: Device,
  data: TokenData,
  model: LanguageModel,
  seed: number,
): Promise<GradientErrors> {
  const [single, double] = [graphOf(model, "f32").graph, graphOf(model, "f64").graph];
  const on = (graph: Graph, batch: number): Promise<Float64Array[]> => {
    const types = graph.parameters.map(({ type }) => type);
    return run(device, graph, inputsOf(model, data, seed, batch, types));
  };
  const pairs = await on(graphOf(model, "f64", true).graph, 1);
  const exact = pairs.filter((_part, i) => i % 2 === 0);
  const errors = {
    float32: distance(await on(single, 1), exact),
    "float32, sums in float64": distance(await on(extendGraph(single, accumulations("f64")), 1), exact),
    float64: distance(await on(double, 1), exact),
  };
  return { model: model.name, seed, errors, otherBatch: distance(await on(double, 2), exact) };
}

/** The stability report of a model's float32 gradient, asked for a tenth of its error. */
export async function modelStability(
  device: Device,
  data: TokenData,
  model: LanguageModel,
  seed: number,
  tolerance: number,
): Promise<StabilityReport> {
  const { graph, paths } = graphOf(model, "f32");
  const inputs = inputsOf(
    model,
    data,
    seed,
    1,
    graph.parameters.map(({ type }) => type),
  );
  return gradientStability(device, graph, inputs, { paths, tolerance });
}
