// Pages in Chromium, for tests: a browser without a window that looks for nothing but what it is sent to, and servers
// of pages as processes of their own. Both start when they are first needed.

import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";
import type { Browser, Page } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";
// --disable-quic and the rest keep the browser from looking for anything but the pages here.
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const TIMEOUT_MS = 120_000;

/** Serves the packages' sources: its arguments are a path below packages/, and files to be given besides. */
export const SOURCES_SERVER = new URL("../../../../tools/serve.ts", import.meta.url);

/** Why there is no browser here; false where there is one. */
export function whyNoChromium(): string | false {
  return existsSync(EXECUTABLE) ? false : `there is no ${EXECUTABLE}; tools/setup.sh installs it`;
}

/** A page at an address. */
export interface OpenPage {
  readonly page: Page;
  /** What went wrong in it. */
  readonly errors: string[];
  /** Settles when something does. */
  readonly failed: Promise<void>;
}

/** A browser and the servers of its pages. Close it. */
export class Chromium {
  readonly #servers: ChildProcess[] = [];
  #browser: Promise<Browser> | undefined;

  /** Starts a program that serves pages and gives the address that it prints. */
  async serve(program: URL, args: readonly string[] = []): Promise<string> {
    const server = fork(fileURLToPath(program), args, {
      silent: true,
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    this.#servers.push(server);
    const [line]: [Buffer] = (await once(server.stdout!, "data")) as [Buffer];
    return String(line).trim();
  }

  /** Opens a page; without the headers that isolate it, if so wished. */
  async open(url: string, isIsolated = true): Promise<OpenPage> {
    this.#browser ??= chromium.launch({ executablePath: EXECUTABLE, headless: true, args: FLAGS, timeout: TIMEOUT_MS });
    const page = await (await this.#browser).newPage();
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

  async close(): Promise<void> {
    await (await this.#browser)?.close();
    for (const server of this.#servers) server.kill();
  }
}
