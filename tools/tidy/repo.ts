// What the tidy rules look at: the text files of the repository and, for TypeScript, their syntax trees (oxc-parser,
// ESTree with byte-exact offsets). Generated and installed things are not looked at.

import { globSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync } from "oxc-parser";

/** A node of the syntax tree: ESTree by shape, read field by field because the rules need only a few kinds. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** What a file imports, as written; `typeOnly` imports are erased at run time. */
export interface ImportSite {
  readonly specifier: string;
  readonly start: number;
  readonly typeOnly: boolean;
}

/** A TypeScript file with its tree. `room` is `units`, `core`, ..., `bench`, `tools`. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly room: string;
  readonly isTest: boolean;
  /** A program for readers, run by its room's tests; it uses the room as others do. */
  readonly isExample: boolean;
  readonly program: SyntaxNode;
  readonly imports: readonly ImportSite[];
}

/** A file of any kind, for the rules that read text only. */
export interface TextFile {
  readonly path: string;
  readonly text: string;
}

/** The repository as the rules see it; `manifests` holds each `package.json` by the folder it stands in. */
export interface Repo {
  readonly sources: readonly SourceFile[];
  readonly texts: readonly TextFile[];
  readonly paths: ReadonlySet<string>;
  readonly manifests: ReadonlyMap<string, Manifest>;
}

/** The fields of a package.json that the rules read. */
export interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** One broken rule at one place. `advice` says what to do about it. */
export interface Finding {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
  readonly advice: string;
}

export const REPO_ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const TEXT_FILES = "**/*.{ts,js,json,md,sh,html,css,py,txt,svg}";
const TEXT_PATTERNS = ["*", ".ci/*", `{packages,bench,tools,docs,examples}/${TEXT_FILES}`];
const LEFT_OUT = /(^|\/)(node_modules|dist|\.git)(\/|$)/;

/** Reads the repository at `root`. */
export function readRepo(root: string = REPO_ROOT): Repo {
  const entries = globSync(TEXT_PATTERNS, {
    cwd: root,
    withFileTypes: true,
    exclude: (entry) => LEFT_OUT.test(entry.name),
  });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => posix.relative(root, posix.join(entry.parentPath, entry.name)))
    .sort();
  return makeRepo(files.map((path) => ({ path, text: readFileSync(join(root, path), "utf8") })));
}

/** A repository of the given files, for tests of the rules as for the real one. */
export function makeRepo(texts: readonly TextFile[]): Repo {
  const manifests = new Map<string, Manifest>();
  for (const { path, text } of texts) {
    if (posix.basename(path) === "package.json") manifests.set(posix.dirname(path), JSON.parse(text));
  }
  const sources = texts.filter(({ path }) => path.endsWith(".ts") && !path.endsWith(".d.ts")).map(parseSource);
  return { sources, texts, paths: new Set(texts.map(({ path }) => path)), manifests };
}

function parseSource({ path, text }: TextFile): SourceFile {
  const { program, errors } = parseSync(path, text);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0].message}`);
  const parts = path.split("/");
  const tree = program as unknown as SyntaxNode;
  return {
    path,
    text,
    room: parts[0] === "packages" ? parts[1] : parts[0],
    isTest: path.endsWith(".test.ts"),
    isExample: /^(packages\/[^/]+\/)?examples\//.test(path),
    program: tree,
    imports: importsOf(tree),
  };
}

function importsOf(program: SyntaxNode): ImportSite[] {
  const found: ImportSite[] = [];
  walk(program, (node) => {
    const source = node.source;
    if (!isNode(source) || typeof source.value !== "string" || !/^(Import|Export)/.test(node.type)) return;
    found.push({
      specifier: source.value,
      start: node.start,
      typeOnly: node.importKind === "type" || node.exportKind === "type",
    });
  });
  return found;
}

/** Calls `visit` for each node below and including `node`, parents first, with the chain of ancestors. */
export function walk(
  node: SyntaxNode,
  visit: (node: SyntaxNode, ancestors: readonly SyntaxNode[]) => void,
  ancestors: SyntaxNode[] = [],
): void {
  visit(node, ancestors);
  ancestors.push(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) walk(child, visit, ancestors);
    }
  }
  ancestors.pop();
}

/** Whether a field of a node is itself a node. */
export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** The line, from 1, of an offset into `text`. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}

/** The number of lines of `text`; a final newline starts no new line. */
export function countLines(text: string): number {
  return text === "" ? 0 : text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
}
