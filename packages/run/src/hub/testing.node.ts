// A hub for tests, on this machine alone: the listing of a repository, large files behind a redirect as the real hub
// has them, ranges, digests; and whatever goes wrong with it, one request after another.

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

/** What the server does with one request for a large file's bytes. */
export type Mishap =
  | { readonly kind: "dies"; /** when so many bytes of the answer have arrived */ readonly after: number }
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "no-ranges" }
  | { readonly kind: "other-range" }
  | { readonly kind: "too-much" }
  | { readonly kind: "too-little" }
  | { readonly kind: "silent"; readonly after: number }
  | { readonly kind: "other-bytes" };

export class TestHub implements AsyncDisposable {
  /** What a repository's files are now, by path; every change makes another commit. */
  readonly repositories = new Map<string, Map<string, Uint8Array>>();
  /** Taken from the front by requests for bytes; when it is empty all goes well. */
  readonly mishaps: Mishap[] = [];
  /** `path first-byte` of all requests for bytes. */
  readonly requests: string[] = [];
  /** Repositories that only this token may read. */
  readonly gated = new Map<string, string>();
  /** Files are announced with other sizes than they have. */
  readonly announced = new Map<string, number>();
  /** Set when a redirect brought the token to where the bytes lie. */
  tokenLeaked = false;
  /** Answers that stop here and die when their bytes have arrived: what a dead connection still held is lost. */
  readonly #dying: { readonly response: ServerResponse; readonly atByte: number }[] = [];
  readonly #server: Server;
  readonly #files: Server;

  constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#files = createServer((request, response) => this.#giveBytes(request, response));
  }

  static async start(): Promise<TestHub> {
    const hub = new TestHub();
    for (const server of [hub.#server, hub.#files]) {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
    }
    return hub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  add(repository: string, files: Readonly<Record<string, Uint8Array>>): void {
    this.repositories.set(repository, new Map(Object.entries(files)));
  }

  /** To be told how many bytes of a file have arrived. */
  received(doneBytes: number): void {
    for (const { response, atByte } of this.#dying) if (doneBytes >= atByte) response.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#server, this.#files]) {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.endpoint);
    const match = /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)\/?(.*)$/.exec(url.pathname);
    const [, repository, kind, revision, path] = match ?? [];
    const files = this.repositories.get(repository);
    const token = this.gated.get(repository);
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) return end(response, 401);
    if (files === undefined) return end(response, 404, { "x-error-code": "RepoNotFound" });
    const commit = commitOf(files);
    if (kind === "revision" && revision !== "main" && revision !== commit) {
      return end(response, 404, { "x-error-code": "RevisionNotFound" });
    }
    if (kind === "revision") return end(response, 200, {}, JSON.stringify({ sha: commit }));
    if (kind === "tree") return this.#giveTree(url, files, response);
    const name = decodeURIComponent(path);
    const bytes = files.get(name);
    if (bytes === undefined || revision !== commit) return end(response, 404, { "x-error-code": "EntryNotFound" });
    const { port } = this.#files.address() as AddressInfo;
    const location = `http://127.0.0.1:${port}/${repository}/${encodeURIComponent(name)}`;
    end(response, 302, { location, "x-linked-etag": `"${sha256(bytes)}"`, "x-repo-commit": commit });
  }

  /** Two files a page. */
  #giveTree(url: URL, files: ReadonlyMap<string, Uint8Array>, response: ServerResponse): void {
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const entries = [...files].slice(start, start + 2).map(([path, bytes]) => {
      const size = this.announced.get(path) ?? bytes.length;
      const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
      const isLarge = /\.(gguf|safetensors)$/.test(path);
      return { type: "file", path, size, oid, ...(isLarge && { lfs: { oid: sha256(bytes), size, pointerSize: 130 } }) };
    });
    const next = `<${this.endpoint}${url.pathname}?recursive=true&cursor=${start + 2}>; rel="next"`;
    end(response, 200, start + 2 < files.size ? { link: next } : {}, JSON.stringify(entries));
  }

  #giveBytes(request: IncomingMessage, response: ServerResponse): void {
    const [, owner, name, path] = request.url!.split("/").map(decodeURIComponent);
    const whole = this.repositories.get(`${owner}/${name}`)!.get(path)!;
    const asked = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    this.requests.push(`${path} ${asked}`);
    this.tokenLeaked ||= request.headers.authorization !== undefined;
    const mishap = this.mishaps.shift();
    if (mishap?.kind === "status") return end(response, mishap.status);
    const start = mishap?.kind === "no-ranges" ? 0 : mishap?.kind === "other-range" ? asked + 1 : asked;
    let bytes = whole.slice(start);
    if (mishap?.kind === "other-bytes") bytes = bytes.map((byte) => byte ^ 1);
    if (mishap?.kind === "too-little") bytes = bytes.slice(0, -1);
    if (mishap?.kind === "too-much") bytes = Buffer.concat([bytes, new Uint8Array(1000)]);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": bytes.length,
      ...(start > 0 && { "content-range": `bytes ${start}-${whole.length - 1}/${whole.length}` }),
    });
    if (mishap?.kind !== "dies" && mishap?.kind !== "silent") return void response.end(bytes);
    response.write(bytes.slice(0, mishap.after));
    if (mishap.kind === "dies") this.#dying.push({ response, atByte: start + mishap.after });
  }
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}, body = ""): void {
  response.writeHead(status, headers).end(body);
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function commitOf(files: ReadonlyMap<string, Uint8Array>): string {
  const hash = createHash("sha1");
  for (const [path, bytes] of files) hash.update(path).update(bytes);
  return hash.digest("hex");
}
