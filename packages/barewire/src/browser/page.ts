// Runs the suites in a page and in a worker of it, and shows what came of them. The element `report` holds it as JSON.

import { browserCrew } from "./crew-browser.ts";
import { isolated, notIsolated } from "./environment.ts";
import { runSuites } from "./suite.ts";
import type { Outcome } from "./suite.ts";
import { SUITES } from "./suites.ts";

/** What the page reports: outcomes by place. A page without isolation has none of a worker. */
export interface Report {
  readonly page: readonly Outcome[];
  readonly worker: readonly Outcome[];
}

async function main(): Promise<void> {
  const crew = browserCrew();
  const suites = crossOriginIsolated
    ? [...SUITES, isolated]
    : [...SUITES.filter(({ sharesMemory }) => !sharesMemory), notIsolated];
  // Both wait more than they work.
  const [page, worker] = await Promise.all([
    runSuites(suites, { name: "page", crew }),
    crossOriginIsolated ? runInWorker() : [],
  ]);
  await crew.dismiss();
  const report: Report = { page, worker };
  show("In the page", report.page);
  show("In a worker", report.worker);
  element("state").textContent = "Done.";
  element("report").textContent = JSON.stringify(report);
}

async function runInWorker(): Promise<readonly Outcome[]> {
  const worker = new Worker(new URL("./page-worker.ts", import.meta.url), { type: "module" });
  try {
    return await new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }: MessageEvent<readonly Outcome[]>) => resolve(data));
      worker.addEventListener("error", ({ message }) => reject(new Error(message)));
    });
  } finally {
    worker.terminate();
  }
}

function show(title: string, outcomes: readonly Outcome[]): void {
  const list = document.createElement("ul");
  for (const { suite, name, error } of outcomes) {
    const item = document.createElement("li");
    item.textContent = `${suite}: ${name}: ${error ?? "passed"}`;
    list.append(item);
  }
  const heading = document.createElement("h2");
  heading.textContent = title;
  document.body.append(heading, list);
}

function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found;
}

await main();
