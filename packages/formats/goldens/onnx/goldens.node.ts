// What onnxruntime computes for the models of the tests, as numbers in JSON. onnxruntime-node takes 288 MB, so that it
// is no dependency; install it anywhere and name the folder:
//
//   npm install --ignore-scripts --prefix /tmp/onnxruntime onnxruntime-node@1.30.0
//   ONNXRUNTIME=/tmp/onnxruntime npm run goldens:onnx
//
// The .onnx files beside this one are PyTorch's (foreign.py). What our own exporter writes is run as well, and must
// agree within 1e-4 with what core's interpreter computes before anything is written.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { SAMPLED_OPS } from "@fidelity/core/testing";
import { UnsupportedFormatError } from "../../src/errors.ts";
import { exportOnnx, readOnnx } from "../../src/onnx/index.ts";
import type { OnnxModel } from "../../src/onnx/index.ts";
import { differenceOf, exportCase } from "../../src/onnx/testing-export.ts";
import { numbersFor, OPERATOR_MODELS } from "../../src/onnx/testing-operators.ts";
import type { OnnxFeed } from "../../src/onnx/testing-operators.ts";
import { writeOnnx } from "../../src/onnx/write.ts";

interface RuntimeTensor {
  readonly dims: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}

interface Runtime {
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => RuntimeTensor;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<Record<string, RuntimeTensor>> }>;
  };
}

interface Golden {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

const folder = process.env["ONNXRUNTIME"];
if (folder === undefined) throw new Error("ONNXRUNTIME names no folder with node_modules/onnxruntime-node");
const runtime = createRequire(join(folder, "package.json"))("onnxruntime-node") as Runtime;

const TYPES: Readonly<Record<string, readonly [string, (values: readonly number[]) => unknown]>> = {
  f32: ["float32", (values) => Float32Array.from(values)],
  f64: ["float64", (values) => Float64Array.from(values)],
  i32: ["int64", (values) => BigInt64Array.from(values, BigInt)], // as inputs of exported models
  i64: ["int64", (values) => BigInt64Array.from(values, BigInt)],
  bool: ["bool", (values) => Uint8Array.from(values)],
};

async function run(bytes: Uint8Array, feeds: Readonly<Record<string, OnnxFeed>>): Promise<Record<string, Golden>> {
  const session = await runtime.InferenceSession.create(bytes, { logSeverityLevel: 3 });
  const inputs = Object.entries(feeds).map(([name, { dtype, shape, values }]): [string, RuntimeTensor] => {
    const [type, cells] = TYPES[dtype];
    return [name, new runtime.Tensor(type, cells(values), shape)];
  });
  const outputs = Object.entries(await session.run(Object.fromEntries(inputs)));
  return Object.fromEntries(
    outputs.map(([name, { dims, data }]) => {
      return [name, { shape: [...dims], values: Array.from(data, (value) => Number(Number(value).toPrecision(9))) }];
    }),
  );
}

/** Numbers for the inputs of a file, for a batch of 2 and 7 tokens where it leaves sizes open. */
function feedsFor(file: string, { inputs }: OnnxModel): Record<string, OnnxFeed> {
  const sizes: Readonly<Record<string, number>> = { batch: 2, time: 7 };
  return Object.fromEntries(
    inputs.map(({ name, dtype, shape = [] }): [string, OnnxFeed] => {
      const dims = shape.map((dim) => (typeof dim === "number" ? dim : sizes[dim]));
      const range = dtype === "i64" ? ([0, 16] as const) : dtype === "bool" ? ([0, 1] as const) : ([-2, 2] as const);
      const values = numbersFor(`${file} ${name}`, dtype, dims, range);
      // A row that sees nothing at all has no softmax.
      if (dtype === "bool") values.fill(0, 0, 7).fill(0, 7, 9);
      return [name, { dtype, shape: dims, values }];
    }),
  );
}

const models: Record<string, { feeds: Record<string, OnnxFeed>; outputs: Record<string, Golden> }> = {};
for (const file of readdirSync(import.meta.dirname).filter((name) => name.endsWith(".onnx"))) {
  const bytes = readFileSync(join(import.meta.dirname, file));
  const feeds = feedsFor(file, readOnnx(bytes, file));
  models[file] = { feeds, outputs: await run(bytes, feeds) };
}
const operators: Record<string, Record<string, Golden>> = {};
for (const { name, model, feeds } of OPERATOR_MODELS) {
  try {
    operators[name] = await run(writeOnnx(model), feeds);
  } catch (error) {
    throw new Error(name, { cause: error });
  }
}
// What our writer writes of every op of core must be what the op's reference computes.
for (const op of SAMPLED_OPS) {
  let [written, worst] = [0, 0];
  for (let seed = 0; seed < 12; seed++) {
    const each = exportCase(op, seed);
    if (each === undefined) continue;
    const types = [...Object.values(each.feeds), ...Object.values(each.expected)].map(({ type }) => type.dtype);
    if (types.some((dtype) => !Object.hasOwn(TYPES, dtype))) continue; // onnxruntime-node does not pass halves
    let bytes: Uint8Array;
    try {
      bytes = exportOnnx({ traced: each.traced, weights: new Map() });
    } catch (error) {
      if (error instanceof UnsupportedFormatError) continue;
      throw error;
    }
    const feeds = Object.entries(each.feeds).map(([name, { type, data }]): [string, OnnxFeed] => {
      return [name, { dtype: type.dtype as "f32", shape: type.shape, values: [...data] }];
    });
    const outputs = await run(bytes, Object.fromEntries(feeds)).catch((error: unknown) => {
      throw new Error(`${op.name}, case ${seed}`, { cause: error });
    });
    const data = Object.entries(outputs).map(([name, { values }]) => [name, { data: Float64Array.from(values) }]);
    worst = Math.max(worst, differenceOf(Object.fromEntries(data), each.expected));
    written++;
  }
  if (written > 0) process.stdout.write(`${op.name}: ${written} cases, differ by at most ${worst.toExponential(1)}\n`);
  if (worst > 1e-4) throw new Error(`what is written of ${op.name} is another thing to onnxruntime`);
}
const lines = (table: object): string =>
  Object.entries(table)
    .map(([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value)}`)
    .join(",\n");
writeFileSync(
  join(import.meta.dirname, "goldens.json"),
  `{\n  "models": {\n${lines(models)}\n  },\n  "operators": {\n${lines(operators)}\n  }\n}\n`,
);
