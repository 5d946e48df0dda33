// Serves the packages' sources to a browser as they stand, for tests and examples: `node tools/serve.ts [PATH]` prints
// the address of a page below packages/. There is no bundler: types are stripped as Node strips them, and imports of
// `@fidelity/<room>` become the path of that room's sources, because import maps do not reach workers; those of a
// package that a room depends on become the path of its module.
//
// Pages are cross-origin isolated, so that they may share memory with their workers, and their content policy allows
// WebAssembly but no `eval`. Only files below packages/, modules of packages and the files named on the command line
// (`--file PATH`, given as /files/NAME, whole or by ranges) are given, on the loopback interface, to requests that name
// it as their host.
// A server that another program started (`fork`) ends with it. Left out: caching in the browser, compression, files
// for Node.

import { createReadStream, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { basename, dirname, extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DEFAULT_PATH = "packages/barewire/examples/channel-browser/";

/** Where modules of packages lie. */
const MODULES = "/modules/";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".ts": "text/javascript; charset=utf-8",
};

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-cache",
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "worker-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src data:",
  ].join("; "),
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
};

/** A request that gets no file; its message is sent as the answer. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Serves `root`/packages and some files on a free port of the loopback interface. Close the server to end it. */
export async function serveSources(
  root: string = ROOT,
  files: readonly string[] = [],
): Promise<{ server: Server; origin: string }> {
  const given = new Map(files.map((file) => [`/files/${encodeURIComponent(basename(file))}`, file]));
  const server = createServer((request, response) => answer(root, given, request, response));
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, origin: `http://127.0.0.1:${port}` };
}

function answer(
  root: string,
  given: ReadonlyMap<string, string>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  try {
    checkRequest(request);
    const file = given.get(request.url ?? "");
    if (file !== undefined) return sendRange(file, request, response);
    const { type, body } = read(root, request);
    response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": body.length });
    response.end(request.method === "HEAD" ? undefined : body);
  } catch (error) {
    const status = error instanceof Refusal ? error.status : 500;
    response.writeHead(status, { ...HEADERS, "Content-Type": "text/plain; charset=utf-8" });
    response.end(error instanceof Error ? error.message : String(error));
  }
}

function checkRequest({ method, headers, socket }: IncomingMessage): void {
  if (method !== "GET" && method !== "HEAD") throw new Refusal(405, "only GET and HEAD");
  // A page of another site that resolves its own name to this machine sends that name.
  const port = socket.localPort;
  if (headers.host !== `127.0.0.1:${port}` && headers.host !== `localhost:${port}`)
    throw new Refusal(403, "other host");
}

/** A file, or the one range of it that the request names (RFC 9110, section 14). */
function sendRange(file: string, { method, headers: { range } }: IncomingMessage, response: ServerResponse): void {
  const { size, mtimeMs } = statSync(file);
  const asked = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
  const [start, end] =
    asked === null ? [0, size - 1] : [Number(asked[1]), Math.min(Number(asked[2] || size - 1), size - 1)];
  if (start > end && size > 0) {
    response.writeHead(416, { ...HEADERS, "Content-Range": `bytes */${size}` }).end();
    return;
  }
  response.writeHead(asked === null ? 200 : 206, {
    ...HEADERS,
    "Accept-Ranges": "bytes",
    "Content-Length": end - start + 1,
    "Content-Type": "application/octet-stream",
    ...(asked !== null && { "Content-Range": `bytes ${start}-${end}/${size}` }),
    ETag: `"${size}-${mtimeMs}"`,
  });
  if (method === "HEAD" || size === 0) response.end();
  else
    createReadStream(file, { start, end })
      .on("error", () => response.destroy())
      .pipe(response);
}

