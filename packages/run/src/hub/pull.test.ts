// Fetching from a hub on this machine, with all that may go wrong on the way.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { FileError } from "@fidelity/barewire/node";
import { ChecksumError, HubError, ModelStoreError, TransientHubError } from "./errors.ts";
import { Hub } from "./hub.node.ts";
import { ModelStore } from "./model-store.node.ts";
import { pullModel } from "./pull.node.ts";
import type { PullOptions, PullProgress } from "./pull.node.ts";
import { TestHub } from "./testing.node.ts";

const base = mkdtempSync(join(tmpdir(), "fidelity-hub-"));
const server = await TestHub.start();
after(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(base, { recursive: true });
});

const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7 + (index >> 8)) & 255);
const text = (content: string): Uint8Array => new TextEncoder().encode(content);
let store: ModelStore;
beforeEach(() => {
  store = new ModelStore(mkdtempSync(join(base, "store ")));
  server.mishaps.length = 0;
  server.requests.length = 0;
  server.announced.clear();
  server.add("me/gguf", { "m-Q8_0.gguf": WEIGHTS, "README.md": text("read me"), "m-Q4_0.gguf": WEIGHTS.slice(9) });
});

function pull(name: string, options: Partial<PullOptions> = {}) {
  const hub = new Hub({ HF_ENDPOINT: server.endpoint, HF_HOME: base });
  const onProgress = (progress: PullProgress): void => {
    options.onProgress?.(progress);
    server.received(progress.doneBytes);
  };
  const signal = new AbortController().signal;
  return pullModel(name, { store, hub, signal, delayMs: 1, attempts: 3, ...options, onProgress });
}

const folderOf = (name: string): readonly string[] => readdirSync(store.folderOf(name)).sort();

