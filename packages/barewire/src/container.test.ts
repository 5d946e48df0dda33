import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import {
  ChecksumError,
  ContainerError,
  InvalidContainerError,
  NewerContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./container-errors.ts";
import {
  CONTAINER_PAGE_BYTES,
  CONTAINER_PREFIX_BYTES,
  containerToBytes,
  headerEndBytes,
  readContainer,
  readHeader,
  tensorBytes,
  writeContainer,
} from "./container.ts";
import type { ContainerInput, TensorInput } from "./container.ts";
import { TENSOR_ALIGN_BYTES } from "./container-check.ts";
import { crc32c } from "./crc32c.ts";

function tensor(name: string, count: number, rest: Partial<TensorInput> = {}): TensorInput {
  const values = Float32Array.from({ length: count }, (_, i) => i + 0.5);
  return { name, component: "body", dtype: "f32", shape: [count], bytes: new Uint8Array(values.buffer), ...rest };
}

const small: ContainerInput = {
  metadata: { title: "two tensors", step: 12, seed: 2n ** 63n - 1n, done: true },
  config: { width: 8, layers: ["a", "b"] },
  components: [{ id: "body", kind: "mlp" }],
  tensors: [
    tensor("embed", 10),
    tensor("packed", 0, { dtype: "ternary2", shape: [3, 4], layout: "interleave16", bytes: Uint8Array.of(1, 2, 3) }),
  ],
};

test("a container gives back what was written, aligned", () => {
  const bytes = containerToBytes(small);
  const header = readContainer(bytes);
  assert.deepEqual(header.metadata, small.metadata);
  assert.deepEqual(header.config, small.config);
  assert.deepEqual(header.components, small.components);
  assert.equal(header.fileSizeBytes, bytes.length);
  assert.equal(header.tensors[0].offset % CONTAINER_PAGE_BYTES, 0);
  assert.equal(header.tensors[1].offset % TENSOR_ALIGN_BYTES, 0);
  assert.equal(header.tensors[1].layout, "interleave16");
  assert.deepEqual([...tensorBytes(bytes, header.tensors[1])], [1, 2, 3]);
  assert.equal(tensorBytes(bytes, header.tensors[0]).buffer, bytes.buffer, "in place");
});

test("the first bytes are the format's", () => {
  const bytes = containerToBytes({ config: null, components: [], tensors: [] });
  assert.equal(bytes.length, CONTAINER_PAGE_BYTES);
  // magic; version 1; CRC-32C; header of 8 bytes: no metadata, "null", no components, no tensors
  const expected = [...new TextEncoder().encode("FIDELITY"), 1, 0, 0, 0];
  assert.deepEqual([...bytes.subarray(0, 12)], expected);
  assert.deepEqual([...bytes.subarray(16, 32)], [8, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0x6e, 0x75, 0x6c, 0x6c, 0, 0]);
});

test("a header can be read from a prefix of the file", () => {
  const bytes = containerToBytes(small);
  const end = headerEndBytes(bytes.subarray(0, CONTAINER_PREFIX_BYTES), bytes.length);
  assert.deepEqual(readHeader(bytes.subarray(0, end), bytes.length), readContainer(bytes));
  assert.throws(() => readHeader(bytes.subarray(0, end), bytes.length - 1), TruncatedContainerError);
});

test("every truncation is refused by name", () => {
  const bytes = containerToBytes(small);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => readContainer(bytes.subarray(0, length)), TruncatedContainerError, `${length}`);
  }
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  assert.throws(() => readContainer(longer), /bytes after the last tensor/);
});

test("every flipped bit is refused by name, or lies in the padding and changes nothing", () => {
  const bytes = containerToBytes(small);
  const header = readContainer(bytes);
  const contents = [{ offset: 0, sizeBytes: headerEndBytes(bytes, bytes.length) }, ...header.tensors];
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const at = bit >> 3;
    bytes[at] ^= 1 << (bit & 7);
    if (contents.some(({ offset, sizeBytes }) => at >= offset && at < offset + sizeBytes)) {
      assert.throws(() => readContainer(bytes), ContainerError, `bit ${bit}`);
    } else if (bit % 8 === 0) {
      assert.deepEqual(readContainer(bytes), header);
    }
    bytes[at] ^= 1 << (bit & 7);
  }
});

test("each kind of damage has its own error", () => {
  const damaged = (change: (bytes: Uint8Array, view: DataView) => void): (() => void) => {
    const bytes = containerToBytes(small);
    change(bytes, new DataView(bytes.buffer));
    return () => void readContainer(bytes);
  };
  assert.throws(
    damaged((bytes) => (bytes[0] = 0)),
    NotAContainerError,
  );
  assert.throws(
    damaged((_, view) => view.setUint32(8, 7, true)),
    (error) => error instanceof NewerContainerError && error.formatVersion === 7,
  );
  assert.throws(
    damaged((_, view) => view.setBigUint64(16, 2n ** 63n, true)),
    /impossible size/,
  );
  assert.throws(
    damaged((bytes) => (bytes[CONTAINER_PREFIX_BYTES] ^= 1)),
    (error) => error instanceof ChecksumError && error.tensor === undefined,
  );
  assert.throws(
    damaged((bytes) => (bytes[bytes.length - 1] ^= 4)),
    (error) => error instanceof ChecksumError && error.tensor === "packed" && /tensor "packed"/.test(error.message),
  );
});

