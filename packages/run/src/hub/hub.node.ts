// The Hugging Face hub, as far as fetching a model needs it: which commit a revision is, which files that has, with
// their sizes and digests, and their bytes from any offset on. (HTTP API of the hub: /api/models/{repository}/revision,
// /tree with pages by `Link`, /resolve, which redirects to where large files lie.) The environment is that of the hub's
// own programs: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_OFFLINE.
//
// A digest is in the listing: SHA-256 for large files, which `X-Linked-Etag` repeats, and git's own for the others.
// Left out: uploading, data sets, and the transfer by chunks that several files share (Xet); the plain way stays open.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { HubError, TransientHubError } from "./errors.ts";

/** What a file's bytes must have: SHA-256, or SHA-1 of git's object (`blob <size>\0` and the bytes). */
export interface Digest {
  readonly algorithm: "sha256" | "git-sha1";
  readonly hex: string;
}

export interface HubFile {
  /** In the repository, with `/` between its parts. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly digest: Digest;
}

export interface HubListing {
  readonly repository: string;
  /** The commit that all files are of. */
  readonly commit: string;
  readonly files: readonly HubFile[];
}

const ENDPOINT = "https://huggingface.co";
const PAGES_MAX = 100;
const FILES_MAX = 100_000;
const PAGE_BYTES_MAX = 1 << 26;
const PATH_PART = /^[^\\/:*?"<>|\p{Cc}]{1,255}$/u;

export class Hub {
  readonly endpoint: URL;
  readonly #token: string | undefined;
  readonly #isOffline: boolean;

  /** Throws `HubError` for an HF_ENDPOINT that is no address. */
  constructor(environment: NodeJS.ProcessEnv = process.env) {
    const endpoint = environment.HF_ENDPOINT || ENDPOINT;
    if (!URL.canParse(endpoint) || !/^https?:$/.test(new URL(endpoint).protocol)) {
      throw new HubError("HF_ENDPOINT is not an address", { expected: `such as ${ENDPOINT}`, got: endpoint });
    }
    this.endpoint = new URL(endpoint.endsWith("/") ? endpoint : `${endpoint}/`);
    this.#token = readToken(environment);
    this.#isOffline = /^(1|on|yes|true)$/i.test(environment.HF_HUB_OFFLINE ?? "");
  }

  /** The files of a repository at a branch, tag or commit. Throws `HubError`. */
  async list(repository: string, revision = "main", signal?: AbortSignal): Promise<HubListing> {
    const base = new URL(`api/models/${repository}/`, this.endpoint);
    const where = `${repository}, revision ${revision}`;
    const about = new URL(`revision/${encodeURIComponent(revision)}`, base);
    const { sha } = fields((await this.#json(about, where, signal)).value);
    if (typeof sha !== "string" || !/^[0-9a-f]{40,64}$/.test(sha)) throw notTheHub(about, "a commit's sha");
    const files: HubFile[] = [];
    let next: URL | undefined = new URL(`tree/${sha}?recursive=true`, base);
    for (let page = 0; next !== undefined; page++) {
      const { value, link } = await this.#json(next, where, signal);
      if (!Array.isArray(value) || page >= PAGES_MAX || files.length > FILES_MAX)
        throw notTheHub(next, "a list of files");
      for (const entry of value) files.push(...readEntry(next, entry));
      next = this.#following(next, link);
    }
    return { repository, commit: sha, files };
  }

  /**
   * The bytes of a file from an offset on. The status is 206, or 200 where the server gives the whole file instead.
   * Throws `HubError`, `TransientHubError`, and the signal's reason.
   */
  async bytes(
    { repository, commit }: Omit<HubListing, "files">,
    path: string,
    offset: number,
    signal: AbortSignal,
  ): Promise<Response> {
    const name = path.split("/").map(encodeURIComponent).join("/");
    const url = new URL(`${repository}/resolve/${commit}/${name}`, this.endpoint);
    return this.#get(url, `${repository}: ${path}`, signal, offset > 0 ? { range: `bytes=${offset}-` } : {});
  }

  /** The next page of a listing. The token goes to the endpoint only. */
  #following(current: URL, link: string | null): URL | undefined {
    const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(link ?? "")?.[1];
    if (next === undefined) return undefined;
    if (URL.canParse(next, current) && new URL(next, current).origin === this.endpoint.origin) {
      return new URL(next, current);
    }
    throw notTheHub(current, `a next page at ${this.endpoint.origin}`);
  }

  async #json(url: URL, where: string, signal?: AbortSignal): Promise<{ value: unknown; link: string | null }> {
    const response = await this.#get(url, where, signal, {});
    try {
      let text = "";
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        if (text.length > PAGE_BYTES_MAX) throw notTheHub(url, `at most ${PAGE_BYTES_MAX} characters`);
      }
      return { value: JSON.parse(text), link: response.headers.get("link") };
    } catch (error) {
      if (error instanceof HubError) throw error;
      if (error instanceof SyntaxError) throw notTheHub(url, "JSON");
      throw unreachable(url, error, signal);
    }
  }

  // A redirect to another server does not get the token: `fetch` drops Authorization there.
  async #get(url: URL, where: string, signal: AbortSignal | undefined, headers: Record<string, string>) {
    if (this.#isOffline) {
      throw new HubError("HF_HUB_OFFLINE forbids to ask the hub", {
        where,
        hint: "unset it, or use what `fidelity ls` shows",
      });
    }
    const authorization: Record<string, string> =
      this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
    let response: Response;
    try {
      response = await fetch(url, {
        signal,
        headers: { "user-agent": "fidelity", "accept-encoding": "identity", ...authorization, ...headers },
      });
    } catch (error) {
      throw unreachable(url, error, signal);
    }
    if (response.status === 200 || response.status === 206) return response;
    await response.body?.cancel();
    throw refusal(response, where, this.#token !== undefined);
  }
}

