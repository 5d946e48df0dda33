import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import fc from "fast-check";

import { ChecksumError, MissingVersionError, NotAContainerError, TruncatedContainerError } from "./errors.ts";
import { openHttpSource } from "./http.ts";
import type { HttpSourceOptions } from "./http.ts";
import { planRequests, scatter } from "./ranges.ts";
import { ContainerReader } from "./reader.ts";
import {
  ChangedSourceError,
  HttpStatusError,
  NetworkError,
  RangesIgnoredError,
  ShortBodyError,
  SourceError,
  SourceTooLargeError,
  WrongRangeError,
} from "./source-errors.ts";
import { containerToBytes } from "./write.ts";

const tensors = Array.from({ length: 6 }, (_, i) => {
  const bytes = Uint8Array.from({ length: 40_000 + i }, (__, k) => (k * 31 + i * 7) >>> 2);
  return { name: `t${i}`, component: i < 3 ? "front" : "back", dtype: "u8", shape: [bytes.length], bytes };
});
const file = containerToBytes({
  config: { width: 3 },
  components: ["front", "back"].map((id) => ({ id, kind: "k" })),
  tensors,
});

/** Each test's own behaviour; what a well-behaved server does is `serveRange`. */
let handle: (request: IncomingMessage, response: ServerResponse) => void = serveRange;
let ranges: string[] = [];
const server = createServer((request, response) => {
  ranges.push(request.headers.range ?? "none");
  handle(request, response);
});
let address: string;

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.fidelity?token=secret`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

function wantedOf(request: IncomingMessage, sizeBytes = file.length): { first: number; last: number } {
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!;
  return { first: Number(first), last: Math.min(Number(last), sizeBytes - 1) };
}

function serveRange(request: IncomingMessage, response: ServerResponse, bytes = file, etag = '"one"'): void {
  const { first, last } = wantedOf(request, bytes.length);
  const condition = request.headers["if-range"];
  if (condition !== undefined && condition !== etag) {
    response.writeHead(200, { etag }).end(bytes);
    return;
  }
  response.writeHead(206, { "content-range": `bytes ${first}-${last}/${bytes.length}`, etag });
  response.end(bytes.subarray(first, last + 1));
}

const quick: HttpSourceOptions = { retryDelayMs: 0, firstBytes: 12_288, silenceMsMax: 20_000 };

async function opened(how = serveRange as typeof handle, options: HttpSourceOptions = {}): Promise<ContainerReader> {
  handle = how;
  ranges = [];
  return ContainerReader.open(await openHttpSource(address, { ...quick, ...options }));
}

/** Serves well up to the request of this number, from 0, and differently from there on. */
function from(number: number, differently: typeof handle): typeof handle {
  return (request, response) => (ranges.length <= number ? serveRange : differently)(request, response);
}

const first = tensors[0];

test("the header takes one request, and a component the requests for its ranges", async () => {
  const reader = await opened();
  assert.deepEqual(reader.header.config, { width: 3 });
  assert.deepEqual(ranges, ["bytes=0-12287"]);
  const found = await reader.component("back");
  assert.deepEqual([...found.keys()], ["t3", "t4", "t5"]);
  for (const { name, bytes } of tensors.slice(3)) assert.deepEqual(found.get(name), bytes);
  const { offset } = reader.entry("t3");
  assert.deepEqual(ranges.slice(1), [`bytes=${offset}-${file.length - 1}`], "neighbours are fetched together");
});

test("a header beyond the first bytes takes two more requests", async () => {
  await opened(serveRange, { firstBytes: 16 });
  assert.deepEqual(ranges.length, 4); // prefix, rest of root A, root B, header
  const large = await opened(serveRange, { firstBytes: 8192 });
  assert.equal(ranges.length, 2);
  await assert.rejects(ContainerReader.open(large.source, { version: 2 }), MissingVersionError);
  assert.deepEqual(
    (await large.versions()).map(({ version }) => version),
    [1],
  );
});

test("ranges that are far apart or long are fetched by several requests, a few at a time", async () => {
  // Answers are held back until as many requests are there as may be.
  const held: (() => void)[] = [];
  let left = 4 + 5 + 5; // requests of at most 10,000 bytes for t0, t2 and t5
  let heldMax = 0;
  const holding = from(1, (request, response) => {
    held.push(() => serveRange(request, response));
    heldMax = Math.max(heldMax, held.length);
    if (held.length < Math.min(3, left)) return;
    left -= held.length;
    for (const answer of held.splice(0)) answer();
  });
  const reader = await opened(holding, { requestBytesMax: 10_000, requestsMax: 3, gapBytesMax: 100 });
  const seen: [number, number][] = [];
  const into = new Map(tensors.map(({ name, bytes }) => [name, new Uint8Array(bytes.length)]));
  const names = ["t5", "t0", "t2"];
  const found = await reader.read(names, {
    into: ({ name }) => into.get(name)!,
    onProgress: (doneBytes, totalBytes) => void seen.push([doneBytes, totalBytes]),
  });
  for (const { name, bytes } of tensors.filter((entry) => names.includes(entry.name))) {
    assert.equal(found.get(name), into.get(name));
    assert.deepEqual(found.get(name), bytes);
  }
  assert.deepEqual([ranges.length, left, heldMax], [1 + 14, 0, 3]);
  assert.deepEqual(seen.at(-1), [120_007, 120_007]);
  assert.ok(seen.every(([doneBytes], i) => i === 0 || doneBytes > seen[i - 1][0]));
});

test("an answer that breaks off is taken up where it stopped", async () => {
  let broken = 0;
  const reader = await opened(
    from(1, (request, response) => {
      if (broken++ >= 2) return serveRange(request, response);
      const { first: begin, last } = wantedOf(request);
      const range = `bytes ${begin}-${last}/${file.length}`;
      response.writeHead(206, { "content-range": range, "content-length": last - begin + 1 });
      response.write(file.subarray(begin, begin + 1000), () => response.destroy());
    }),
  );
  assert.deepEqual(await reader.tensor("t0"), first.bytes);
  const starts = ranges.map((range) => Number(/\d+/.exec(range)));
  assert.equal(starts.length, 4);
  assert.ok(starts[1] < starts[2] && starts[2] < starts[3], ranges.join());
});

test("a server under load is asked again, and one that says no is not", async () => {
  let left = 2;
  const busy = (request: IncomingMessage, response: ServerResponse): void => {
    if (left-- > 0) response.writeHead(503).end();
    else serveRange(request, response);
  };
  await opened(busy);
  assert.equal(ranges.length, 3);
  left = Infinity;
  await assert.rejects(opened(busy), (error) => error instanceof HttpStatusError && error.status === 503);
  assert.equal(ranges.length, 4);
  await assert.rejects(
    opened((_, response) => void response.writeHead(404).end("not here")),
    (error) => error instanceof HttpStatusError && error.status === 404 && !error.message.includes("secret"),
  );
  assert.equal(ranges.length, 1);
});

test("a server that ignores ranges may send a small file whole", async () => {
  const whole = (_: IncomingMessage, response: ServerResponse): void => void response.writeHead(200).end(file);
  const reader = await opened(whole);
  assert.deepEqual(await reader.tensor("t4"), tensors[4].bytes);
  assert.equal(ranges.length, 1);
  await assert.rejects(opened(whole, { wholeBytesMax: 1000 }), RangesIgnoredError);
  const chunked = (_: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(200, { "transfer-encoding": "chunked" });
    response.write(file.subarray(0, 5000));
  };
  await assert.rejects(opened(chunked, { wholeBytesMax: 1000 }), RangesIgnoredError); // it never ends
});

test("lying answers are refused by name", async () => {
  const answering = (headers: Record<string, string>, body: Uint8Array) =>
    from(1, (_, response) => void response.writeHead(206, headers).end(body));
  const { offset, sizeBytes } = (await opened()).entry("t0");
  const size = file.length;
  const right = `bytes ${offset}-${offset + sizeBytes - 1}/${size}`;
  const cases: [headers: Record<string, string>, bodyBytes: number, kind: new (...rest: never[]) => Error][] = [
    [{}, sizeBytes, WrongRangeError],
    [{ "content-range": `bytes ${offset + 1}-${offset + sizeBytes}/${size}` }, sizeBytes, WrongRangeError],
    [{ "content-range": `bytes ${offset}-${offset + 99}/${size}` }, 100, WrongRangeError],
    [{ "content-range": `bytes ${offset}-${offset + sizeBytes - 1}/*` }, sizeBytes, WrongRangeError],
    [{ "content-range": right, "content-encoding": "x-unknown" }, sizeBytes, WrongRangeError],
    [{ "content-range": right }, sizeBytes + 1, WrongRangeError],
    [{ "content-range": right }, sizeBytes, ChecksumError],
    [{ "content-range": right.replace(/\d+$/, `${size + 1}`) }, sizeBytes, ChangedSourceError],
  ];
  for (const [headers, bodyBytes, kind] of cases) {
    const reader = await opened(answering(headers, new Uint8Array(bodyBytes)), { firstBytes: offset });
    await assert.rejects(reader.tensor("t0"), kind, JSON.stringify(headers));
  }
  const short = from(1, (request, response) => {
    const { first: begin, last } = wantedOf(request);
    response.writeHead(206, { "content-range": `bytes ${begin}-${last}/${size}` });
    response.end(file.subarray(begin, begin + 10));
  });
  await assert.rejects((await opened(short)).tensor("t0"), ShortBodyError);
  assert.equal(ranges.length, 5, "it is asked four times");
});

test("a file that changes on the server is noticed", async () => {
  const other = file.slice();
  other[other.length - 1] ^= 1;
  const changes: (typeof handle)[] = [
    (request, response) => serveRange(request, response, other, '"two"'),
    (_, response) => void response.writeHead(200, { etag: '"two"' }).end(other),
    (_, response) => void response.writeHead(200).end(other),
    (_, response) => void response.writeHead(416, { "content-range": "bytes */10" }).end(),
    (request, response) => {
      const { first: begin, last } = wantedOf(request);
      response.writeHead(206, { "content-range": `bytes ${begin}-${last}/${file.length}`, etag: '"two"' });
      response.end(other.subarray(begin, last + 1));
    },
  ];
  for (const [i, change] of changes.entries()) {
    const reader = await opened(from(1, change));
    await assert.rejects(reader.tensor("t5"), ChangedSourceError, `${i}`);
  }
  const same = await opened(from(1, (_, response) => void response.writeHead(200, { etag: '"one"' }).end(file)));
  await assert.rejects(same.tensor("t5"), RangesIgnoredError);
});

