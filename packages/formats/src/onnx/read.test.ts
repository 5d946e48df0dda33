// Reading ONNX: what a file says, and what is refused by name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ModelProtoSchema } from "onnx-buf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { detectFormat } from "../detect.ts";
import { FormatError, InvalidHeaderError, InvalidTensorError, UnsupportedFormatError } from "../errors.ts";
import { decodeTensorValues, findTensor } from "../tensor-source.ts";
import { mutations } from "../testing-mutations.ts";
import { onnxFunction, OnnxNodeError, readOnnx } from "./index.ts";
import { bytesOf } from "./testing-operators.ts";
import { writeOnnx } from "./write.ts";
import type { NodeToWrite, OnnxToWrite } from "./write.ts";
import { trace } from "@fidelity/core";

const VALUES = Float32Array.of(1, -2, 0.5, 4);

function model(change: Partial<OnnxToWrite> = {}): OnnxToWrite {
  return {
    graphName: "test",
    opset: 17,
    inputs: [{ name: "x", dtype: "f32", shape: ["batch", 2] }],
    outputs: [{ name: "y", dtype: "f32", shape: ["batch", 2] }],
    nodes: [{ op: "MatMul", inputs: ["x", "w"], outputs: ["y"] }],
    tensors: [{ name: "w", dtype: "f32", shape: [2, 2], bytes: () => bytesOf(VALUES) }],
    metadata: { license: "Apache-2.0" },
    ...change,
  };
}

/** A model as a message, for what the writer would not write. */
function message(graph: MessageInitShape<typeof ModelProtoSchema>["graph"]): Uint8Array {
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 8n, graph }));
}

test("what is written is read: types, shapes, weights, metadata", () => {
  const bytes = writeOnnx(model());
  assert.equal(detectFormat(bytes).format, "onnx");
  const read = readOnnx(bytes);
  assert.deepEqual(read.inputs, [{ name: "x", dtype: "f32", shape: ["batch", 2] }]);
  assert.equal(read.opsets.get(""), 17);
  assert.equal(read.producer, "fidelity");
  assert.equal(read.metadata.get("license"), "Apache-2.0");
  assert.equal(read.config["operators"], "MatMul 1");
  const weight = findTensor(read, "w");
  assert.deepEqual(decodeTensorValues(weight), VALUES);
  assert.equal(weight.bytes().buffer, bytes.buffer, "a view, not a copy");
  assert.deepEqual(bytes.subarray(weight.byteOffset, weight.byteOffset + 16), bytesOf(VALUES));
});

test("numbers that a file lists one by one are those of raw data", () => {
  const read = readOnnx(
    message({
      initializer: [
        { name: "floats", dataType: 1, dims: [2n], floatData: [0.5, -3] },
        { name: "halves", dataType: 10, dims: [2n], int32Data: [0x3c00, 0xc000] },
        { name: "longs", dataType: 7, dims: [2n], int64Data: [-1n, 5n] },
        { name: "doubles", dataType: 11, dims: [1n], doubleData: [0.25] },
        { name: "bools", dataType: 9, dims: [2n], int32Data: [1, 0] },
        { name: "none", dataType: 1, dims: [0n] },
      ],
    }),
  );
  const values = read.tensors.map((tensor) => [...decodeTensorValues(tensor)]);
  assert.deepEqual(values, [[0.5, -3], [1, -2], [-1, 5], [0.25], [1, 0], []]);
});

test("files that are no graph are refused by name", () => {
  const relu = (input: string, output: string): NodeToWrite => ({ op: "Relu", inputs: [input], outputs: [output] });
  const written = (nodes: readonly NodeToWrite[]): Uint8Array => writeOnnx(model({ nodes }));
  const cases: readonly [Uint8Array, new (...args: never[]) => FormatError, RegExp][] = [
    [written([relu("x", "a"), relu("b", "y"), relu("a", "b")]), InvalidHeaderError, /too early/],
    [written([relu("y", "y")]), InvalidHeaderError, /too early/],
    [written([relu("nothing", "y")]), InvalidHeaderError, /nothing makes/],
    [written([relu("x", "y"), relu("x", "y")]), InvalidHeaderError, /twice/],
    [written([relu("x", "w")]), InvalidHeaderError, /twice/],
    [written([relu("x", "z")]), InvalidHeaderError, /too early/],
    [writeOnnx(model()).subarray(0, 60), InvalidHeaderError, /no sound ONNX file/],
    [message(undefined), InvalidHeaderError, /holds no model/],
    [message({ initializer: [{ dataType: 1, dims: [3n], floatData: [1] }] }), InvalidTensorError, /fill its shape/],
    [message({ initializer: [{ dataType: 1, dims: [-1n] }] }), InvalidTensorError, /fill its shape/],
    [message({ initializer: [{ dataType: 1, dims: [2n ** 62n, 4n] }] }), InvalidTensorError, /fill its shape/],
    [message({ initializer: [{ dataType: 17, dims: [1n] }] }), UnsupportedFormatError, /FLOAT8E4M3FN/],
    [
      message({ initializer: [{ dataType: 1, externalData: [{ key: "location", value: "w.bin" }] }] }),
      UnsupportedFormatError,
      /another file[^]*w\.bin/,
    ],
    [
      message({ input: [{ name: "s", type: { value: { case: "sequenceType", value: {} } } }] }),
      UnsupportedFormatError,
      /no tensor/,
    ],
  ];
  for (const [bytes, error, text] of cases) {
    assert.throws(
      () => readOnnx(bytes),
      (thrown) => thrown instanceof error && text.test(thrown.message),
    );
  }
});

