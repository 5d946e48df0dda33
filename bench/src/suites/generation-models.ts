// The models of the generation suite: random weights, written once into the user's cache as our container and as GGUF
// for the peer, a matrix at a time. Values change no speed, so that each shape is drawn once and stands in every layer,
// and the table of the vocabulary repeats a part of its rows; the files are as large as those of trained models.

import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory, createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import {
  formatType,
  isBlocked,
  isTernary,
  repackBlocks,
  storageBytes,
  tensorType,
  ternarize,
  trace,
} from "@fidelity/core";
import type { BlockDtype, Tensor, TensorType, TernaryDtype } from "@fidelity/core";
import { encodeValues, ggufArray } from "@fidelity/formats";
import type { GgufValue, SourceDtype, TensorToWrite } from "@fidelity/formats";
import { writeGgufFile } from "@fidelity/formats/node";
import { createModel, createParameters, namedParameters, namings, RandomStream } from "@fidelity/models";
import type { MetadataEntry, Model, ParameterSpec } from "@fidelity/models";
import { saveModel } from "@fidelity/run/node";

/** Another layout of the same model is another name. */
const VERSION = 2;
const SEED = 1;
const SCALE = 0.02;
/** The table of a vocabulary repeats one of so many parts. */
const TABLE_PARTS = 32;

/** Columns that every dtype in blocks divides. */
const BLOCK_COLUMNS = 256;

/** The dtypes of our file: of its ternary matrices, and of all other matrices, the head among them. */
export interface OwnTypes {
  readonly ternary: "ternary" | "ternary5";
  readonly dense: BlockDtype;
}

/** A model, and how its files are called. */
export interface GenerationModel {
  readonly name: string;
  readonly model: Model;
}

interface BitnetSize {
  readonly dim: number;
  readonly hiddenDim: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly keyValueHeadCount: number;
  readonly vocabSize: number;
}

const LARGE = { dim: 2560, hiddenDim: 6912, layerCount: 30, headCount: 20, keyValueHeadCount: 5, vocabSize: 128_256 };
const SMALL = { dim: 768, hiddenDim: 2048, layerCount: 12, headCount: 12, keyValueHeadCount: 12, vocabSize: 50_304 };
const TINY = { dim: 256, hiddenDim: 512, layerCount: 2, headCount: 4, keyValueHeadCount: 2, vocabSize: 4096 };

export const largeBitnet = (): GenerationModel => bitnet("bitnet-2.4b", LARGE);
export const smallBitnet = (): GenerationModel => bitnet("bitnet-125m", SMALL);
export const tinyBitnet = (): GenerationModel => bitnet("bitnet-tiny", TINY);

/** A BitNet b1.58 of a size, as GGUF's architecture "bitnet" has it. */
function bitnet(name: string, size: BitnetSize): GenerationModel {
  const config = { architecture: "bitnet", ...size, contextLength: 2048, activation: "silu", weights: "ternary" };
  return { name, model: createModel(config) };
}

/** A Mamba whose head is its embedding. */
export function mamba(name: string, dim: number, layerCount: number, vocabSize: number): GenerationModel {
  return { name, model: createModel({ architecture: "mamba", dim, layerCount, vocabSize, tiedEmbeddings: true }) };
}

/** Our file of a model, written where it is not there yet. */
export async function ownFile({ name, model }: GenerationModel, { ternary, dense }: OwnTypes): Promise<string> {
  const path = join(folder(), `${name}-${ternary}-${dense}-${VERSION}.fid`);
  if (existsSync(path)) return path;
  const device = createDevice({ threads: 1, target: "wasm" });
  try {
    const typeOf = ({ role, shape, narrow }: ParameterSpec): TensorType => {
      const isWhole = narrow === true && shape.at(-1)! % BLOCK_COLUMNS === 0;
      return { dtype: role === "ternary" ? ternary : isWhole ? dense : "f32", shape };
    };
    const leaves = namedParameters(model.parameters);
    const types = Object.fromEntries(leaves.map(({ path: parameter, leaf }) => [parameter, typeOf(leaf)]));
    const drawn = new Map<string, Uint8Array>();
    for (const type of Object.values(types)) {
      if (!drawn.has(formatType(type))) drawn.set(formatType(type), await stored(device, type));
    }
    const parameters = createParameters(device, types, (tensor) => {
      tensor.bytes().set(drawn.get(formatType(tensor.type))!);
    });
    await saveModel(path, { device, model, parameters, tokenizer: undefined, packed: false });
  } finally {
    await device.close();
  }
  return path;
}

