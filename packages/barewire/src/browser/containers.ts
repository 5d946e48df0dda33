// Containers in every place, over memory: written, read in place, and refused by name where they are damaged. How they
// are read over a network is tested in Node.

import { ChecksumError } from "../container/errors.ts";
import { ContainerReader } from "../container/reader.ts";
import { memorySource } from "../container/source.ts";
import { containerToBytes } from "../container/write.ts";
import { hex, refused, same } from "./suite.ts";
import type { Suite } from "./suite.ts";

const NUMBERS = Float32Array.from({ length: 16 }, (_, i) => i / 4);

function makeContainer(): Uint8Array<ArrayBuffer> {
  return containerToBytes({
    config: { width: 16 },
    components: [{ id: "body", kind: "linear" }],
    tensors: [{ name: "w", component: "body", dtype: "f32", shape: [4, 4], bytes: new Uint8Array(NUMBERS.buffer) }],
  });
}

export const containers: Suite = {
  name: "containers",
  sharesMemory: false,
  cases: {
    "tensors are read in place": async () => {
      const bytes = makeContainer();
      const reader = await ContainerReader.open(memorySource(bytes));
      const tensor = await reader.tensor("w");
      const numbers = new Float32Array(bytes.buffer, reader.entry("w").offset, 16);
      same([...numbers], [...NUMBERS]);
      numbers[0] = 7;
      same(new Float32Array(Uint8Array.from(tensor).buffer)[0], 7, "what lies in the container");
      return hex(bytes.filter((byte) => byte !== 0));
    },
    "a damaged tensor is refused by name": async () => {
      const bytes = makeContainer();
      bytes[bytes.length - 1] ^= 1;
      const reader = await ContainerReader.open(memorySource(bytes));
      return refused(() => reader.tensor("w"), ChecksumError);
    },
  },
};