test("models that no reader would accept are refused by the writer", () => {
  const refuse = (change: Partial<ContainerInput>, message: RegExp): void => {
    assert.throws(
      () => containerToBytes({ ...small, ...change }),
      (error) => error instanceof InvalidContainerError && message.test(error.message),
    );
  };
  refuse({ tensors: [tensor("a", 1), tensor("a", 2)] }, /two tensors have one name/);
  refuse({ tensors: [tensor("", 1)] }, /impossible name/);
  refuse({ tensors: [tensor("a", 1, { component: "head" })] }, /belongs to no component/);
  refuse({ tensors: [tensor("a", 3, { shape: [2] })] }, /8 bytes for f32 \[2\]/);
  refuse({ tensors: [tensor("a", 1, { shape: [2 ** 40, 2 ** 40], dtype: "ternary2" })] }, /impossible shape/);
  refuse({ tensors: [tensor("a", 1, { shape: [-1] })] }, /impossible shape/);
  refuse({ components: [...small.components, ...small.components] }, /two components/);
  refuse({ config: undefined }, /no JSON form/);
  let size = 4;
  const changing = tensor("a", 1, { dtype: "raw", layout: "raw", bytes: () => new Uint8Array(size++) });
  refuse({ tensors: [changing] }, /changed while it was written/);
});

test("lying headers with a right checksum are refused", () => {
  // The offset and size of "embed" are 16 bytes before its checksum, the only place where its CRC stands.
  const bytes = containerToBytes(small);
  const { tensors } = readContainer(bytes);
  const view = new DataView(bytes.buffer);
  const at = (entry: (typeof tensors)[number]): number => {
    for (let i = CONTAINER_PREFIX_BYTES; ; i++) if (view.getUint32(i, true) === entry.checksum) return i - 16;
  };
  const lie = (change: () => void, expected: RegExp): void => {
    const copy = bytes.slice();
    change();
    seal(bytes);
    assert.throws(
      () => readContainer(bytes),
      (error) => error instanceof ContainerError && expected.test(error.message),
    );
    bytes.set(copy);
  };
  const [embed, packed] = tensors;
  lie(() => view.setBigUint64(at(packed), BigInt(embed.offset), true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(packed), 64n, true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(packed), BigInt(packed.offset + 1), true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(packed), 2n ** 40n, true), /truncated/);
  lie(() => view.setBigUint64(at(packed), 2n ** 60n, true), /header is not what the format says/);
  lie(() => view.setBigUint64(at(packed) + 8, 2n ** 53n - 64n, true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(embed) + 8, 44n, true), /does not follow from its shape/);
});

test("any change to the header, with a right checksum, is refused by name or read", () => {
  const original = containerToBytes(small);
  const headerEnd = headerEndBytes(original, original.length);
  const edit = fc.tuple(
    fc.integer({ min: CONTAINER_PREFIX_BYTES, max: headerEnd - 1 }),
    fc.integer({ min: 0, max: 255 }),
  );
  const property = fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
    const bytes = original.slice();
    for (const [at, value] of edits) bytes[at] = value;
    seal(bytes);
    try {
      const header = readHeader(bytes);
      for (const entry of header.tensors) assert.equal(tensorBytes(bytes, entry).length, entry.sizeBytes);
    } catch (error) {
      assert.ok(error instanceof ContainerError, String(error));
    }
  });
  fc.assert(property, { numRuns: 2000 });
});

test("any model comes back", () => {
  const name = fc.string({ minLength: 1, maxLength: 12 });
  const entry = fc.record({ name, bytes: fc.uint8Array({ maxLength: 300 }) });
  const tensors = fc.uniqueArray(entry, { selector: (it) => it.name, maxLength: 8 });
  const metadata = fc.dictionary(
    name,
    fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.bigInt({ min: 0n, max: 9n })),
  );
  const property = fc.property(tensors, metadata, fc.json(), (parts, meta, config) => {
    const input: ContainerInput = {
      metadata: meta,
      config: JSON.parse(config),
      components: [{ id: "c", kind: "k" }],
      tensors: parts.map((it) => ({ ...it, component: "c", dtype: "u8", shape: [it.bytes.length] })),
    };
    const bytes = containerToBytes(input);
    const header = readContainer(bytes);
    assert.deepEqual({ ...header.metadata }, { ...meta });
    // JSON has no negative zero, so the texts are compared.
    assert.equal(JSON.stringify(header.config), JSON.stringify(input.config));
    for (const [i, it] of header.tensors.entries()) assert.deepEqual(tensorBytes(bytes, it), parts[i].bytes);
  });
  fc.assert(property, { numRuns: 100 });
});

test("writing does not copy tensors", () => {
  const pieces = [...writeContainer(small)];
  assert.ok(small.tensors.every(({ bytes }) => pieces.some((piece) => piece === bytes)));
});

// Puts the right checksum over a changed header.
function seal(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  const end = CONTAINER_PREFIX_BYTES + Number(view.getBigUint64(16, true));
  view.setUint32(12, crc32c(bytes.subarray(CONTAINER_PREFIX_BYTES, end)), true);
}
