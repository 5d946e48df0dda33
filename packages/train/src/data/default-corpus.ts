// Real text that every checkout has: the TypeScript declaration files that npm installs for the compiler and for Node,
// about 5.5 MB of code and English. The files come in an order shuffled by the hash of their names, so that the last
// tenth, which validates, is a sample of the whole and not the end of the alphabet.
//
// Leaves out: lib.webworker, most of which repeats lib.dom word for word, and the copies that @types/node keeps for old
// compilers; with them, validation would score text that was trained on.

import { readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { TextCorpus } from "./corpus.ts";
import { NoMatchError } from "./errors.ts";
import { comparePaths, findTextFiles } from "./find-files.ts";
import type { CorpusFile } from "./find-files.ts";

const defaultLimitBytes = 6_000_000;
const compilerMark = "lib.es5.d.ts";

/** Where one package's declarations lie, and the name that they have on every machine. */
interface Source {
  readonly label: string;
  readonly folder: string;
  readonly accepts: (relativePath: string) => boolean;
}

/**
 * The corpus of the first `node_modules` above `startFolders` that has declaration files. Throws `NoMatchError` when
 * none has. By default it looks above this file, and then above the working folder.
 */
export function defaultCorpus(
  startFolders: readonly string[] = [import.meta.dirname, process.cwd()],
  limitBytes = defaultLimitBytes,
): TextCorpus {
  for (const folder of startFolders.flatMap(ancestorsOf)) {
    const sources = sourcesIn(join(folder, "node_modules"));
    if (sources.length === 0) continue;
    const files = sources.flatMap(filesOf).sort(byRank);
    return new TextCorpus(
      files.map(({ file }) => file),
      limitBytes,
    );
  }
  throw new NoMatchError("there are no TypeScript declaration files to train on", {
    where: startFolders.join(", "),
    expected: "node_modules with the packages typescript and @types/node",
    got: "neither, in these folders and all above them",
    hint: "run npm ci, or pass --data PATH with a text file, a folder or a glob",
  });
}

interface RankedFile {
  readonly file: CorpusFile;
  readonly name: string;
  readonly rank: number;
}

function filesOf(source: Source): RankedFile[] {
  const ranked: RankedFile[] = [];
  for (const file of findTextFiles([source.folder], [".ts"])) {
    const relativePath = file.path.slice(source.folder.length + 1).replaceAll("\\", "/");
    const name = `${source.label}/${relativePath}`;
    if (source.accepts(relativePath)) ranked.push({ file, name, rank: hash(name) });
  }
  return ranked;
}

function byRank(a: RankedFile, b: RankedFile): number {
  return a.rank - b.rank || comparePaths(a.name, b.name);
}

function sourcesIn(modules: string): Source[] {
  const sources: Source[] = [];
  const compiler = compilerLibrary(modules);
  if (compiler !== undefined) {
    const accepts = (path: string): boolean => /^lib\..*\.d\.ts$/.test(path) && !path.startsWith("lib.webworker");
    sources.push({ label: "typescript", folder: compiler, accepts });
  }
  const node = join(modules, "@types", "node");
  if (exists(join(node, "index.d.ts"))) {
    sources.push({ label: "node", folder: node, accepts: (path) => path.endsWith(".d.ts") && !/^ts\d/.test(path) });
  }
  return sources;
}

/** TypeScript 7 keeps its library beside the binary of the platform, and earlier versions in the package itself. */
function compilerLibrary(modules: string): string | undefined {
  const scope = join(modules, "@typescript");
  const platforms = exists(scope) ? readdirSync(scope).sort(comparePaths) : [];
  const folders = [...platforms.map((platform) => join(scope, platform, "lib")), join(modules, "typescript", "lib")];
  return folders.find((folder) => exists(join(folder, compilerMark)));
}

function ancestorsOf(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...ancestorsOf(parent)];
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** FNV-1a over 32 bits (Fowler, Noll, Vo). */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}
