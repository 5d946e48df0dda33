// `npm run bench`: runs the suites that were asked for, prints a table after each, and writes all rows as JSON.

import { accessSync, constants } from "node:fs";
import { cpus, totalmem } from "node:os";
import { dirname } from "node:path";
import { toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { FidelityError, formatBytes } from "@fidelity/units";
import type { Bench } from "./measure.ts";
import { readOptions, USAGE } from "./options.ts";
import type { BenchOptions, SuiteName } from "./options.ts";
import { formatRows, formatShare } from "./row.ts";
import type { Row } from "./row.ts";
import { barewire } from "./suites/barewire.ts";
import { batches } from "./suites/batches.ts";
import { browser } from "./suites/browser.ts";
import { compile } from "./suites/compile.ts";
import { decode } from "./suites/decode.ts";
import { formats } from "./suites/formats.ts";
import { generation } from "./suites/generation.ts";
import { gradbench } from "./suites/gradbench.ts";
import { kernels } from "./suites/kernels.ts";
import { memory } from "./suites/memory.ts";
import { training } from "./suites/training.ts";

const RUN: Readonly<Record<SuiteName, (bench: Bench) => Promise<void>>> = {
  training,
  decode,
  generation,
  batches,
  browser,
  kernels,
  compile,
  memory,
  barewire,
  formats,
  gradbench,
};

/** Beyond this share of all processors, what others do shows in the figures. */
const OTHERS_MAX = 0.1;

async function main(args: readonly string[]): Promise<void> {
  const options = readOptions(args);
  if (options.help) {
    console.log(USAGE);
    return;
  }
  if (options.json !== undefined) checkFolder(options.json);
  console.log(describeMachine());
  const rows: Row[] = [];
  for (const suite of options.suites) {
    await RUN[suite](makeBench(options, rows));
    if (options.json !== undefined) writeRows(options.json, rows);
  }
  if (options.json !== undefined) console.log(`\n${rows.length} rows in ${options.json}`);
}

function makeBench({ threads, quick, target, loaded }: BenchOptions, rows: Row[]): Bench {
  return {
    threads,
    quick,
    target,
    loaded,
    settings: quick ? { rounds: 3, warmups: 1 } : { rounds: 9, warmups: 2 },
    sampleMs: quick ? 5 : 30,
    note: (text) => console.log(`\n${text}`),
    report(title, reported) {
      rows.push(...reported);
      console.log(`\n${title}\n${formatRows(reported)}`);
      const others = Math.max(...reported.map(({ quiet }) => quiet ?? 0));
      if (others > OTHERS_MAX) {
        console.log(`Others used ${formatShare(others)} of the processors meanwhile: measure again when it is quiet.`);
      }
    },
  };
}

/** Before minutes are spent on measuring. Throws `FileError`. */
function checkFolder(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    throw toFileError(error, "write", path);
  }
}

/** After each suite, so that a run that is stopped keeps what it has measured. */
function writeRows(path: string, rows: readonly Row[]): void {
  const lines = rows.map((row) => `  ${JSON.stringify(row)}`);
  writeFileAtomic(path, [new TextEncoder().encode(`[\n${lines.join(",\n")}\n]\n`)]);
}

function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? "unknown processor";
  return `${processors.length} x ${model}, ${formatBytes(totalmem())} of memory, Node ${process.version}`;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof FidelityError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
}
