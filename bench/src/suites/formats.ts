// Other people's model files: opening one of 3 GB, and numbers of every stored type to float32 and back, beside
// @huggingface/gguf, llama.cpp's own functions, on one thread and in the same process, and a copy of memory.

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import {
  decodeValues,
  encodeValues,
  ggufArray,
  ggufPieces,
  safetensorsPieces,
  tensorSizeBytes,
} from "@fidelity/formats";
import type { GgufValue, SourceDtype, TensorToWrite } from "@fidelity/formats";
import { openSource } from "@fidelity/formats/node";
import { loadGgml } from "@fidelity/formats/testing/ggml";
import type { Ggml } from "@fidelity/formats/testing/ggml";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { RowPlan } from "../row.ts";

/** The types, with the number and the name that llama.cpp has for each. */
const TYPES: readonly (readonly [dtype: SourceDtype, id: number, name: string])[] = [
  ["f16", 1, ""],
  ["bf16", 30, ""],
  ["q8_0", 8, "q8_0"],
  ["q4_0", 2, "q4_0"],
  ["q4_1", 3, "q4_1"],
  ["q5_0", 6, "q5_0"],
  ["q5_1", 7, "q5_1"],
  ["q2_k", 10, "q2_K"],
  ["q3_k", 11, "q3_K"],
  ["q4_k", 12, "q4_K"],
  ["q5_k", 13, "q5_K"],
  ["q6_k", 14, "q6_K"],
  ["iq4_nl", 20, "iq4_nl"],
  ["tq1_0", 34, "tq1_0"],
  ["tq2_0", 35, "tq2_0"],
];

const COUNT = 1 << 20;
const QUICK_COUNT = 1 << 16;
const COLUMNS = 4096;
const COPY = "copy into a new array";

export async function formats(bench: Bench): Promise<void> {
  const { ggml, reason } = loadGgml();
  if (ggml === undefined) bench.note(`formats: without llama.cpp, ${reason}`);
  await opening(bench);
  const count = bench.quick ? QUICK_COUNT : COUNT;
  const values = Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 8191) / 8191 - 0.5);
  await decoding(bench, values, ggml);
  await encoding(bench, values, ggml);
}

/** A file of 3 GB, whose tensors take no room on the disk: how often its header is read a second. */
async function opening(bench: Bench): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "fidelity-bench-"));
  try {
    const paths = sparseModels(folder);
    const once = (name: string, run: () => void | Promise<unknown>): Source => ({
      name,
      sample: async () => {
        const started = performance.now();
        await run();
        return 1000 / (performance.now() - started);
      },
    });
    const open = (path: string) => (): void => openSource(path)[Symbol.dispose]();
    const sources = [
      once("gguf", open(paths.gguf)),
      once("safetensors", open(paths.safetensors)),
      once("peer", () => gguf(paths.gguf, { allowLocalFile: true })),
    ];
    const peer = { source: "peer", name: "@huggingface/gguf" };
    const plans: RowPlan[] = [
      { id: "formats/open-gguf", unit: "files/s", source: "gguf", peer },
      { id: "formats/open-safetensors", unit: "files/s", source: "safetensors" },
    ];
    const title = "Opening a file of 3 GB: 300 tensors, and in GGUF a vocabulary of 128,000 tokens";
    bench.report(title, await measure(sources, plans, bench.settings));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function sparseModels(folder: string): { readonly gguf: string; readonly safetensors: string } {
  const shape = [2048, 2560];
  const bytes = (): Uint8Array => new Uint8Array(0); // never asked for: only headers are written
  const tensors = Array.from({ length: 300 }, (_, i): TensorToWrite => {
    return { name: `blk.${i}.weight`, dtype: "f16", shape, bytes };
  });
  const dataBytes = tensors.length * tensorSizeBytes("f16", shape)!;
  const tokens = Array.from({ length: 128_000 }, (_, i) => `token${i}`);
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", ggufArray("string", tokens)],
    ["tokenizer.ggml.scores", ggufArray("f32", [...tokens.keys()])],
  ]);
  const write = (name: string, [header]: Iterable<Uint8Array>): string => {
    const path = join(folder, name);
    writeFileSync(path, header);
    truncateSync(path, (name.endsWith(".gguf") ? 32 * Math.ceil(header.length / 32) : header.length) + dataBytes);
    return path;
  };
  return {
    gguf: write("model.gguf", ggufPieces({ metadata, tensors })),
    safetensors: write("model.safetensors", safetensorsPieces({ tensors })),
  };
}

/** Float32 that comes out, beside a copy of as much. */
async function decoding(bench: Bench, values: Float32Array, ggml: Ggml | undefined): Promise<void> {
  const work = 4 * values.length;
  const sources = [repeated(COPY, work, bench.sampleMs, () => new Float32Array(values))];
  const plans: RowPlan[] = [];
  for (const [dtype, , name] of TYPES) {
    const bytes = encodeValues(dtype, [values.length], values);
    sources.push(repeated(dtype, work, bench.sampleMs, () => decodeValues(dtype, [values.length], bytes)));
    const decode = name === "" ? undefined : ggml?.dequantizer(name);
    if (decode !== undefined) {
      sources.push(repeated(`peer ${dtype}`, work, bench.sampleMs, () => decode(bytes, values.length)));
    }
    plans.push({
      id: `formats/decode-${dtype}`,
      unit: "GB/s",
      source: dtype,
      scale: 1e-9,
      peer: { source: `peer ${dtype}`, name: "llama.cpp" },
      ceiling: { source: COPY, name: COPY, work: 1 },
    });
  }
  const title = `Decoding ${values.length.toLocaleString("en-US")} weights to float32, on one thread`;
  bench.report(title, await measure(sources, plans, bench.settings));
}

async function encoding(bench: Bench, values: Float32Array, ggml: Ggml | undefined): Promise<void> {
  const sources: Source[] = [];
  const plans: RowPlan[] = [];
  for (const [dtype, id] of TYPES) {
    const shape = [values.length / COLUMNS, COLUMNS];
    const sizeBytes = tensorSizeBytes(dtype, shape)!;
    sources.push(repeated(dtype, values.length, bench.sampleMs, () => encodeValues(dtype, shape, values)));
    if (ggml !== undefined) {
      const run = (): unknown => ggml.quantize(id, values, COLUMNS, sizeBytes);
      sources.push(repeated(`peer ${dtype}`, values.length, bench.sampleMs, run));
    }
    const peer = { source: `peer ${dtype}`, name: "llama.cpp" };
    plans.push({ id: `formats/encode-${dtype}`, unit: "Mweights/s", source: dtype, scale: 1e-6, peer });
  }
  const title = `Encoding ${values.length.toLocaleString("en-US")} weights, on one thread, to the same bytes`;
  bench.report(title, await measure(sources, plans, bench.settings));
}
