// What show draws of each kind of file, and that it reads headers only.

import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { readHeader } from "@fidelity/barewire";
import { appendContainer } from "@fidelity/barewire/node";
import { ggufArray } from "@fidelity/formats";
import type { GgufValue } from "@fidelity/formats";
import { writeGgufFile, writeSafetensorsFile } from "@fidelity/formats/node";
import { fidelity, Scratch, SMALL_TEXT, TINY, writeTinyLlama2c } from "./testing.ts";

const scratch = new Scratch();
after(() => scratch[Symbol.dispose]());
const run = scratch.at("run");

before(async () => {
  const text = scratch.write("text.txt", SMALL_TEXT);
  const { code, stderr } = await fidelity("train", "--data", text, "--out", run, "--steps", "2", ...TINY);
  assert.equal(code, 0, stderr);
});

interface Description {
  readonly format: string;
  readonly fileSizeBytes: number;
  readonly architecture?: { readonly name: string };
  readonly components: readonly { id: string; elements: number; tensors: readonly { name: string; dtype: string }[] }[];
  readonly totals: { readonly tensors: number; readonly elements: number; readonly sizeBytes: number };
}

async function described(path: string): Promise<Description> {
  const { code, stdout, stderr } = await fidelity("show", path, "--json");
  assert.deepEqual([code, stderr], [0, ""]);
  return JSON.parse(stdout);
}