describe("pull", () => {
  test("one file, whole, with all of its bytes counted", async () => {
    const counts: number[] = [];
    const model = await pull("me/gguf:Q8_0", { onProgress: ({ doneBytes }) => counts.push(doneBytes) });
    assert.ok(readFileSync(model.path).equals(WEIGHTS));
    assert.ok(model.path.endsWith("m-Q8_0.gguf"));
    assert.equal(counts[0], 0);
    assert.equal(counts.at(-1), WEIGHTS.length);
    assert.deepEqual(
      store.list().map(({ name }) => name),
      ["me/gguf:Q8_0"],
    );
    assert.equal(folderOf("me/gguf:Q8_0").length, 2, "the manifest and the commit");
    server.requests.length = 0;
    assert.deepEqual(await pull("me/gguf:Q8_0"), model);
    assert.deepEqual(server.requests, [], "nothing is fetched again");
  });

  test("a folder over several pages of the listing, small files with git's digest", async () => {
    const files = { "config.json": text("{}"), "tokenizer.json": text("[1]"), "model.safetensors": WEIGHTS };
    server.add("me/folder", { ...files, "README.md": text("x") });
    const model = await pull("me/folder");
    assert.deepEqual(readdirSync(model.path).sort(), Object.keys(files).sort());
    assert.equal(model.sizeBytes, WEIGHTS.length + 5);
  });

  test("a server that dies in the middle is asked for the rest", async () => {
    server.mishaps.push(
      { kind: "dies", after: 100_000 },
      { kind: "status", status: 503 },
      { kind: "dies", after: 50_000 },
    );
    const retries: string[] = [];
    const model = await pull("me/gguf:Q8_0", { attempts: 4, onRetry: ({ name }) => retries.push(name) });
    assert.ok(readFileSync(model.path).equals(WEIGHTS));
    assert.equal(retries.length, 3);
    const starts = server.requests.map((request) => Number(request.split(" ")[1]));
    assert.equal(starts.length, 4);
    assert.ok(starts[1] > 0 && starts[3] > starts[1] && starts[3] < WEIGHTS.length, starts.join(" "));
  });

  test("a file of several blocks is whole after a death within one of them, and is not fetched twice", async () => {
    const large = Uint8Array.from({ length: 5 * 2 ** 20 + 3 }, (_, index) => (index * 7919) >>> 7);
    server.add("me/gguf", { "m-Q8_0.gguf": large });
    server.mishaps.push({ kind: "dies", after: 3_000_001 });
    const model = await pull("me/gguf:Q8_0");
    assert.ok(readFileSync(model.path).equals(large));
    assert.deepEqual(server.requests, ["m-Q8_0.gguf 0", "m-Q8_0.gguf 3000001"]);
  });

  test("attempts are bounded, the part stays, and another pull goes on from it", async () => {
    for (let i = 0; i < 3; i++) server.mishaps.push({ kind: "dies", after: 40_000 });
    await assert.rejects(
      pull("me/gguf:Q8_0"),
      (error) => error instanceof TransientHubError && /run the same/.test(error.message),
    );
    assert.deepEqual(store.list(), []);
    server.requests.length = 0;
    const model = await pull("me/gguf:Q8_0");
    assert.ok(readFileSync(model.path).equals(WEIGHTS));
    assert.ok(Number(server.requests[0].split(" ")[1]) > 0, server.requests[0]);
  });

  test("a repository that changes in between gives the new file, and no mixture", async () => {
    for (let i = 0; i < 3; i++) server.mishaps.push({ kind: "dies", after: 40_000 });
    await assert.rejects(pull("me/gguf:Q8_0"), TransientHubError);
    const changed = WEIGHTS.map((byte) => 255 - byte);
    server.add("me/gguf", { "m-Q8_0.gguf": changed });
    server.requests.length = 0;
    const model = await pull("me/gguf:Q8_0");
    assert.ok(readFileSync(model.path).equals(changed));
    assert.deepEqual(server.requests, ["m-Q8_0.gguf 0"]);
    assert.equal(folderOf("me/gguf:Q8_0").length, 2, "the older part is gone");
  });

  test("a new commit fetches what changed and takes the rest over", async () => {
    const files = { "config.json": text("{}"), "model.safetensors": WEIGHTS };
    server.add("me/folder", files);
    const first = await pull("me/folder");
    server.requests.length = 0;
    server.add("me/folder", { ...files, "config.json": text('{"a":1}') });
    const second = await pull("me/folder");
    assert.deepEqual(server.requests, ["config.json 0"]);
    assert.notEqual(second.commit, first.commit);
    assert.equal(statSync(first.path, { throwIfNoEntry: false }), undefined, "the older commit is gone");
    assert.ok(readFileSync(join(second.path, "model.safetensors")).equals(WEIGHTS));
  });

  test("a server without ranges, or with another range, gives no wrong file", async () => {
    for (const kind of ["no-ranges", "other-range"] as const) {
      store = new ModelStore(mkdtempSync(join(base, "store ")));
      server.mishaps.push({ kind: "dies", after: 100_000 }, { kind });
      assert.ok(readFileSync((await pull("me/gguf:Q8_0")).path).equals(WEIGHTS), kind);
    }
  });

  test("too little is asked for again, too much is refused, other bytes are tried once more", async () => {
    server.mishaps.push({ kind: "too-little" });
    assert.ok(readFileSync((await pull("me/gguf:Q8_0")).path).equals(WEIGHTS));
    store.remove("me/gguf:Q8_0");
    server.mishaps.push({ kind: "too-much" });
    await assert.rejects(
      pull("me/gguf:Q8_0"),
      (error) => error instanceof ChecksumError && /more bytes/.test(error.message),
    );
    server.mishaps.push({ kind: "other-bytes" });
    assert.ok(readFileSync((await pull("me/gguf:Q8_0")).path).equals(WEIGHTS));
    store.remove("me/gguf:Q8_0");
    server.mishaps.push({ kind: "other-bytes" }, { kind: "other-bytes" });
    await assert.rejects(
      pull("me/gguf:Q8_0"),
      (error) => error instanceof ChecksumError && /sha256/.test(error.message),
    );
    assert.deepEqual(store.list(), []);
  });

  test("a part that was damaged on the disk is found out", async () => {
    for (let i = 0; i < 3; i++) server.mishaps.push({ kind: "dies", after: 40_000 });
    await assert.rejects(pull("me/gguf:Q8_0"), TransientHubError);
    const parts = join(store.folderOf("me/gguf:Q8_0"), "parts");
    for (const part of readdirSync(parts)) writeFileSync(join(parts, part), "not the beginning");
    assert.ok(readFileSync((await pull("me/gguf:Q8_0")).path).equals(WEIGHTS));
  });

  test("a connection that falls silent is given up, and taken up again", async () => {
    server.mishaps.push({ kind: "silent", after: 1000 });
    assert.ok(readFileSync((await pull("me/gguf:Q8_0", { stallMs: 500, attempts: 20 })).path).equals(WEIGHTS));
  });

  test("an interrupt ends it with its reason, and keeps the part", async () => {
    server.mishaps.push({ kind: "silent", after: 100_000 });
    const controller = new AbortController();
    const reason = new Error("enough");
    const onProgress = ({ doneBytes }: { doneBytes: number }): void => {
      if (doneBytes >= 100_000) controller.abort(reason);
    };
    await assert.rejects(pull("me/gguf:Q8_0", { signal: controller.signal, onProgress }), reason);
    server.requests.length = 0;
    await pull("me/gguf:Q8_0");
    assert.deepEqual(server.requests, ["m-Q8_0.gguf 100000"]);
  });

  test("the token goes to the hub and not to where it redirects", async () => {
    server.gated.set("me/gated", "hf_secret");
    server.add("me/gated", { "m.gguf": WEIGHTS });
    await assert.rejects(pull("me/gated"), (error) => error instanceof HubError && /HF_TOKEN/.test(error.message));
    const hub = new Hub({ HF_ENDPOINT: server.endpoint, HF_TOKEN: "hf_secret", HF_HOME: base });
    await pull("me/gated", { hub });
    assert.equal(server.tokenLeaked, false);
    writeFileSync(join(base, "token"), "hf_secret\n"); // where `hf auth login` puts it
    try {
      await pull("me/gated", { store: new ModelStore(join(base, "other")) });
    } finally {
      rmSync(join(base, "token"));
    }
  });

  test("what cannot be had is refused in words", async () => {
    await assert.rejects(pull("me/nothing"), /no such model or file[\s\S]*me\/nothing/);
    await assert.rejects(pull("me/gguf", { revision: "v9" }), /no such revision/);
    await assert.rejects(pull("me/gguf:Q5_0"), /Q8_0, Q4_0/);
    server.announced.set("m-Q8_0.gguf", 2 ** 52);
    await assert.rejects(pull("me/gguf:Q8_0"), (error) => error instanceof FileError && error.code === "ENOSPC");
    assert.deepEqual(server.requests, []);
    const offline = new Hub({ HF_ENDPOINT: server.endpoint, HF_HUB_OFFLINE: "1", HF_HOME: base });
    await assert.rejects(pull("me/gguf", { hub: offline }), /HF_HUB_OFFLINE/);
    await assert.rejects(
      pull("me/gguf", { hub: new Hub({ HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: base }) }),
      TransientHubError,
    );
    assert.throws(() => new Hub({ HF_ENDPOINT: "nowhere" }), /HF_ENDPOINT/);
  });

  test("paths that leave the folder are no files of a model", async () => {
    server.add("me/bad", { "../m-Q8_0.gguf": WEIGHTS, "/etc/m.gguf": WEIGHTS, "a/../m.gguf": WEIGHTS });
    await assert.rejects(pull("me/bad"), /empty repository/);
  });
});

