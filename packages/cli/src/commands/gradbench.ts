// `fidelity gradbench`: this tool's side of GradBench, a benchmark suite of automatic differentiation. It answers the
// messages of an evaluator, one JSON object a line; the evaluations are in ../gradbench.

import { createInterface } from "node:readline";
import { createDevice, DEVICE_TARGETS } from "@fidelity/alex/node";
import type { DeviceTarget } from "@fidelity/alex/node";
import { Command } from "commander";
import { EXIT_OK } from "../errors.ts";
import { EVALUATIONS } from "../gradbench/evaluations.ts";
import { Programs } from "../gradbench/programs.ts";
import { answerLine } from "../gradbench/protocol.ts";
import { choiceOption, integerOption } from "../options.ts";

interface GradbenchOptions {
  readonly target: DeviceTarget | "auto";
  readonly threads: number;
}

const EXAMPLES = `
Reads messages from standard input and answers on standard output, until there are no more. A line that is no message
is told what is wrong with it. Evaluations: ${Object.keys(EVALUATIONS).join(", ")}.

Examples:
  echo '{"id":0,"kind":"evaluate","module":"hello","function":"double","input":3}' | fidelity gradbench
  gradbench run --eval "gradbench repo eval gmm" --tool "fidelity gradbench"   # GradBench's own command`;

export function gradbenchCommand(done: (exitCode: number) => void): Command {
  return new Command("gradbench")
    .description(
      "Speak GradBench's protocol: derivatives in float64, compiled for this machine, timed by an evaluator.",
    )
    .addOption(
      choiceOption("--target <name>", "what to compile to; auto takes native code where LLVM 19 is", [
        "auto",
        ...DEVICE_TARGETS,
      ]).default("auto"),
    )
    .addOption(integerOption("--threads <n>", "threads; GradBench compares tools on one", { max: 256 }).default(1))
    .addHelpText("after", EXAMPLES)
    .action(async ({ target, threads }: GradbenchOptions) => {
      const device = createDevice({ target, threads });
      try {
        const programs = new Programs(device);
        const config = { target: device.target, threads, dtype: "f64" };
        for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
          process.stdout.write(`${JSON.stringify(await answerLine(line, programs, config))}\n`);
        }
        programs.free();
      } finally {
        await device.close();
      }
      done(EXIT_OK);
    });
}