describe("show", { concurrency: 2 }, () => {
  test("a model: packed tensors under their components", async () => {
    const description = await described(run);
    assert.equal(description.architecture?.name, "matmul-free");
    assert.deepEqual(
      description.components.map(({ id }) => id),
      ["embedding", "lowerBounds", "blocks.0", "finalNorm", "head"],
    );
    const block = description.components[2];
    assert.ok(block.tensors.some(({ name, dtype }) => name === "blocks.0.mixer.forget.weight" && dtype === "ternary"));
    assert.equal(
      description.totals.elements,
      description.components.reduce((sum, { elements }) => sum + elements, 0),
    );
    const { stdout } = await fidelity("show", "--model", run);
    assert.match(stdout, /^\|-- blocks\.0 +blocks +10 tensors/m);
    assert.match(stdout, /^\|   \|-- mixer\.forget\.weight +ternary, ternary2x16 +\[16, 16\] +256 +\d+ B/m);
    assert.match(stdout, /^model\.dim +16$/m);
    assert.match(stdout, /\nNext:\n {2}fidelity generate .*\n$/, "no program of others has such models");
  });

  test("a checkpoint: the optimiser's tensors as well, all float32", async () => {
    const [checkpoint, model] = [await described(`${run}/checkpoint.fid`), await described(run)];
    assert.equal(checkpoint.totals.tensors, 3 * model.totals.tensors);
    assert.equal(checkpoint.totals.elements, 3 * model.totals.elements);
    assert.ok(checkpoint.components.flatMap(({ tensors }) => tensors).every(({ dtype }) => dtype === "f32"));
  });

  test("a llama2.c file: counted off by its header", async () => {
    const { model } = writeTinyLlama2c(scratch);
    const description = await described(model);
    assert.equal(description.architecture?.name, "llama");
    assert.equal(description.totals.tensors, 2 * 9 + 2);
    assert.equal(description.fileSizeBytes, readFileSync(model).length);
  });

  test("GGUF and safetensors files: types and sums, a tree by the numbers in names", async () => {
    const tensors = [
      { name: "model.layers.0.q.weight", dtype: "f32", shape: [2, 32], bytes: () => new Uint8Array(256) },
      { name: "model.layers.0.k.weight", dtype: "f16", shape: [32], bytes: () => new Uint8Array(64) },
      { name: "model.norm.weight", dtype: "f32", shape: [], bytes: () => new Uint8Array(4) },
    ] as const;
    const metadata = new Map<string, GgufValue>([
      ["general.architecture", { type: "string", value: "no\u001b[2Jne\n" }],
      ["tokens", ggufArray("string", ["a", "b"])],
    ]);
    const paths = [scratch.at("model.gguf"), scratch.at("model.safetensors")];
    const indexPath = scratch.write(
      "model.safetensors.index.json",
      JSON.stringify({ weight_map: Object.fromEntries(tensors.map(({ name }) => [name, "model.safetensors"])) }),
    );
    writeGgufFile(paths[0], { metadata, tensors });
    writeSafetensorsFile(paths[1], { metadata: { format: "pt" }, tensors });
    for (const path of [...paths, indexPath]) {
      const { components, totals } = await described(path);
      assert.deepEqual(components.map(({ id }) => id).sort(), ["model.layers.0", "model.norm"]);
      assert.deepEqual(totals, { tensors: 3, elements: 97, sizeBytes: 324 });
    }
    const { code, stdout } = await fidelity("show", paths[0]);
    assert.equal(code, 0);
    assert.match(stdout, /^format +GGUF, version 3$/m);
    assert.match(stdout, /^general\.architecture +no\\u001b\[2Jne\\n$/m);
    assert.match(stdout, /^tokens +2 of string$/m);
    assert.match(stdout, /^type f16 +1 tensor, 64 B$/m);
    assert.match(stdout, /k\.weight +f16 +\[32\]/);
  });

  test("tensors are not read: a flipped bit in one changes nothing", async () => {
    const copy = scratch.copy(`${run}/model.fid`, "flipped.fid");
    const before = await described(copy);
    const descriptor = openSync(copy, "r+");
    writeSync(descriptor, Uint8Array.of(0xff), 0, 1, readHeader(readFileSync(copy)).tensors[0].offset);
    closeSync(descriptor);
    assert.deepEqual(await described(copy), before);
  });

  test("what opening it takes, and a page with every tensor's histogram", async () => {
    const page = scratch.at("model.html");
    const { code, stdout, stderr } = await fidelity("show", run, "--view", page);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /model\.html: open it in a browser/);
    const html = readFileSync(page, "utf8");
    assert.match(html, /<h3>blocks\.0 <small>/);
    const tensors = (await described(run)).components.flatMap(({ tensors: members }) => members);
    assert.equal(html.match(/aria-label="histogram"/g)?.length, tensors.length);
    assert.doesNotMatch(html, /not read|https?:/);
    const { stdout: shown } = await fidelity("show", run);
    assert.match(shown, /^memory +[\d.]+ \w+: weights .* its state .* fits$/m);
  });

  test("versions that were appended, and the map of all bytes, of a file and over a network", async () => {
    const copy = scratch.copy(`${run}/model.fid`, "appended.fid");
    const { tensors } = readHeader(readFileSync(copy));
    const { name, component, dtype, shape, layout, sizeBytes } = tensors.find((entry) => entry.component === "head")!;
    const bytes = new Uint8Array(sizeBytes);
    appendContainer(copy, { metadata: { note: "b" }, tensors: [{ name, component, dtype, shape, layout, bytes }] });
    const expected = await fidelity("show", copy, "--map");
    assert.equal(expected.code, 0, expected.stderr);
    assert.match(expected.stdout, new RegExp(`^version 1 +${tensors.length} tensors`, "m"));
    assert.match(expected.stdout, new RegExp(`^version 2 +${tensors.length} tensors +\\+.* head$`, "m"));
    assert.match(expected.stdout, /^container of 2 versions: .* of padding\n {2}offset +size +path +type\n/m);
    assert.match(expected.stdout, /, of version 1$/m);

    const file = readFileSync(copy);
    const server = createServer(({ headers }, response) => {
      const [first, last] = headers.range!.slice("bytes=".length).split("-").map(Number);
      const end = Math.min(last + 1, file.length);
      response.writeHead(206, { "content-range": `bytes ${first}-${end - 1}/${file.length}` });
      response.end(file.subarray(first, end));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.fid`;
      const { code, stdout, stderr } = await fidelity("show", address, "--map");
      assert.deepEqual([code, stderr], [0, ""]);
      const [shown] = expected.stdout.split("\n\nNext:"); // commands for a file that is here
      assert.equal(stdout.trimEnd(), shown.replace(copy, address));
    } finally {
      server.close();
    }
  });

  test("another kind of file is refused by what it is", async () => {
    const seen: [content: string | Uint8Array, got: RegExp][] = [
      ["Once upon a time", /plain text \("Once upon a time"/],
      ["PK\u0003\u0004", /a zip archive/],
      ["", /an empty file/],
      [Uint8Array.from({ length: 100 }, (_, i) => 255 - i), /bytes that no known format starts with \(ff fe fd/],
    ];
    for (const [i, [content, got]] of seen.entries()) {
      const { code, stdout, stderr } = await fidelity("show", scratch.write(`other${i}`, content));
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /^fidelity: this is not a model that Fidelity reads\n  where: /);
      assert.match(stderr, got);
    }
  });
});