describe("the store", () => {
  test("models are found, copied without their bytes, and removed", async () => {
    const model = await pull("me/gguf:Q8_0");
    const copy = store.copy("me/gguf:Q8_0", "mine");
    assert.equal(statSync(copy.path).ino, statSync(model.path).ino);
    assert.equal(copy.repository, "me/gguf");
    assert.deepEqual(
      store.list().map(({ name }) => name),
      ["me/gguf:Q8_0", "mine"],
    );
    assert.throws(() => store.copy("me/gguf:Q8_0", "mine"), /already/);
    assert.throws(() => store.copy("nobody", "x"), ModelStoreError);
    assert.throws(() => store.copy("mine", "../x"), ModelStoreError);
    store.remove("me/gguf:Q8_0");
    assert.ok(readFileSync(copy.path).equals(WEIGHTS));
    assert.throws(() => store.remove("me/gguf:Q8_0"), /expected: mine/);
    assert.throws(() => store.remove(".."), ModelStoreError);
  });

  test("a model that lacks bytes is not in the store, and a pull mends it", async () => {
    const model = await pull("me/gguf:Q8_0");
    truncateSync(model.path, 10);
    assert.equal(store.find("me/gguf:Q8_0"), undefined);
    assert.ok(readFileSync((await pull("me/gguf:Q8_0")).path).equals(WEIGHTS));
    writeFileSync(join(store.folderOf("me/gguf:Q8_0"), "fidelity-model.json"), "{");
    assert.deepEqual(store.list(), []);
  });
});