test("sizes beyond the limit, other files and damage are refused by name", async () => {
  await assert.rejects(opened(serveRange, { sizeBytesMax: 1000 }), SourceTooLargeError);
  const serving = (bytes: Uint8Array<ArrayBuffer>) => (request: IncomingMessage, response: ServerResponse) =>
    serveRange(request, response, bytes);
  await assert.rejects(opened(serving(new Uint8Array(20_000).fill(65))), NotAContainerError);
  await assert.rejects(
    opened(serving(file.slice(0, file.length - 1))),
    (error) => error instanceof TruncatedContainerError && /127\.0\.0\.1:\d+\/model\.fidelity,/.test(error.message),
  );
  await assert.rejects(
    opened((_, response) => void response.writeHead(416, { "content-range": "bytes */0" }).end()),
    TruncatedContainerError,
  );
  const damaged = file.slice();
  damaged[damaged.length - 1] ^= 1;
  const reader = await opened(serving(damaged));
  await assert.rejects(reader.tensor("t5"), (error) => error instanceof ChecksumError && error.tensor === "t5");
  await reader.verify({ names: ["t0", "t1"] });
  await assert.rejects(reader.verify(), ChecksumError);
  assert.ok(await reader.tensor("t5", { verify: false }));
  await assert.rejects(openHttpSource("file:///etc/passwd"), SourceError);
  await assert.rejects(openHttpSource("nonsense"), SourceError);
  await assert.rejects(openHttpSource(address, { requestsMax: 0 }), /requestsMax/);
  await assert.rejects(openHttpSource(address, { requestBytesMax: 0.5 }), /requestBytesMax/);
});

