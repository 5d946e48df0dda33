// From a name at the hub to a model of the store: what is there is kept, what is missing is fetched, and the store's
// manifest is written when all of it is there.

import { existsSync, rmSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FileError, makeFolder, toFileError } from "@fidelity/barewire/node";
import { formatBytes } from "@fidelity/units";
import { chooseFiles } from "./choose-files.ts";
import { downloadFile } from "./download.node.ts";
import type { DownloadOptions, RetryOptions } from "./download.node.ts";
import type { Hub, HubFile } from "./hub.node.ts";
import { parseModelName } from "./model-name.ts";
import { linkOrCopy } from "./model-store.node.ts";
import type { ModelStore, StoredModel } from "./model-store.node.ts";

export interface PullProgress {
  /** Of all files together, those that were there included. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** What is being fetched. */
  readonly file: string;
}

export interface PullOptions extends RetryOptions, Pick<DownloadOptions, "onRetry"> {
  readonly store: ModelStore;
  readonly hub: Hub;
  /** A branch, a tag or a commit. Default: main. */
  readonly revision?: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: PullProgress) => void;
}

/**
 * Fetches `OWNER/NAME[:CHOICE]`. When it ends early, what has arrived stays, and another call goes on from there.
 * Throws `HubError` and its kinds, `FileError`, and the signal's reason.
 */
export async function pullModel(text: string, options: PullOptions): Promise<StoredModel> {
  const { store, hub, revision, signal, onProgress } = options;
  const { repository, choice, name } = parseModelName(text);
  const listing = await hub.list(repository, revision, signal);
  const { commit } = listing;
  const { files, opened } = chooseFiles(repository, listing.files, choice);
  const folder = store.folderOf(name);
  const places = { target: store.filesFolder({ name, commit }), parts: join(folder, "parts") };
  const older = store.find(name);
  const missing = takeOver(files, places.target, older && { ...older, folder: store.filesFolder(older) });
  await requireDiskSpace(folder, missing, places.parts);
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let before = totalBytes - missing.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const file of missing) {
    const onBytes = (doneBytes: number): void =>
      onProgress?.({ doneBytes: before + doneBytes, totalBytes, file: file.path });
    const place = { target: join(places.target, file.path), parts: places.parts };
    await downloadFile(hub, listing, file, place, { ...options, onBytes });
    before += file.sizeBytes;
  }
  const manifest = { name, endpoint: hub.endpoint.href, repository, commit, opened, files };
  const isSame = older?.commit === commit && older.opened === opened && missing.length === 0;
  return isSame ? older : store.commit(manifest);
}

/** Takes what an older commit has and gives the files that are still missing. A file of this name is whole. */
function takeOver(
  files: readonly HubFile[],
  target: string,
  older: (Pick<StoredModel, "files"> & { readonly folder: string }) | undefined,
): HubFile[] {
  return files.filter((file) => {
    const path = join(target, file.path);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.size === file.sizeBytes) return false;
    if (stats !== undefined) rmSync(path); // somebody changed it
    const same = older?.files.find(({ digest }) => digest.hex === file.digest.hex);
    if (same === undefined || older === undefined || !existsSync(join(older.folder, same.path))) return true;
    linkOrCopy(join(older.folder, same.path), path);
    return false;
  });
}

/** Throws `FileError` before anything is fetched, where the disk has no room for the rest of it. */
async function requireDiskSpace(folder: string, missing: readonly HubFile[], parts: string): Promise<void> {
  const here = (file: HubFile): number => {
    return statSync(join(parts, file.digest.hex), { throwIfNoEntry: false })?.size ?? 0;
  };
  const neededBytes = missing.reduce((sum, file) => sum + Math.max(0, file.sizeBytes - here(file)), 0);
  try {
    makeFolder(dirname(folder));
    const { bavail, bsize } = await statfs(dirname(folder));
    if (neededBytes <= bavail * bsize) return;
    throw new FileError("write", folder, "ENOSPC", {
      got: `${formatBytes(bavail * bsize)} free, and ${formatBytes(neededBytes)} to fetch`,
    });
  } catch (error) {
    throw toFileError(error, "write", folder);
  }
}
