// The models that this machine keeps, by name. Each has a folder of its own: a manifest, which is written last, so that
// what has one is whole; the files of one commit, in a folder named after it; and the parts of a download, if one is
// under way. The store lies where FIDELITY_MODELS says, or in the user's data folder (XDG Base Directory).

import { copyFileSync, existsSync, linkSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { makeFolder, toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { ModelStoreError } from "./errors.ts";
import type { HubFile } from "./hub.node.ts";
import { isStoreName } from "./model-name.ts";

/** What the store notes about a model. */
export interface Manifest {
  readonly name: string;
  /** Where it came from. */
  readonly endpoint: string;
  readonly repository: string;
  readonly commit: string;
  /** Of `files`, what is opened; "" for their folder. */
  readonly opened: string;
  readonly files: readonly HubFile[];
}

/** A model of the store, whole. */
export interface StoredModel extends Manifest {
  /** What `openModel` takes. */
  readonly path: string;
  readonly sizeBytes: number;
  /** When it was pulled or copied. */
  readonly modified: Date;
}

const MANIFEST = "fidelity-model.json";

/** The folder of the store. */
export function storeFolder(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.FIDELITY_MODELS) return resolve(environment.FIDELITY_MODELS);
  const data = environment.XDG_DATA_HOME;
  const base = data !== undefined && isAbsolute(data) ? data : join(homedir(), ".local", "share");
  return join(base, "fidelity", "models");
}

export class ModelStore {
  readonly folder: string;

  constructor(folder = storeFolder()) {
    this.folder = folder;
  }

  /** The folder of a model, there or not. Throws `ModelStoreError` for what can be no name. */
  folderOf(name: string): string {
    if (isStoreName(name)) return join(this.folder, name.replace("/", "--").replace(":", "@"));
    throw new ModelStoreError("a model cannot be called so", {
      expected: "letters, digits, . _ and -, with / after an owner and : before a tag, such as my/model:Q8_0",
      got: JSON.stringify(name.slice(0, 200)),
    });
  }

  /** The folder of a model's files at a commit. */
  filesFolder({ name, commit }: Pick<Manifest, "name" | "commit">): string {
    return join(this.folderOf(name), commit.slice(0, 12));
  }

  /** All models, by name. Those that are not whole yet are not among them. */
  list(): StoredModel[] {
    if (!existsSync(this.folder)) return [];
    try {
      const names = readdirSync(this.folder).map((entry) => entry.replace("@", ":").replace("--", "/"));
      const models = names.filter(isStoreName).flatMap((name) => this.find(name) ?? []);
      return models.sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (error) {
      throw toFileError(error, "read", this.folder);
    }
  }

  /** The model of a name; undefined where there is none, or where a file of it is missing. */
  find(name: string): StoredModel | undefined {
    if (!isStoreName(name)) return undefined;
    const manifest = join(this.folderOf(name), MANIFEST);
    if (!existsSync(manifest)) return undefined;
    let noted: Manifest;
    try {
      noted = JSON.parse(readFileSync(manifest, "utf8"));
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw toFileError(error, "read", manifest);
    }
    if (noted.name !== name || !Array.isArray(noted.files)) return undefined;
    const folder = this.filesFolder(noted);
    const isWhole = noted.files.every(({ path, sizeBytes }) => {
      return statSync(join(folder, path), { throwIfNoEntry: false })?.size === sizeBytes;
    });
    if (!isWhole) return undefined;
    const sizeBytes = noted.files.reduce((sum, file) => sum + file.sizeBytes, 0);
    return { ...noted, path: join(folder, noted.opened), sizeBytes, modified: statSync(manifest).mtime };
  }

  /** The model of a name. Throws `ModelStoreError` with those that there are. */
  get(name: string): StoredModel {
    const found = this.find(name);
    if (found !== undefined) return found;
    const names = this.list().map((model) => model.name);
    throw new ModelStoreError("there is no such model in the store", {
      where: this.folder,
      expected: names.length === 0 ? "a model; there is none yet" : names.join(", "),
      got: JSON.stringify(name.slice(0, 200)),
      hint: names.length === 0 ? "fidelity pull OWNER/NAME" : "fidelity ls shows them",
    });
  }

  /** Notes that a model is whole, and removes what it no longer needs: older commits, and parts. */
  commit(manifest: Manifest): StoredModel {
    const folder = this.folderOf(manifest.name);
    writeFileAtomic(join(folder, MANIFEST), [new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`)]);
    const kept = [MANIFEST, manifest.commit.slice(0, 12)];
    for (const entry of readdirSync(folder).filter((name) => !kept.includes(name))) {
      rmSync(join(folder, entry), { recursive: true, force: true });
    }
    return this.get(manifest.name);
  }

  /** Removes a model, or what an unfinished pull left of it. Throws `ModelStoreError`, `FileError`. */
  remove(name: string): void {
    const folder = this.folderOf(name);
    if (!existsSync(folder)) this.get(name);
    try {
      rmSync(join(folder, MANIFEST), { force: true }); // from here on it is not whole
      rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      throw toFileError(error, "write", folder);
    }
  }

  /**
   * A model under another name too. Files are linked where the disk can do that, and take no further room. Throws
   * `ModelStoreError` where the new name is taken, and `FileError`.
   */
  copy(from: string, to: string): StoredModel {
    const model = this.get(from);
    const target = this.folderOf(to);
    if (existsSync(target)) {
      throw new ModelStoreError("there is a model of this name already", { where: to, hint: `fidelity rm ${to}` });
    }
    const { name: _name, path: _path, sizeBytes: _size, modified: _modified, ...noted } = model;
    try {
      for (const { path } of model.files) {
        linkOrCopy(join(this.filesFolder(model), path), join(this.filesFolder({ ...model, name: to }), path));
      }
      return this.commit({ ...noted, name: to });
    } catch (error) {
      rmSync(target, { recursive: true, force: true });
      throw toFileError(error, "write", target);
    }
  }
}

/** A second name of a file, or a copy where the file system has no links. Files of the store are never changed. */
export function linkOrCopy(from: string, to: string): void {
  makeFolder(dirname(to));
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}
