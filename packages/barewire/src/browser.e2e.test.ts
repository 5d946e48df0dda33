// BAREWire in Chromium: the suites of browser/ in the main thread of a page and in a worker, with the text that they
// give compared with Node's, then in a page that is not isolated, and the example of a channel to a worker. One server
// and one browser for all.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";

import { nodeCrew } from "./browser/crew.node.ts";
import { isolated, notIsolated } from "./browser/environment.ts";
import type { Report } from "./browser/page.ts";
import { runSuites } from "./browser/suite.ts";
import type { Outcome, Suite } from "./browser/suite.ts";
import { SUITES } from "./browser/suites.ts";

const CHROMIUM = "/usr/bin/chromium";
const skip = existsSync(CHROMIUM) ? false : `there is no ${CHROMIUM}; tools/setup.sh installs it`;
// --disable-quic and the rest keep the browser from looking for anything but the pages here.
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const SERVE = new URL("../../../tools/serve.ts", import.meta.url);
const EXAMPLE = new URL("../examples/channel-browser/serve.ts", import.meta.url);
const SUITES_PAGE = "packages/barewire/src/browser/";
const TIMEOUT_MS = 120_000;

const PRIVATE_SUITES = SUITES.filter(({ sharesMemory }) => !sharesMemory);

let browser: Browser;
const servers: ChildProcess[] = [];
let inNode: readonly Outcome[];
let report: Report;
let reportWithoutIsolation: Report;

/** Starts a program that serves pages and gives the address that it prints. */
async function serve(program: URL, args: string[] = []): Promise<string> {
  const server = fork(fileURLToPath(program), args, {
    silent: true,
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  servers.push(server);
  const [line]: [Buffer] = (await once(server.stdout!, "data")) as [Buffer];
  return String(line).trim();
}

/** A page at an address. */
interface OpenPage {
  readonly page: Page;
  /** What went wrong in it. */
  readonly errors: string[];
  /** Settles when something does. */
  readonly failed: Promise<void>;
}

async function open(url: string, isIsolated = true): Promise<OpenPage> {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  const errors: string[] = [];
  const { promise: failed, resolve } = Promise.withResolvers<void>();
  const fail = (text: string): void => {
    errors.push(text);
    resolve();
  };
  page.on("pageerror", (error) => fail(error.stack ?? error.message));
  page.on("console", (message) => {
    if (message.type() === "error") fail(`${message.text()} (${message.location().url})`);
  });
  page.on("crash", () => fail("the page crashed"));
  page.on("requestfailed", (request) => fail(`${request.url()}: ${request.failure()?.errorText}`));
  if (!isIsolated) {
    await page.route(url, async (route) => {
      const response = await route.fetch();
      const headers = Object.entries(response.headers()).filter(([name]) => !name.startsWith("cross-origin-"));
      await route.fulfill({ response, headers: Object.fromEntries(headers) });
    });
  }
  await page.goto(url);
  return { page, errors, failed };
}

async function reportOf(url: string, isIsolated: boolean): Promise<Report> {
  const { page, errors, failed } = await open(url, isIsolated);
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
  const launched = chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS, timeout: TIMEOUT_MS });
  const url = await serve(SERVE, [SUITES_PAGE]);
  browser = await launched;
  [report, reportWithoutIsolation] = await Promise.all([reportOf(url, true), reportOf(url, false)]);
  const crew = nodeCrew();
  inNode = await runSuites(PRIVATE_SUITES, { name: "node", crew });
  await crew.dismiss();
});

after(async () => {
  await browser?.close();
  for (const server of servers) server.kill();
});

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
  const { page, errors, failed } = await open(await serve(EXAMPLE));
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
