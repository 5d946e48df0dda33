// The decoder: what a token reads, and that a state anywhere is as large as at the start.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDevice } from "@fidelity/alex/node";
import { countParameters, createModel, createParameters, fillParameter, namedParameters } from "@fidelity/models";
import { packParameters, parameterTypes } from "@fidelity/models";
import { bytesReadPerToken, Decoder } from "./decoder.ts";

test("a token reads every parameter, and one row of the embedding; it runs at any position", async () => {
  const model = createModel({ architecture: "matmul-free", dim: 32, hiddenDim: 64, layerCount: 2, vocabSize: 48 });
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const device = createDevice({ threads: 1 });
  const float32 = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 1, tensor.f32()),
  );
  const packed = await packParameters(model, float32, device);
  const { float32Bytes, packedBytes } = countParameters(model.parameters);
  const unread = 47 * 32 * 4;
  assert.equal(bytesReadPerToken(model, float32), float32Bytes - unread);
  assert.equal(bytesReadPerToken(model, packed), packedBytes - unread);

  const decoder = await Decoder.open(device, model, packed);
  for (const position of [10, 100_000]) {
    decoder.moveTo(position);
    decoder.step();
    assert.equal(decoder.stateBytes, 2 * 32 * 4);
  }
  await device.close();
});
