// The library in Chromium, by the example page: a model over HTTP ranges and from a chosen file, on a team of workers
// and on the one thread of a page that is not isolated. What it writes is what it writes in Node.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Chromium, whyNoChromium } from "@fidelity/barewire/testing/browser";
import type { OpenPage } from "@fidelity/barewire/testing/browser";
import { convertModel, open } from "./index.node.ts";

const STORIES = join(import.meta.dirname, "../../../../shared/data/stories260K");
const EXAMPLE = new URL("../examples/browser/serve.ts", import.meta.url);
const OPENING = "Once upon a time";

const skip = whyNoChromium();
const chromium = new Chromium();
const folder = mkdtempSync(join(tmpdir(), "fidelity-browser-"));
const path = join(folder, "a story.gguf");
let inNode: string;
let url: string;

before(async () => {
  if (skip !== false) return;
  const tokenizer = join(STORIES, "tok512.bin");
  await convertModel(join(STORIES, "stories260K.bin"), path, { format: "gguf", tokenizer });
  await using model = await open(path, { target: "wasm", threads: 1 });
  ({ text: inNode } = await model.chat({ temperature: 0, maxTokens: 256 }).send(OPENING).result());
  assert.ok(inNode.length > 200);
  url = await chromium.serve(EXAMPLE, [path]);
});

after(async () => {
  await chromium.close();
  rmSync(folder, { recursive: true });
});

/** Presses the button within the page as soon as it can be: from here, the answer may have ended before. */
const STOP_AT_ONCE = `{
  const stop = document.querySelector("#stop");
  new MutationObserver(() => stop.click()).observe(stop, { attributes: true });
}`;

/** Waits until the page says something, or something went wrong in it. */
async function said({ page, failed }: OpenPage, line: RegExp): Promise<string> {
  const state = page.locator("#state");
  await Promise.race([state.filter({ hasText: line }).waitFor(), failed]);
  return (await state.textContent()) ?? "";
}

async function tell({ page }: OpenPage, text: string): Promise<void> {
  await page.locator("#temperature").fill("0");
  await page.locator("#text").fill(text);
  await page.locator("#send").click();
}

test("over HTTP ranges, on a team of workers, the text is that of Node", { skip }, async () => {
  const opened = await chromium.open(url);
  assert.match(
    await said(opened, /Ready/),
    /^a%20story\.gguf: llama, 26\dK parameters, open in .* s, \d+ threads?\. Ready/,
  );
  await tell(opened, OPENING);
  assert.match(await said(opened, /tokens\/s/), /^\d+ tokens at [\d.]+ tokens\/s, the first after \d+ ms\.$/);
  assert.equal(await opened.page.locator("#talk .answered").textContent(), inNode);
  assert.deepEqual(opened.errors, []);
  await opened.page.close();
});

test("from a chosen file, on the one thread of a page that is not isolated", { skip }, async () => {
  const bare = url.split("?", 1)[0];
  const opened = await chromium.open(bare, false);
  await opened.page.locator("#file").setInputFiles(path);
  assert.match(await said(opened, /Ready/), /^a story\.gguf: llama, .*, 1 thread \(the page is not isolated\)\. Ready/);
  await tell(opened, OPENING);
  await said(opened, /tokens\/s/);
  assert.equal(await opened.page.locator("#talk .answered").textContent(), inNode);
  assert.deepEqual(opened.errors, []);
  await opened.page.close();
});

test("what is no model is refused in words, and the next file is opened", { skip }, async () => {
  const opened = await chromium.open(url.split("?", 1)[0]);
  await opened.page
    .locator("#file")
    .setInputFiles({ name: "no.gguf", mimeType: "", buffer: Buffer.from("not a model") });
  assert.match(await said(opened, /not a model/), /no\.gguf/);
  await opened.page.locator("#file").setInputFiles(path);
  await said(opened, /Ready/);
  await opened.page.evaluate(STOP_AT_ONCE);
  await tell(opened, OPENING);
  await said(opened, /tokens\/s.*; stopped\.$/);
  assert.ok(inNode.startsWith((await opened.page.locator("#talk .answered").textContent()) ?? "?"));
  assert.deepEqual(opened.errors, []);
  await opened.page.close();
});
