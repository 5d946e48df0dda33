// A path on the command line may name a run folder; this finds the model in it. Where there is no such path, it may be
// the name of a model in the store.

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileError } from "@fidelity/barewire/node";
import { isHuggingFaceModel, ModelStore } from "@fidelity/run/node";
import { RunFolder } from "@fidelity/train";
import { WrongFileError } from "./errors.ts";

/** Where native code for a model lies, unless somebody says otherwise (`fidelity build`). */
export function prebuiltBeside(file: string): string {
  return `${file}.native`;
}

/**
 * The model that a path stands for: itself, a folder of Hugging Face included; or in a run folder the finished model,
 * the best so far, or else the last checkpoint. Throws `FileError` where there is nothing, and `WrongFileError` for a
 * folder without a model.
 */
export function modelPath(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    const stored = new ModelStore().find(path);
    if (stored !== undefined) return stored.path;
    throw new FileError("read", path, "ENOENT");
  }
  if (!stats.isDirectory() || isHuggingFaceModel(path)) return path;
  const folder = new RunFolder(path);
  const found = [folder.model, folder.best, folder.checkpoint].find((file) => existsSync(file));
  if (found !== undefined) return found;
  const names = readdirSync(path).filter((name) => !name.startsWith("."));
  const model = names.map((name) => join(path, name)).find(isModel);
  throw new WrongFileError("there is no model in this folder", {
    where: path,
    expected: "a training run's model.fid or checkpoint.fid, or config.json with safetensors",
    got: names.length === 0 ? "an empty folder" : `${names.slice(0, 5).join(", ")}${names.length > 5 ? ", ..." : ""}`,
    hint: model === undefined ? "train one: fidelity train --data PATH --out FOLDER" : `give its path: ${model}`,
  });
}

/** A path as a shell takes it, in commands that are suggested. */
export function shellWord(path: string): string {
  return /[^\w./-]/.test(path) ? `'${path.replaceAll("'", "'\\''")}'` : path;
}

/** Whether a path is likely to be what somebody meant by the folder around it. */
function isModel(path: string): boolean {
  return /\.(fid|gguf|onnx|bin)$/i.test(path) || existsSync(new RunFolder(path).model);
}