function readToken(environment: NodeJS.ProcessEnv): string | undefined {
  if (environment.HF_TOKEN) return environment.HF_TOKEN.trim();
  const home = environment.HF_HOME || join(environment.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  try {
    return readFileSync(environment.HF_TOKEN_PATH || join(home, "token"), "utf8").trim() || undefined;
  } catch {
    return undefined; // nobody logged in
  }
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** One entry of a listing; folders have no bytes. */
function readEntry(url: URL, entry: unknown): HubFile[] {
  const { type, path, size, oid, lfs } = fields(entry);
  if (type === "directory") return [];
  const large = fields(lfs);
  const digest: Digest =
    lfs === undefined || lfs === null
      ? { algorithm: "git-sha1", hex: String(oid) }
      : { algorithm: "sha256", hex: String(large.oid ?? large.sha256) };
  const sizeBytes = large.size ?? size;
  const isWhole = typeof sizeBytes === "number" && Number.isSafeInteger(sizeBytes) && sizeBytes >= 0;
  const isDigest = (digest.algorithm === "sha256" ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(digest.hex);
  if (typeof path !== "string" || !isWhole || !isDigest) throw notTheHub(url, "files with path, size and digest");
  // What is not a plain relative path cannot be part of a model, and never reaches the file system.
  const isPlain = path.split("/").every((part) => PATH_PART.test(part) && part !== "." && part !== "..");
  return isPlain ? [{ path, sizeBytes, digest }] : [];
}

function notTheHub(url: URL, expected: string): HubError {
  return new HubError("the server does not answer as the Hugging Face hub does", {
    where: url.href,
    expected,
    hint: "check HF_ENDPOINT, and whether a proxy answers in its place",
  });
}

/** What `fetch` throws says little; its cause has the system's code. */
function unreachable(url: URL, error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && "code" in cause ? `${String(cause.code)}: ` : "";
  return new TransientHubError(`${url.host} cannot be reached`, {
    where: url.href,
    got: code + (cause instanceof Error ? cause.message : String(cause)),
    hint: "check the network (behind a proxy: HTTPS_PROXY and NODE_USE_ENV_PROXY=1); `fidelity ls` shows what is here",
    cause: error,
  });
}

function refusal(response: Response, where: string, hasToken: boolean): HubError {
  const { status } = response;
  const got = `HTTP ${status} ${response.headers.get("x-error-message") ?? response.statusText}`.trim();
  if (status === 401 || status === 403) {
    return new HubError("the hub does not give this model out: it is private, gated, or does not exist", {
      where,
      got,
      hint: hasToken
        ? "check the name; ask for access on the model's page; check that HF_TOKEN may read it"
        : "check the name; for a private or gated model set HF_TOKEN to a token of huggingface.co/settings/tokens",
    });
  }
  if (status === 404) {
    const what = response.headers.get("x-error-code") === "RevisionNotFound" ? "revision" : "model or file";
    return new HubError(`the hub has no such ${what}`, { where, got, hint: "check the name on huggingface.co" });
  }
  if (status === 416) return new TransientHubError("the server has fewer bytes than it announced", { where, got });
  if (status === 408 || status === 429 || status >= 500) {
    return new TransientHubError("the hub is busy or out of order", { where, got, hint: "try again in a few minutes" });
  }
  return new HubError("the hub refuses the request", { where, got, hint: "check HF_ENDPOINT" });
}
