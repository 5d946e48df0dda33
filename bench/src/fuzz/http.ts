// Servers that lie: containers, damaged or not, are read over HTTP ranges from a server whose answers have the wrong
// status, range, size, body, validator, or none of them wrong. What is read must be what lies in the file, of one of
// its versions; everything else must be a `SourceError` or a `ContainerError`, and nothing may wait for ever.

import { isDeepStrictEqual } from "node:util";
import { ContainerError, ContainerReader, crc32c, openHttpSource, SourceError, tensorBytes } from "@fidelity/barewire";
import { damage, seedFiles } from "./container-files.ts";
import { mutateBytes } from "./mutate.ts";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const SIZES = [0, 1, 64, 4096, 2 ** 20, 2 ** 31, 2 ** 40, 2 ** 53];
const STATUS = [200, 200, 204, 301, 404, 416, 429, 500, 503];
const RANGES = ["", "bytes */0", "bytes 0-0/*", "bytes -1-5/10", "items 0-1/2", "bytes 0-99999999999999999999/5"];

/** Containers over HTTP, which are read or refused. */
export const http: FuzzTarget = {
  name: "http",
  about: "servers that lie are found out by SourceError or ContainerError",
  open(seed) {
    const files = seedFiles();
    return {
      async run(index) {
        const random = randomFor(seed, index);
        const file = pick(random, files);
        const bytes = random(2) === 0 ? file.bytes : damage(file, pick(random, files), random);
        try {
          return await runCase(bytes, random);
        } catch (error) {
          if (error instanceof SourceError || error instanceof ContainerError) return `refused: ${error.summary}`;
          throw new Error(`a file of ${bytes.length} bytes`, { cause: error });
        }
      },
    };
  },
};

async function runCase(bytes: Uint8Array, random: Random): Promise<string> {
  const source = await openHttpSource("http://fuzz.invalid/model", {
    fetch: lyingFetch(bytes, random),
    firstBytes: 1 + random(16_384),
    requestBytesMax: 1 + random(8192),
    gapBytesMax: random(200),
    attemptsMax: 1 + random(3),
    retryDelayMs: 0,
    sizeBytesMax: pick(random, [2 ** 16, 2 ** 40]),
  });
  const reader = await ContainerReader.open(source);
  const read = await reader.read(reader.header.tensors.map(({ name }) => name));
  // A root that did not come through makes the version before it the newest, so any header of the file may be right.
  const { headerOffset, headerBytes, headerChecksum } = reader.header.root;
  if (crc32c(bytes.subarray(headerOffset, headerOffset + headerBytes)) !== headerChecksum) {
    throw new Error("a header was read that is not in the file");
  }
  for (const entry of reader.header.tensors) {
    const found = new Uint8Array(read.get(entry.name)!);
    if (!isDeepStrictEqual(found, new Uint8Array(tensorBytes(bytes, entry)))) throw new Error("a tensor is another");
  }
  return "read";
}

function lyingFetch(bytes: Uint8Array, random: Random): typeof fetch {
  const honesty = 1 + random(40);
  return async (_address, init) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(new Headers(init?.headers).get("range") ?? "")!;
    const isLie = (): boolean => random(honesty) === 0;
    const near = (value: number): number => value + random(5) - 2;
    const first = Number(from);
    const last = Math.min(Number(to), bytes.length - 1);
    const told = {
      first: isLie() ? near(first) : first,
      last: isLie() ? near(last) : last,
      total: isLie() ? pick(random, [near(bytes.length), pick(random, SIZES)]) : bytes.length,
    };
    if (isLie()) throw new TypeError("fetch failed");
    const status = isLie() ? pick(random, STATUS) : 206;
    const headers = new Headers({ etag: isLie() ? `"${random(3)}"` : '"1"' });
    headers.set("content-range", isLie() ? pick(random, RANGES) : `bytes ${told.first}-${told.last}/${told.total}`);
    if (isLie()) headers.set("content-encoding", "gzip");
    if (isLie()) headers.set("content-length", `${pick(random, SIZES)}`);
    const whole = bytes.slice(status === 200 ? 0 : first, status === 200 ? bytes.length : last + 1);
    const body = isLie() ? mutateBytes(whole, random, bytes) : whole;
    return new Response(status === 204 ? null : pieces(body, isLie(), random), { status, headers });
  };
}

// A body in one to many pieces, that breaks off where `isBroken`.
function pieces(body: Uint8Array<ArrayBuffer>, isBroken: boolean, random: Random): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (isBroken && random(3) === 0) return controller.error(new TypeError("terminated"));
      if (at >= body.length) return controller.close();
      const size = 1 + random(Math.max(4096, body.length));
      controller.enqueue(body.slice(at, at + size));
      at += size;
    },
  });
}
