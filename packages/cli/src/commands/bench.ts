// `fidelity bench`: hands its arguments to the benchmarks, which live in the repository's `bench` workspace and not in
// the published package, since what they compare with is not part of an install.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { WrongFileError } from "../errors.ts";

const BENCH_FILE = fileURLToPath(new URL("../../../../bench/src/main.ts", import.meta.url));

export function benchCommand(done: (exitCode: number) => void): Command {
  return new Command("bench")
    .description(
      "Measure training and decoding on this machine, beside the ceilings of its processor and memory and beside " +
        "PyTorch where it is installed. All arguments go to the benchmarks.",
    )
    .argument("[arguments...]", "arguments of the benchmarks")
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .action(async (args: string[]) => done(await runBench(args)));
}

async function runBench(args: readonly string[]): Promise<number> {
  if (!existsSync(BENCH_FILE)) {
    throw new WrongFileError("the benchmarks are not part of this install", {
      where: BENCH_FILE,
      expected: "a checkout of the repository",
      hint: "clone the repository, run npm ci, and then: npm run bench",
    });
  }
  const child = spawn(process.execPath, [BENCH_FILE, ...args], { stdio: "inherit" });
  // Ctrl-C reaches the child from the terminal as well; this process waits for what the child makes of it.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore);
  try {
    return await new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? "SIGTERM"]));
    });
  } finally {
    process.off("SIGINT", ignore);
  }
}
