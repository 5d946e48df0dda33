// Which format a file is in, from its first bytes. Formats that this room cannot read are recognised as well, so that
// the error can say "this is a zip archive" instead of "unknown".

import { GGUF_MAGIC } from "./gguf.ts";
import { llama2cHeaderSizeBytes, llama2cVersionedMagic, readLlama2cHeader } from "./llama2c.ts";
import { FormatError } from "./errors.ts";

/** What `detectFormat` concluded, and the words for what it saw. */
export interface DetectedFormat {
  readonly format: "fidelity" | "gguf" | "llama2c" | "onnx" | "safetensors" | "unknown";
  /** A noun phrase for messages: `a GGUF file`, `plain text ("Once upon ...")`. */
  readonly seen: string;
}

/** Signatures of files that people hand to a model loader by mistake or in hope. */
const foreignSignatures: readonly (readonly [signature: string, seen: string])[] = [
  ["PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint"],
  ["\x1f\x8b", "a gzip archive"],
  ["\x80\x02", "a Python pickle"],
  ["\x89PNG", "a PNG image"],
];

/** Tags of what may follow the version in ONNX: producer, domain, model version, texts, graph, opsets. */
const ONNX_SECOND_TAGS: readonly number[] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42];

/** Looks at the first bytes only; a llama2.c file has no magic number and is known by a header that makes sense. */
export function detectFormat(bytes: Uint8Array): DetectedFormat {
  const head = String.fromCharCode(...bytes.subarray(0, 64));
  if (head.startsWith("FIDELITY")) return { format: "fidelity", seen: "a Fidelity model file" };
  if (head.startsWith(GGUF_MAGIC)) return { format: "gguf", seen: "a GGUF file" };
  if (bytes.byteLength === 0) return { format: "unknown", seen: "an empty file" };
  for (const [signature, seen] of foreignSignatures) {
    if (head.startsWith(signature)) return { format: "unknown", seen };
  }
  // ONNX: protobuf without a magic number, written in the order of its fields. The IR's version is the first.
  const [first, version, second] = bytes;
  if (first === 0x08 && version >= 3 && version < 32 && ONNX_SECOND_TAGS.includes(second)) {
    return { format: "onnx", seen: "an ONNX file" };
  }
  // safetensors: a 64-bit header length, whose upper half is zero, and then JSON.
  if (/^[^]{4}\0{4}\{/.test(head)) return { format: "safetensors", seen: "a safetensors file" };
  if (/^[\t\n\r\x20-\x7e]*$/.test(head)) {
    return { format: "unknown", seen: `plain text (${JSON.stringify(head.slice(0, 24))}...)` };
  }
  if (bytes.byteLength < llama2cHeaderSizeBytes) {
    return { format: "unknown", seen: `a file of only ${bytes.byteLength} bytes` };
  }
  return detectLlama2c(bytes);
}

function detectLlama2c(bytes: Uint8Array): DetectedFormat {
  const first = new DataView(bytes.buffer, bytes.byteOffset, 8);
  if (first.getUint32(0, true) === llama2cVersionedMagic) {
    return { format: "unknown", seen: `a llama2.c file of version ${first.getInt32(4, true)} (only 0 is read)` };
  }
  try {
    readLlama2cHeader(bytes);
    return { format: "llama2c", seen: "a llama2.c version 0 checkpoint" };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const hex = [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return { format: "unknown", seen: `bytes that no known format starts with (${hex} ...)` };
  }
}
