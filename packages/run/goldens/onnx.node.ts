// What onnxruntime computes for our models written as ONNX, as numbers in JSON. Run by `npm run goldens:onnx`; where
// onnxruntime comes from is said in packages/formats/goldens/onnx/goldens.node.ts. Every model must agree within 1e-4
// with what core's interpreter computes before anything is written.

import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { ONNX_MODELS, ONNX_TEST_TOKENS, onnxTestFile, onnxTestModel, ownResult } from "../src/convert/testing-onnx.ts";

interface Runtime {
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => object;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{ run(feeds: object): Promise<Record<string, { readonly data: Float32Array }>> }>;
  };
}

const folder = process.env["ONNXRUNTIME"];
if (folder === undefined) throw new Error("ONNXRUNTIME names no folder with node_modules/onnxruntime-node");
const runtime = createRequire(join(folder, "package.json"))("onnxruntime-node") as Runtime;

const goldens: Record<string, number[]> = {};
for (const architecture of Object.keys(ONNX_MODELS)) {
  const model = onnxTestModel(architecture);
  const session = await runtime.InferenceSession.create(onnxTestFile(model), { logSeverityLevel: 3 });
  const shape = [1, ONNX_TEST_TOKENS.length];
  const tokens = new runtime.Tensor("int64", BigInt64Array.from(ONNX_TEST_TOKENS, BigInt), shape);
  const [{ data }] = Object.values(await session.run({ input_ids: tokens }));
  const own = ownResult(model).data;
  const worst = data.reduce((most, value, i) => Math.max(most, Math.abs(value - own[i])), 0);
  if (!(worst <= 1e-4) || own.length !== data.length) throw new Error(`${architecture} differs by ${worst}`);
  process.stdout.write(`${architecture}: ${data.length} numbers, differ by at most ${worst.toExponential(1)}\n`);
  goldens[architecture] = Array.from(data, (value) => Number(value.toPrecision(8)));
}
const lines = Object.entries(goldens).map(([name, values]) => `  ${JSON.stringify(name)}: ${JSON.stringify(values)}`);
writeFileSync(join(import.meta.dirname, "onnx.json"), `{\n${lines.join(",\n")}\n}\n`);
