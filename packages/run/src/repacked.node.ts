// Ternary files of other programs, in the layout that products here read: made once, kept in the user's cache, and from
// then on mapped like a file of our own. A kept file belongs to one state of the original: its place, size and time.

import { createHash } from "node:crypto";
import { existsSync, realpathSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { cacheDirectory } from "@fidelity/alex/node";
import { ContainerError } from "@fidelity/barewire";
import { makeFolder } from "@fidelity/barewire/node";
import { namedParameters } from "@fidelity/models";
import type { ForeignImport } from "@fidelity/models";
import { writeContainerModel } from "./convert/container.node.ts";
import { foreignValues } from "./convert/foreign-values.ts";
import type { ForeignFile } from "./foreign-file.ts";
import { isTernaryType } from "./foreign-parameters.ts";
import type { ImportOptions } from "./foreign-parameters.ts";
import { versions } from "./versions.node.ts";

/** Smaller files are repacked at each opening, in the time that a look into the cache takes. */
const KEPT_BYTES_MIN = 1 << 25;
/** What the layout of kept files is called; another one is another name. */
const LAYOUT = "ternary2x16, blocks16, 3";

/** Whether a file's ternary weights are worth to be kept repacked. FIDELITY_CACHE=off says no. */
export function isWorthKeeping(
  file: ForeignFile,
  { model, origins }: ForeignImport,
  keptBytesMin = KEPT_BYTES_MIN,
): boolean {
  const ternary = namedParameters(model.parameters).filter(({ leaf }) => leaf.role === "ternary");
  const tensors = ternary.flatMap(({ path }) => origins.get(path)!.names.map((name) => file.tensors.get(name)!));
  const packed = tensors.filter(({ dtype }) => isTernaryType(dtype));
  const sizeBytes = packed.reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
  return sizeBytes > 0 && sizeBytes >= keptBytesMin && process.env.FIDELITY_CACHE !== "off";
}

/**
 * Opens the repacked form of a file by `open`, which gets its path, and makes it first where there is none or a damaged
 * one. What stays narrow depends on the target. Throws what `open` throws, and `FileError`.
 */
export async function openRepacked<T>(
  file: ForeignFile,
  imported: ForeignImport,
  target: string,
  { onProgress }: ImportOptions,
  open: (path: string) => T,
): Promise<T> {
  const folder = cacheDirectory(process.env, "models");
  const path = join(folder, `${identityOf(file.path, target)}.fid`);
  if (existsSync(path)) {
    try {
      return open(path);
    } catch (error) {
      if (!(error instanceof ContainerError)) throw error;
      rmSync(path, { force: true }); // cut short or changed: it is made again
    }
  }
  makeFolder(folder, 0o700);
  const parameters = foreignValues(file, imported);
  await writeContainerModel(
    path,
    { model: imported.model, tokenizer: undefined, card: new Map(), parameters },
    {
      narrowFor: target,
      onProgress: (done, total, parameter) => onProgress?.({ parameter, done, total }),
    },
  );
  return open(path);
}

function identityOf(path: string, target: string): string {
  const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true });
  const identity = [LAYOUT, target, versions().fidelity, realpathSync(path), dev, ino, size, mtimeNs];
  return createHash("sha256").update(identity.join("\n")).digest("hex").slice(0, 32);
}
