// Compiling: where the time goes from a model to code that runs, for a training step of 12 layers. A process compiles a
// model once, with an engine that has optimised nothing yet, so every sample is a process of its own.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FidelityError } from "@fidelity/units";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { CompileArchitecture, CompileJob, CompileTimes } from "./compile-process.ts";

const execute = promisify(execFile);
const PROCESS = fileURLToPath(new URL("compile-process.ts", import.meta.url));
const PROCESS_MS_MAX = 300_000;

const LAYERS = 12;
const ARCHITECTURES: readonly CompileArchitecture[] = ["matmul-free", "llama"];
const ROUNDS = 5;

/** A process that compiles failed. */
class CompileProcessError extends FidelityError {}

/** Measures compiling of each architecture for the target of the run. */
export async function compile(bench: Bench): Promise<void> {
  for (const architecture of bench.quick ? ARCHITECTURES.slice(0, 1) : ARCHITECTURES) {
    await compileOf(bench, architecture);
  }
}

async function compileOf(bench: Bench, architecture: CompileArchitecture): Promise<void> {
  const job: CompileJob = { architecture, target: bench.target, layers: LAYERS, width: bench.quick ? 64 : 256 };
  const directory = mkdtempSync(join(tmpdir(), "fidelity-bench-"));
  try {
    // What rows there are shows in the first run, which also warms the system's caches of files.
    const round = new Round(job, directory);
    const names = Object.keys(await round.next());
    const sources = names.map((name, i): Source => ({
      name,
      sample: async () => (i === 0 ? await round.next() : round.last)[name],
    }));
    const plans = names.map((name) => {
      const id = `compile/${architecture}-${job.width}x${LAYERS}/${bench.target}/${name}`;
      return { id, unit: "ms", source: name };
    });
    const rows = await measure(sources, plans, { rounds: bench.quick ? 1 : ROUNDS, warmups: 0 });
    // The processes that are measured would count as others.
    const alone = rows.map((row) => ({ ...row, quiet: null }));
    bench.report(`Compiling a training step: ${architecture}, width ${job.width}, ${LAYERS} layers`, alone);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One process for the stages, one that finds nothing kept, and one that finds what that has kept. */
class Round {
  readonly #job: CompileJob;
  readonly #directory: string;
  last: CompileTimes = {};

  constructor(job: CompileJob, directory: string) {
    this.#job = job;
    this.#directory = directory;
  }

  async next(): Promise<CompileTimes> {
    const cache = join(this.#directory, "cache");
    const fresh = (): void => rmSync(cache, { recursive: true, force: true });
    fresh();
    const stages = await this.#run("stages", cache);
    fresh();
    const { device: cold } = await this.#run("device", cache);
    const { device: kept } = await this.#run("device", cache);
    this.last = { ...stages, cold, kept };
    return this.last;
  }

  async #run(what: CompileJob["what"], cache: string): Promise<CompileTimes> {
    const job = JSON.stringify({ ...this.#job, what });
    try {
      const { stdout } = await execute(process.execPath, [PROCESS, job], {
        env: { ...process.env, FIDELITY_CACHE_DIR: cache, FIDELITY_CACHE: "" },
        timeout: PROCESS_MS_MAX,
      });
      return JSON.parse(stdout) as CompileTimes;
    } catch (error) {
      const said = (error as { stderr?: string }).stderr?.trim();
      throw new CompileProcessError("a process that compiles failed", { where: job, got: said || String(error) });
    }
  }
}
