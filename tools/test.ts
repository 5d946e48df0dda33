// Runs every test of the repository: `npm test`, or `npm test -- alex ops/` for the files whose path holds one of the
// words. Most files share one process (60 files: 3 s, against 11 s with a process each). Files named
// `*.isolated.test.ts` or `*.e2e.test.ts` get a process of their own, two at a time, in a second run.
//
// The last line is `N passed, N failed, N skipped` over both runs. It fails if a test fails, if none ran, and, where
// CI=true, if one was skipped for any reason but a missing GPU.

import { spawn, spawnSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestRecord } from "./test-records.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const PATTERNS = ["packages/*/src/**/*.test.ts", "bench/src/**/*.test.ts", "tools/**/*.test.ts", "examples/*.test.ts"];
const OWN_PROCESS = /\.(isolated|e2e)\.test\.ts$/;
// A hung test must not hold a build for ever; no test should come near it.
const TEST_TIMEOUT_MS = 300_000;

async function main(): Promise<void> {
  const words = process.argv.slice(2);
  const files = globSync(PATTERNS, { cwd: root })
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
    .sort();
  spawnSync("bash", [join(root, "tools/setup.sh")], { stdio: "inherit" });

  // What tests compile is kept for this run, and not among what the user's programs keep.
  const cache = mkdtempSync(join(tmpdir(), "fidelity-test-cache-"));
  process.env.FIDELITY_CACHE_DIR ??= cache;
  process.once("exit", () => rmSync(cache, { recursive: true, force: true }));

  const shared = files.filter((file) => !OWN_PROCESS.test(file));
  const own = files.filter((file) => OWN_PROCESS.test(file));
  const records = [
    ...(await run(shared, ["--test-isolation=none"])),
    ...(await run(own, ["--test-isolation=process", "--test-concurrency=2"])),
  ];
  report(records);
}

/** Runs `files` in one `node --test`: what became of each test, and a failure more if the run itself died. */
async function run(files: string[], flags: string[]): Promise<TestRecord[]> {
  if (files.length === 0) return [];
  const folder = mkdtempSync(join(tmpdir(), "fidelity-test-"));
  const recordsFile = join(folder, "records.jsonl");
  const args = [
    "--disable-warning=ExperimentalWarning",
    "--expose-gc",
    `--import=${new URL("test-setup.ts", import.meta.url).href}`,
    "--test",
    ...flags,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    `--test-reporter=${new URL("test-records.ts", import.meta.url).href}`,
    `--test-reporter-destination=${recordsFile}`,
    ...files,
  ];
  try {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
    const ending = await new Promise<string | undefined>((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("exit", (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? code}`));
    });
    const records = readRecords(recordsFile);
    if (ending !== undefined && !records.some((record) => record.outcome === "failed")) {
      records.push({ name: `node --test ${flags[0]}`, file: "", outcome: "failed", reason: ending });
    }
    return records;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function readRecords(path: string): TestRecord[] {
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return []; // The run died before its first test.
  }
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line): TestRecord => JSON.parse(line));
}

function report(records: TestRecord[]): void {
  const count = (outcome: TestRecord["outcome"]) => records.filter((record) => record.outcome === outcome).length;
  console.log("");
  for (const { outcome, name, file, reason } of records) {
    if (outcome !== "passed") console.log(`${outcome}: ${file}: ${name}${reason === "" ? "" : ` (${reason})`}`);
  }
  const refused =
    process.env.CI === "true"
      ? records.filter((record) => record.outcome === "skipped" && !record.reason.includes("GPU"))
      : [];
  if (refused.length > 0) console.log(`CI=true: ${refused.length} skipped for a reason other than a missing GPU`);
  if (records.length === 0) console.log("no tests ran");
  console.log(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  process.exitCode = count("failed") > 0 || refused.length > 0 || records.length === 0 ? 1 : 0;
}

await main();
