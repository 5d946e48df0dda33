// BAREWire in Chromium: the suites of browser/ in the main thread of a page and in a worker, with the text that they
// give compared with Node's, then in a page that is not isolated, and the example of a channel to a worker. One server
// and one browser for all.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { nodeCrew } from "./browser/crew.node.ts";
import { isolated, notIsolated } from "./browser/environment.ts";
import type { Report } from "./browser/page.ts";
import { runSuites } from "./browser/suite.ts";
import type { Outcome, Suite } from "./browser/suite.ts";
import { SUITES } from "./browser/suites.ts";
import { Chromium, SOURCES_SERVER, whyNoChromium } from "./browser/testing.node.ts";

const skip = whyNoChromium();
const chromium = new Chromium();

const SUITES_PAGE = "packages/barewire/src/browser/";
const EXAMPLE = new URL("../examples/channel-browser/serve.ts", import.meta.url);

const PRIVATE_SUITES = SUITES.filter(({ sharesMemory }) => !sharesMemory);

let inNode: readonly Outcome[];
let report: Report;
let reportWithoutIsolation: Report;

async function reportOf(url: string, isIsolated: boolean): Promise<Report> {
  const { page, errors, failed } = await chromium.open(url, isIsolated);
  try {
    const text = page.locator("#report:not(:empty)");
    await Promise.race([text.waitFor({ state: "attached" }), failed]);
    assert.deepEqual(errors, []);
    return JSON.parse((await text.textContent()) ?? "");
  } finally {
    await page.close();
  }
}

before(async () => {
  if (skip !== false) return;
  const url = await chromium.serve(SOURCES_SERVER, [SUITES_PAGE]);
  [report, reportWithoutIsolation] = await Promise.all([reportOf(url, true), reportOf(url, false)]);
  const crew = nodeCrew();
  inNode = await runSuites(PRIVATE_SUITES, { name: "node", crew });
  await crew.dismiss();
});

after(() => chromium.close());

function compare(place: string, suites: readonly Suite[], outcomes: () => readonly Outcome[]): void {
  for (const { name: suite, cases } of suites) {
    describe(`${place}: ${suite}`, { skip }, () => {
      for (const name of Object.keys(cases)) {
        test(name, () => {
          const isThis = (outcome: Outcome): boolean => outcome.suite === suite && outcome.name === name;
          const found = outcomes().find(isThis);
          assert.ok(found, "it ran");
          assert.equal(found.error, undefined);
          const expected = inNode.find(isThis);
          if (expected !== undefined) assert.equal(found.text, expected.text, "the same text as in Node");
        });
      }
    });
  }
}

compare("page", [...SUITES, isolated], () => report.page);
compare("worker", [...SUITES, isolated], () => report.worker);
compare("page without isolation", [...PRIVATE_SUITES, notIsolated], () => reportWithoutIsolation.page);

test("the example examples/channel-browser talks to its worker and measures round trips", { skip }, async () => {
  const { page, errors, failed } = await chromium.open(await chromium.serve(EXAMPLE));
  await Promise.race([page.getByText("Ready.").waitFor(), failed]);
  await page.getByRole("textbox").fill("reliefpfeiler");
  await page.getByRole("button", { name: "Send" }).click();
  await Promise.race([page.getByText("“reliefpfeiler” backwards is “reliefpfeiler”.").waitFor(), failed]);
  assert.deepEqual(errors, []);
  assert.equal(await page.locator("#messages li").count(), 8);
  const rows = await page.locator("#results tr").allInnerTexts();
  assert.equal(rows.length, 3);
  for (const row of rows) assert.match(row, /\t[1-9][\d,]*\t\d+\.\d µs$/);
  await page.close();
});