/** The peer's file, its matrices of one type and its head of another, written where it is not there yet. */
export function peerFile({ name, model }: GenerationModel, dtype: SourceDtype, head: SourceDtype): string {
  const path = join(folder(), `${name}-${dtype}-${head}-${VERSION}.gguf`);
  if (existsSync(path)) return path;
  const naming = namings[model.architecture]!.gguf!;
  const drawn = new Map<string, Uint8Array>();
  const tensors = namedParameters(model.parameters).map(({ path: parameter, leaf }): TensorToWrite => {
    const { role, shape } = leaf;
    const type = role === "ternary" ? dtype : role === "norm" ? "f32" : head;
    const bytes = (): Uint8Array => {
      const key = `${type} ${shape.join(" ")}`;
      const made = drawn.get(key) ?? encoded(type, shape, role === "ternary");
      drawn.set(key, made);
      return made;
    };
    return { name: naming.origin(parameter, model.config)!.names[0], dtype: type, shape, bytes };
  });
  const metadata = new Map([
    ["general.architecture", { type: "string", value: naming.names[0] } as GgufValue],
    ...naming.metadata!(model.config).map(entryOf),
    ...vocabulary(model.vocabSize),
  ]);
  writeGgufFile(path, { metadata, tensors });
  return path;
}

export function fileBytes(path: string): number {
  return statSync(path).size;
}

function folder(): string {
  const path = cacheDirectory(process.env, "bench");
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** The bytes of a tensor with random values, as a device has them. */
async function stored(device: CpuDevice, type: TensorType): Promise<Uint8Array> {
  const { dtype, shape } = type;
  if (isTernary(dtype)) return await packed(device, shape, dtype);
  const bytes = new Uint8Array(storageBytes(type));
  if (isBlocked(dtype)) repackBlocks(type, dtype, encoded(dtype, shape, false), bytes);
  else new Float32Array(bytes.buffer).fill(1);
  return bytes;
}

/** A random ternary matrix, packed by the op that training uses. */
async function packed(device: CpuDevice, shape: readonly number[], dtype: TernaryDtype): Promise<Uint8Array> {
  const pack = (weight: Tensor<readonly [number, number], "f32">) => ternarize(weight, dtype);
  const { graph } = trace("pack", pack, [tensorType("f32", [shape[0], shape[1]])]);
  const program = await device.compile(graph);
  const [from, to] = [device.tensor(tensorType("f32", shape)), device.tensor(graph.results[0].type)];
  try {
    from.f32().set(random(shape, true));
    program.bind([from], [to]);
    program.run();
    return to.bytes().slice(0, storageBytes(to.type));
  } finally {
    for (const owned of [program, from, to]) owned.free();
  }
}

/** The bytes of a tensor with random values, as a GGUF file has them. */
function encoded(dtype: SourceDtype, shape: readonly number[], isTernaryMatrix: boolean): Uint8Array {
  if (dtype === "f32") return new Uint8Array(new Float32Array(shape[0]).fill(1).buffer);
  const [rows, columns] = shape;
  const parts = rows % TABLE_PARTS === 0 && !isTernaryMatrix ? TABLE_PARTS : 1;
  const part = [rows / parts, columns];
  const once = encodeValues(dtype, part, random(part, isTernaryMatrix));
  const bytes = new Uint8Array(parts * once.length);
  for (let i = 0; i < parts; i++) bytes.set(once, i * once.length);
  return bytes;
}

/** Normal values, or -1, 0 and 1 times a scale. */
function random(shape: readonly number[], isTernaryMatrix: boolean): Float32Array {
  const values = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  const stream = new RandomStream(SEED, values.length);
  if (!isTernaryMatrix) stream.fillNormal(values, 0, SCALE);
  else {
    stream.fillUniform(values, -1.5, 1.5);
    for (let i = 0; i < values.length; i++) values[i] = Math.round(values[i]) * SCALE;
  }
  return values;
}

function entryOf({ key, type, value }: MetadataEntry): [string, GgufValue] {
  return [key, Array.isArray(value) ? ggufArray(type, value) : ({ type, value } as GgufValue)];
}

/** A SentencePiece vocabulary: bytes, and words that never come. */
function vocabulary(size: number): [string, GgufValue][] {
  const names = Array.from({ length: size }, (_, i) => {
    if (i < 3) return ["<unk>", "<s>", "</s>"][i];
    const byte = i - 3;
    return byte < 256 ? `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>` : `word${i}`;
  });
  const types = names.map((_, i) => (i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1));
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", ggufArray("string", names)],
    ["tokenizer.ggml.scores", ggufArray("f32", new Array<number>(size).fill(0))],
    ["tokenizer.ggml.token_type", ggufArray("i32", types)],
  ];
}
