import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import {
  ChecksumError,
  ContainerError,
  InvalidContainerError,
  MissingVersionError,
  NewerContainerError,
  NotAContainerError,
  TruncatedContainerError,
} from "./errors.ts";
import {
  CONTAINER_PAGE_BYTES,
  CONTAINER_START_BYTES,
  encodeRoot,
  headerEndBytes,
  readContainer,
  readHeader,
  readVersions,
  tensorBytes,
} from "./container.ts";
import { encodeHeader } from "./schema.ts";
import type { VersionRoot } from "./schema.ts";
import { containerToBytes, writeContainer } from "./write.ts";
import type { ContainerInput, TensorInput } from "./write.ts";
import { TENSOR_ALIGN_BYTES } from "./check.ts";
import { crc32c } from "../crc32c.ts";

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
  assert.equal(bytes.length, CONTAINER_START_BYTES + CONTAINER_PAGE_BYTES);
  // magic; format 2; CRC-32C; version 1; header at 8192, 9 bytes; its CRC-32C; end
  const expected = [...new TextEncoder().encode("FIDELITY"), 2, 0, 0, 0];
  assert.deepEqual([...bytes.subarray(0, 12)], expected);
  const view = new DataView(bytes.buffer);
  assert.deepEqual(
    [view.getBigUint64(16, true), view.getBigUint64(24, true), view.getBigUint64(32, true)],
    [1n, 8192n, 9n],
  );
  const header = bytes.subarray(8192, 8201);
  assert.deepEqual([view.getUint32(40, true), view.getBigUint64(44, true)], [crc32c(header), 12288n]);
  // no metadata, "null", no components, no tensors, no version before
  assert.deepEqual([...header], [0, 4, 0x6e, 0x75, 0x6c, 0x6c, 0, 0, 0]);
  assert.ok(bytes.subarray(52, 8192).every((byte) => byte === 0));
});

// What version 0.1.0 wrote: header and tensors behind a prefix of 24 bytes.
const FORMAT_1_HEADER =
  "464944454c49545901000000213dbb219b0000000000000004057469746c65000b6f6620666f726d617420310473746570010000000000002840" +
  "036269670280808080808080802004646f6e6503010b7b227769647468223a387d0104626f6479036d6c7002016104626f647903663332010205" +
  "64656e736500100000000000000800000000000000b32a971f016204626f647902753801030564656e7365401000000000000003000000000000" +
  "001ef230f1";

function format1(): Uint8Array {
  const bytes = new Uint8Array(4163);
  bytes.set(Uint8Array.fromHex(FORMAT_1_HEADER));
  bytes.set(new Uint8Array(Float32Array.of(0.5, 1.5).buffer), 4096);
  bytes.set([1, 2, 3], 4160);
  return bytes;
}

test("files of format 1 are read, as one version", () => {
  const bytes = format1();
  const header = readContainer(bytes);
  assert.deepEqual(header.metadata, { title: "of format 1", step: 12, big: 2n ** 60n, done: true });
  assert.deepEqual([header.formatVersion, header.version, header.previous], [1, 1, undefined]);
  assert.deepEqual([...tensorBytes(bytes, header.tensors[1])], [1, 2, 3]);
  assert.equal(header.fileSizeBytes, 4163);
  assert.deepEqual(readVersions(bytes), [header]);
  assert.throws(() => readHeader(bytes, bytes.length, 2), MissingVersionError);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => readContainer(bytes.subarray(0, length)), TruncatedContainerError, `${length}`);
  }
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  assert.throws(() => readContainer(longer), /bytes after the last tensor/);
  bytes[4161] ^= 1;
  assert.throws(
    () => readContainer(bytes),
    (error) => error instanceof ChecksumError && error.tensor === "b" && error.offset === 4160,
  );
});

test("a header can be read from a prefix of the file", () => {
  const bytes = containerToBytes(small);
  const end = headerEndBytes(bytes.subarray(0, CONTAINER_START_BYTES), bytes.length);
  assert.deepEqual(readHeader(bytes.subarray(0, end), bytes.length), readContainer(bytes));
  assert.throws(() => readHeader(bytes.subarray(0, end), bytes.length - 1), TruncatedContainerError);
  assert.throws(() => readHeader(bytes.subarray(0, end - 1), bytes.length), TruncatedContainerError);
});

test("a page that was lost takes one root with it, and what lies behind the end is passed over", () => {
  const bytes = containerToBytes(small);
  const longer = new Uint8Array(bytes.length + 1000).fill(7);
  longer.set(bytes);
  assert.deepEqual(readContainer(longer), readContainer(bytes));
  longer.copyWithin(CONTAINER_PAGE_BYTES, 0, 64);
  longer.fill(0, 0, CONTAINER_PAGE_BYTES);
  assert.deepEqual(readContainer(longer), readContainer(bytes));
  longer.fill(0, 0, CONTAINER_START_BYTES);
  assert.throws(() => readContainer(longer), NotAContainerError);
});

test("every truncation is refused by name", () => {
  const bytes = containerToBytes(small);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => readContainer(bytes.subarray(0, length)), TruncatedContainerError, `${length}`);
  }
});