test("no server, a silent server and a signal end the reading", async () => {
  const closed = createServer();
  closed.listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, "close");
  await assert.rejects(openHttpSource(`http://127.0.0.1:${port}/`, quick), NetworkError);

  const silent = (): void => undefined;
  await assert.rejects(
    opened(silent, { silenceMsMax: 20, attemptsMax: 2 }),
    (error) => error instanceof NetworkError && /nothing for 20 ms/.test(error.message),
  );

  const controller = new AbortController();
  const stopped = new Error("stopped");
  const reader = await opened(
    from(1, () => controller.abort(stopped)),
    { requestBytesMax: 10_000 },
  );
  await assert.rejects(reader.component("front", { signal: controller.signal }), stopped);
  await assert.rejects(openHttpSource(address, { ...quick, signal: controller.signal }), stopped);
});

test("any set of ranges is fetched by requests that have each of its bytes once", () => {
  const range = fc.record({ offset: fc.nat(2000), sizeBytes: fc.nat(300) });
  const limits = fc.record({ gapBytesMax: fc.nat(100), requestBytesMax: fc.integer({ min: 1, max: 400 }) });
  const source = Uint8Array.from({ length: 2300 }, (_, i) => i * 7);
  const property = fc.property(fc.array(range, { maxLength: 8 }), limits, (wanted, limit) => {
    const targets = wanted.map(({ offset, sizeBytes }) => ({ offset, into: new Uint8Array(sizeBytes) }));
    const requests = planRequests(targets, limit);
    let copiedBytes = 0;
    for (const [i, { offset, sizeBytes, targets: own }] of requests.entries()) {
      assert.ok(sizeBytes > 0 && sizeBytes <= limit.requestBytesMax);
      if (i > 0) assert.ok(offset >= requests[i - 1].offset + requests[i - 1].sizeBytes);
      copiedBytes += scatter(own, offset, source.subarray(offset, offset + sizeBytes));
    }
    assert.equal(
      copiedBytes,
      wanted.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    );
    for (const { offset, into } of targets) assert.deepEqual(into, source.slice(offset, offset + into.length));
  });
  fc.assert(property, { numRuns: 500 });
});
