// Serves the packages' sources to a browser as they stand, for tests and examples: `node tools/serve.ts [PATH]` prints
// the address of a page below packages/. There is no bundler: types are stripped as Node strips them, and imports of
// `@fidelity/<room>` become the path of that room's sources, because import maps do not reach workers.
//
// Pages are cross-origin isolated, so that they may share memory with their workers, and their content policy allows
// no `eval`. Only files below packages/ are given, on the loopback interface, to requests that name it as their host.
// A server that another program started (`fork`) ends with it. Left out: caching in the browser, compression, files
// for Node.

import { readFileSync, realpathSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { dirname, extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DEFAULT_PATH = "packages/barewire/examples/channel-browser/";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".svg": "image/svg+xml",
  ".ts": "text/javascript; charset=utf-8",
};

const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-cache",
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; connect-src 'self'; img-src data:",
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

/** Serves `root`/packages on a free port of the loopback interface. Close the server to end it. */
export async function serveSources(root: string = ROOT): Promise<{ server: Server; origin: string }> {
  const server = createServer((request, response) => answer(root, request, response));
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { server, origin: `http://127.0.0.1:${port}` };
}

function answer(root: string, request: IncomingMessage, response: ServerResponse): void {
  try {
    const { type, body } = read(root, request);
    response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": body.length });
    response.end(request.method === "HEAD" ? undefined : body);
  } catch (error) {
    const status = error instanceof Refusal ? error.status : 500;
    response.writeHead(status, { ...HEADERS, "Content-Type": "text/plain; charset=utf-8" });
    response.end(error instanceof Error ? error.message : String(error));
  }
}

function read(root: string, { method, url = "", headers, socket }: IncomingMessage): { type: string; body: Buffer } {
  if (method !== "GET" && method !== "HEAD") throw new Refusal(405, "only GET and HEAD");
  // A page of another site that resolves its own name to this machine sends that name.
  const port = socket.localPort;
  if (headers.host !== `127.0.0.1:${port}` && headers.host !== `localhost:${port}`)
    throw new Refusal(403, "other host");
  const file = fileOf(root, url.split(/[?#]/, 1)[0]);
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

// What was made of a file, and of which state of it: every worker of a page asks for all modules again.
const modules = new Map<string, { readonly mtimeMs: number; readonly body: Buffer }>();

function moduleOf(root: string, file: string): Buffer {
  const { mtimeMs } = statSync(file);
  const known = modules.get(file);
  if (known?.mtimeMs === mtimeMs) return known.body;
  const code = stripTypeScriptTypes(readFileSync(file, "utf8"));
  const linked = code.replaceAll(/\b(from|import)(\s*\(?\s*)"(@fidelity\/[^"]+)"/g, (_, word, space, specifier) => {
    return `${word}${space}"${doorOf(root, specifier)}"`;
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

async function main(): Promise<void> {
  const path = process.argv[2] ?? DEFAULT_PATH;
  const { origin } = await serveSources();
  console.log(`${origin}/${path.replace(/^\//, "")}`);
  if (process.send !== undefined) process.on("disconnect", () => process.exit());
}

if (import.meta.main) await main();