test("graphs inside of graphs without an end, and small parts without number, are refused before they are decoded", () => {
  let inner: Uint8Array = new Uint8Array();
  const delimited = (field: number, bytes: Uint8Array): Uint8Array => {
    const length: number[] = [];
    for (let rest = bytes.length; length.length === 0 || rest > 0; rest >>>= 7) {
      length.push((rest & 127) | (rest > 127 ? 128 : 0));
    }
    return Uint8Array.of((field << 3) | 2, ...length, ...bytes);
  };
  for (let depth = 0; depth < 60; depth++) inner = delimited(1, delimited(5, delimited(6, inner))); // node, attribute, graph
  assert.throws(() => readOnnx(Uint8Array.of(8, 8, ...delimited(7, inner))), /at most 40 levels/);
  const nodes = new Uint8Array(2 * 1_100_000).map((_zero, i) => (i % 2 === 0 ? 10 : 0));
  const graph = Buffer.concat([Uint8Array.of(8, 8, 0x3a, 0xc0, 0xa2, 0x86, 0x01), nodes]); // a length of 2,200,000
  assert.throws(() => readOnnx(graph), /at most 1048576 parts/);
});

test("a damaged file is read or refused by name", () => {
  const original = readFileSync(new URL("../../goldens/onnx/mlp-17.onnx", import.meta.url));
  let refused = 0;
  for (const bytes of mutations(original, { seed: 5, count: 400 })) {
    try {
      readOnnx(bytes);
    } catch (error) {
      assert.ok(error instanceof FormatError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 50 && refused < 400, String(refused));
});

test("operators that are not read are listed, and what does not fit is told with its node", () => {
  const of = (nodes: readonly NodeToWrite[], change: Partial<OnnxToWrite> = {}) =>
    onnxFunction(readOnnx(writeOnnx(model({ nodes, ...change }))));
  const loop: NodeToWrite = { op: "Loop", name: "l", inputs: ["x"], outputs: ["y"] };
  assert.throws(
    () => of([loop]),
    (error) => {
      return (
        error instanceof UnsupportedFormatError && /node 0, "Loop" "l"[^]*MatMul[^]*got: +"Loop"/.test(error.message)
      );
    },
  );
  assert.throws(() => of([{ ...loop, op: "toString" }]), /toString/);
  assert.throws(() => of(model().nodes, { opset: 9 }), /opset that is not read/);
  const traced = (nodes: readonly NodeToWrite[], columns = 2) => {
    const onnx = of(nodes);
    const inputs = { x: { dtype: "f32", shape: [3, columns] } as const };
    return () => trace("test", onnx.apply, [onnx.parameterTypes, inputs]);
  };
  assert.throws(traced(model().nodes, 5), (error) => {
    return error instanceof OnnxNodeError && /node 0, "MatMul"/.test(error.message);
  });
  const dynamic: NodeToWrite[] = [
    { op: "Cast", inputs: ["x"], outputs: ["s"], attributes: { to: { int: 7 } } },
    { op: "Reshape", inputs: ["w", "s"], outputs: ["y"] },
  ];
  assert.throws(traced(dynamic), /depends on the values of the inputs/);
  assert.throws(() => of(model().nodes).inputTypes(), /number for batch/);
});

test("integers beyond 32 bits are refused, and the ends of 64 bits mean the end", () => {
  const slice = (stop: bigint) => {
    const bytes = (value: bigint) => () => bytesOf(BigInt64Array.of(value));
    const tensors = [0n, stop].map(
      (value, i) => ({ name: `n${i}`, dtype: "i64", shape: [1], bytes: bytes(value) }) as const,
    );
    const nodes: NodeToWrite[] = [{ op: "Slice", inputs: ["x", "n0", "n1"], outputs: ["y"] }];
    const onnx = onnxFunction(readOnnx(writeOnnx(model({ nodes, tensors }))));
    const inputs = { x: { dtype: "f32", shape: [3, 2] } as const };
    return trace("slice", onnx.apply, [onnx.parameterTypes, inputs]).graph.results[0].shape;
  };
  assert.deepEqual(slice(2n ** 63n - 1n), [3, 2]);
  assert.throws(() => slice(2n ** 40n), /does not fit into 32 bits/);
});