test("every flipped bit is refused by name, or lies in the padding and changes nothing", () => {
  const bytes = containerToBytes(small);
  const header = readContainer(bytes);
  const { headerOffset, headerBytes } = header.root;
  const parts = [{ offset: 0, sizeBytes: 64 }, { offset: headerOffset, sizeBytes: headerBytes }, ...header.tensors];
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const at = bit >> 3;
    bytes[at] ^= 1 << (bit & 7);
    if (parts.some(({ offset, sizeBytes }) => at >= offset && at < offset + sizeBytes)) {
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
    damaged((bytes) => (bytes[30] ^= 1)),
    (error) => error instanceof ChecksumError && /its header's root/.test(error.message),
  );
  assert.throws(
    damaged((bytes) => (bytes[CONTAINER_START_BYTES] ^= 1)),
    (error) => error instanceof ChecksumError && error.tensor === undefined && error.offset === 8192,
  );
  assert.throws(
    damaged((bytes) => (bytes[bytes.length - 1] ^= 4)),
    (error) =>
      error instanceof ChecksumError &&
      error.tensor === "packed" &&
      /tensor "packed", 3 bytes from \d+ on/.test(error.message),
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
    for (let i = CONTAINER_START_BYTES; ; i++) if (view.getUint32(i, true) === entry.checksum) return i - 16;
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
  lie(() => view.setBigUint64(at(packed), 8192n, true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(packed), 2n ** 40n, true), /behind the end of its version/);
  lie(() => view.setBigUint64(at(packed), 2n ** 60n, true), /header is not what the format says/);
  lie(() => view.setBigUint64(at(packed) + 8, 2n ** 53n - 64n, true), /lies where it cannot/);
  lie(() => view.setBigUint64(at(embed) + 8, 44n, true), /does not follow from its shape/);
});

test("lying roots with a right checksum are refused", () => {
  const bytes = containerToBytes(small);
  const { root } = readContainer(bytes);
  const lie = (change: Partial<VersionRoot>, expected: RegExp): void => {
    const copy = bytes.slice();
    copy.set(encodeRoot({ ...root, ...change }), CONTAINER_PAGE_BYTES); // the slot with the higher version counts
    assert.throws(
      () => readContainer(copy),
      (error) => error instanceof ContainerError && expected.test(error.message),
    );
  };
  lie({ version: 2, headerBytes: 2 ** 40, endBytes: 2 ** 41 }, /impossible size/);
  lie({ version: 2, headerOffset: 64 }, /header lies where it cannot/);
  lie({ version: 2, headerOffset: root.headerOffset + 1 }, /header lies where it cannot/);
  lie({ version: 2, endBytes: root.headerOffset }, /header lies where it cannot/);
  lie({ version: 2, headerOffset: 2 ** 40, endBytes: 2 ** 41 }, /truncated/);
  lie({ version: 2, endBytes: bytes.length + 1 }, /truncated/);
  lie({ version: Number.MAX_SAFE_INTEGER }, /header lies where it cannot/);
  lie({ version: 2, headerChecksum: root.headerChecksum ^ 1 }, /checksum does not match/);
  lie({ version: 2, endBytes: root.endBytes - 1 }, /behind the end of its version/);
});

test("a version before that is not before is refused, so that the list of versions ends", () => {
  const bytes = containerToBytes(small);
  const { root, metadata, config, components } = readContainer(bytes);
  const withPrevious = (previous: VersionRoot): Uint8Array => {
    const header = encodeHeader({ metadata, config, components, tensors: [], previous });
    const headerOffset = Math.ceil(bytes.length / 64) * 64;
    const file = new Uint8Array(headerOffset + header.length);
    file.set(bytes);
    file.set(header, headerOffset);
    const place = { headerOffset, headerBytes: header.length, headerChecksum: crc32c(header) };
    file.set(encodeRoot({ version: 2, ...place, endBytes: file.length }), CONTAINER_PAGE_BYTES);
    return file;
  };
  assert.deepEqual(
    readVersions(withPrevious(root)).map(({ version }) => version),
    [1, 2],
  );
  assert.throws(() => readVersions(withPrevious({ ...root, version: 2 })), /version before is not before/);
  assert.throws(() => readVersions(withPrevious({ ...root, endBytes: bytes.length + 640 })), /is not before/);
  assert.throws(() => readVersions(withPrevious({ ...root, headerChecksum: 1 })), ChecksumError);
  assert.equal(readContainer(withPrevious({ ...root, headerChecksum: 1 })).version, 2, "the newest is whole");
});

test("more versions than a list may have are refused, and the newest is still read", () => {
  // Headers of nothing, 64 bytes apart.
  const count = 2 ** 16 + 1;
  const file = new Uint8Array(CONTAINER_START_BYTES + 64 * count);
  let previous: VersionRoot | undefined;
  for (let version = 1; version <= count; version++) {
    const headerOffset = CONTAINER_START_BYTES + 64 * (version - 1);
    const header = encodeHeader({ metadata: {}, config: 0, components: [], tensors: [], previous });
    file.set(header, headerOffset);
    const [headerBytes, headerChecksum] = [header.length, crc32c(header)];
    previous = { version, headerOffset, headerBytes, headerChecksum, endBytes: headerOffset + 64 };
  }
  file.set(encodeRoot(previous!));
  assert.equal(readContainer(file).version, count);
  assert.throws(() => readVersions(file), /too many versions to list/);
});

test("any change to the header, with a right checksum, is refused by name or read", () => {
  const original = containerToBytes(small);
  const headerEnd = headerEndBytes(original, original.length);
  const edit = fc.tuple(
    fc.integer({ min: CONTAINER_START_BYTES, max: headerEnd - 1 }),
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

// Puts the right checksums over a changed header.
function seal(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  const end = CONTAINER_START_BYTES + Number(view.getBigUint64(32, true));
  view.setUint32(40, crc32c(bytes.subarray(CONTAINER_START_BYTES, end)), true);
  view.setUint32(12, crc32c(bytes.subarray(16, 64)), true);
}
