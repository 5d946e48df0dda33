// Which kind of file a path is, from its first bytes and its size. Nothing else of it is read.

import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { FileError, toFileError } from "@fidelity/barewire/node";
import { detectFormat } from "@fidelity/formats";
import type { DetectedFormat } from "@fidelity/formats";
import { isHuggingFaceModel } from "@fidelity/run/node";
import { WrongFileError } from "./errors.ts";

const HEAD_BYTES = 64;

export interface IdentifiedFile {
  readonly path: string;
  readonly format: Exclude<DetectedFormat["format"], "unknown"> | "safetensors-index" | "safetensors-folder";
  /** 0 for a folder, whose files are looked at when it is opened. */
  readonly sizeBytes: number;
}

/**
 * Identifies a model file. Throws `FileError` where it cannot be read, and `WrongFileError`, which names what was seen,
 * where it is no model.
 * @param others what else the command would have read, for the error
 */
export function identifyFile(path: string, others = ""): IdentifiedFile {
  if (isFolder(path) && isHuggingFaceModel(path)) return { path, format: "safetensors-folder", sizeBytes: 0 };
  const { head, sizeBytes } = readHead(path);
  if (path.endsWith(".safetensors.index.json")) return { path, format: "safetensors-index", sizeBytes };
  const { format, seen } = detectFormat(head);
  if (format !== "unknown") return { path, format, sizeBytes };
  throw new WrongFileError("this is not a model that Fidelity reads", {
    where: path,
    expected: `${others}a model that Fidelity saved, a GGUF, safetensors or ONNX file, or a llama2.c checkpoint`,
    got: seen,
    hint: "make one of a text: fidelity train --data PATH --out FOLDER",
  });
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function readHead(path: string): { head: Uint8Array; sizeBytes: number } {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    const stats = fstatSync(descriptor);
    if (stats.isDirectory()) throw new FileError("read", path, "EISDIR");
    if (!stats.isFile()) throw new FileError("read", path, "NOT_REGULAR");
    const head = new Uint8Array(HEAD_BYTES);
    return { head: head.subarray(0, readSync(descriptor, head, 0, HEAD_BYTES, 0)), sizeBytes: stats.size };
  } catch (error) {
    throw toFileError(error, "read", path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