function read(root: string, { url = "" }: IncomingMessage): { type: string; body: Buffer } {
  const path = url.split(/[?#]/, 1)[0];
  const file = path.startsWith(MODULES) ? moduleFileOf(root, path) : fileOf(root, path);
  const type = TYPES[extname(file)];
  return { type, body: file.endsWith(".ts") ? moduleOf(root, file) : readFileSync(file) };
}

// The file of a path, which must lie below packages/ both as it is written and after links are followed.
function fileOf(root: string, path: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw new Refusal(400, "the path is not encoded as URLs are");
  }
  const whole = decoded.endsWith("/") ? `${decoded}index.html` : decoded;
  // No name begins with a dot, so that nothing goes up and no hidden file is given.
  const isPlain = /^\/packages(\/[\w-][\w.-]*)+$/.test(whole) && !/\/(node_modules|dist)\//.test(whole);
  if (!isPlain || TYPES[extname(whole)] === undefined) throw new Refusal(404, "no such file");
  if (whole.endsWith(".node.ts")) throw new Refusal(404, `${whole} is for Node only`);
  let file: string;
  try {
    file = realpathSync(join(root, whole));
  } catch {
    throw new Refusal(404, "no such file");
  }
  const packages = realpathSync(join(root, "packages"));
  if (!file.startsWith(packages + sep)) throw new Refusal(404, "no such file");
  return file;
}

// A file of a package that a room depends on.
function moduleFileOf(root: string, path: string): string {
  const inner = path.slice(MODULES.length);
  const isPlain = /^@?[\w-][\w.-]*(\/[\w-][\w.-]*)+\.js$/.test(inner);
  const name = [...dependenciesOf(root)].find((dependency) => inner.startsWith(`${dependency}/`));
  if (!isPlain || name === undefined) throw new Refusal(404, "no such file");
  try {
    return realpathSync(join(root, "node_modules", inner));
  } catch {
    throw new Refusal(404, "no such file");
  }
}

// The packages of others that rooms depend on.
function dependenciesOf(root: string): Set<string> {
  const folders = readdirSync(join(root, "packages"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const names = folders.flatMap(({ name }) => {
    const { dependencies = {} } = JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8"));
    return Object.keys(dependencies);
  });
  return new Set(names.filter((name) => !name.startsWith("@fidelity/")));
}

// What was made of a file, and of which state of it: every worker of a page asks for all modules again.
const modules = new Map<string, { readonly mtimeMs: number; readonly body: Buffer }>();

function moduleOf(root: string, file: string): Buffer {
  const { mtimeMs } = statSync(file);
  const known = modules.get(file);
  if (known?.mtimeMs === mtimeMs) return known.body;
  const code = stripTypeScriptTypes(readFileSync(file, "utf8"));
  const dependencies = dependenciesOf(root);
  const linked = code.replaceAll(/\b(from|import)(\s*\(?\s*)"([^"./][^"]*)"/g, (all, word, space, specifier) => {
    if (specifier.startsWith("@fidelity/")) return `${word}${space}"${doorOf(root, specifier)}"`;
    return dependencies.has(specifier) ? `${word}${space}"${moduleOfPackage(root, specifier)}"` : all;
  });
  const body = Buffer.from(linked);
  modules.set(file, { mtimeMs, body });
  return body;
}

// The path of a room's public face, from the `exports` of its package.json.
function doorOf(root: string, specifier: string): string {
  const [, room, ...rest] = specifier.split("/");
  const folder = join(root, "packages", room);
  const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file: unknown = exports[[".", ...rest].join("/")];
  if (typeof file !== "string") throw new Error(`${specifier} is no door of its room`);
  return `/${relative(root, join(folder, file)).replaceAll(sep, "/")}`;
}

// The path of a package's module for browsers, from the `exports` of its package.json.
function moduleOfPackage(root: string, name: string): string {
  const folder = join(root, "node_modules", name);
  const { exports, module } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file: unknown = exports?.["."]?.import ?? module;
  if (typeof file !== "string") throw new Error(`${name} has no module`);
  return `${MODULES}${join(name, file).replaceAll(sep, "/")}`;
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { file: { type: "string", multiple: true, default: [] } },
  });
  const [path = DEFAULT_PATH] = positionals;
  const { origin } = await serveSources(ROOT, values.file);
  console.log(`${origin}/${path.replace(/^\//, "")}`);
  if (process.send !== undefined) process.on("disconnect", () => process.exit());
}

if (import.meta.main) await main();
