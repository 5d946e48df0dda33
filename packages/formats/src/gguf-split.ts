// Models in several GGUF files, as llama.cpp's gguf-split writes them: NAME-00001-of-00003.gguf and so on. Each is a
// GGUF file of its own that says which part it is (`split.no`, from 0 on), of how many (`split.count`), and how many
// tensors all have together (`split.tensors.count`); the first has the model's metadata.

import { quote } from "./byte-cursor.ts";
import { InvalidHeaderError } from "./errors.ts";
import type { GgufSource } from "./gguf.ts";
import type { SourceTensor } from "./tensor-source.ts";

const NUMBER_KEY = "split.no";
const COUNT_KEY = "split.count";
const TENSORS_KEY = "split.tensors.count";
const SPLIT_KEYS: readonly string[] = [NUMBER_KEY, COUNT_KEY, TENSORS_KEY];

const PART_NAME = /-(\d{5})-of-(\d{5})\.gguf$/;

/** What a part of a model says of itself. */
export interface GgufSplit {
  /** Which part it is, from 0 on. */
  readonly number: number;
  readonly count: number;
  /** Tensors of all parts. */
  readonly tensorCount: number;
  /** The names of all parts' files, in order. */
  readonly fileNames: readonly string[];
}

/**
 * What part of a model a file is, or undefined for a model in one file. Throws `InvalidHeaderError` where metadata and
 * the file's name contradict each other.
 */
export function splitOf(source: GgufSource, fileName: string): GgufSplit | undefined {
  if (!source.metadata.has(COUNT_KEY)) return undefined;
  const read = (key: string): number => {
    const value = source.config[key];
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw refusal(fileName, `has an impossible ${key}`, "a whole number", `${value}`);
  };
  const count = read(COUNT_KEY);
  if (count <= 1) return undefined;
  const [number, tensorCount] = [read(NUMBER_KEY), read(TENSORS_KEY)];
  const [suffix, part, parts] = PART_NAME.exec(fileName) ?? [""];
  if (Number(part) !== number + 1 || Number(parts) !== count || number >= count) {
    const expected = `...-${digits(number + 1)}-of-${digits(count)}.gguf, as its metadata says`;
    throw refusal(fileName, "has the name of another part of its model", expected, quote(fileName));
  }
  const stem = fileName.slice(0, -suffix.length);
  const fileNames = Array.from({ length: count }, (_, i) => `${stem}-${digits(i + 1)}-of-${digits(count)}.gguf`);
  return { number, count, tensorCount, fileNames };
}

/**
 * The parts of a model as one source: the first one's metadata, without what tells of parts, and everyone's tensors.
 * Throws `InvalidHeaderError` where they are not the parts of one model, all of them and in order.
 * @param fileNames of each part, for errors and for what their names say
 */
export function joinGguf(parts: readonly GgufSource[], fileNames: readonly string[]): GgufSource {
  const [first] = parts;
  const tensors = new Map<string, SourceTensor>();
  parts.forEach((part, i) => {
    const split = splitOf(part, fileNames[i]);
    if (split?.number !== i || split.count !== parts.length) {
      const got = split === undefined ? "a model in one file" : `part ${split.number + 1} of ${split.count}`;
      throw refusal(fileNames[i], "is another part of a model", `part ${i + 1} of ${parts.length}`, got);
    }
    for (const tensor of part.tensors) {
      if (tensors.has(tensor.name)) {
        throw refusal(fileNames[i], "has a tensor of another part", "different names", quote(tensor.name));
      }
      tensors.set(tensor.name, tensor);
    }
  });
  const { tensorCount } = splitOf(first, fileNames[0]) ?? { tensorCount: tensors.size };
  if (tensors.size !== tensorCount) {
    throw refusal(fileNames[0], "lacks tensors in its parts", `${tensorCount} tensors`, `${tensors.size}`);
  }
  const metadata = new Map([...first.metadata].filter(([key]) => !SPLIT_KEYS.includes(key)));
  const config = Object.fromEntries(Object.entries(first.config).filter(([key]) => !SPLIT_KEYS.includes(key)));
  return { ...first, metadata, config, tensors: [...tensors.values()] };
}

function digits(number: number): string {
  return String(number).padStart(5, "0");
}

function refusal(fileName: string, summary: string, expected: string, got: string): InvalidHeaderError {
  return new InvalidHeaderError(`${fileName} ${summary}`, {
    where: fileName,
    expected,
    got,
    hint: "fetch all parts of the model again, into one folder and under their own names",
  });
}
