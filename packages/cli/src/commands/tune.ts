// `fidelity tune`: measures how the heavy kernels of a model are best cut into blocks and chunks on this machine, and
// remembers it for all programs that have kernels of the same shapes.

import { availableParallelism, loadavg } from "node:os";
import { rememberedSchedules, ScheduleBook, scheduleFile, nodeTitle, tunePrograms } from "@fidelity/alex/node";
import type { CompiledStages, TuneResult } from "@fidelity/alex/node";
import { Command } from "commander";
import { MODEL_PROGRAMS, openSubjects, programOptions } from "../compile/subjects.ts";
import type { ModelProgram, SubjectOptions } from "../compile/subjects.ts";
import { vectorTarget } from "../compile/view.ts";
import type { CompileTarget } from "../compile/view.ts";
import { UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { choiceOption, integerOption, jsonOption, threadsOption } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import type { Output } from "../output.ts";
import { plural } from "../table.ts";

interface TuneCommandOptions extends Omit<SubjectOptions, "what"> {
  readonly what?: ModelProgram;
  readonly target: CompileTarget;
  readonly threads: number;
  readonly seconds: number;
  readonly again?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Each kernel's schedules race against each other on the machine as it is: close what else computes first. What was found
is kept in the folder of compiled programs (FIDELITY_CACHE_DIR) for this processor, target and version of the compiler,
and train, generate and eval follow it from then on; FIDELITY_CACHE=off ignores it. Results stay the same to the
last bit: a schedule says in which order memory is passed, never in which order numbers are added.

Examples:
  fidelity tune runs/quickstart
  fidelity tune --architecture transformer --width 512 --layers 8 --what train --target native
  fidelity compile --architecture transformer --what train --target native --explain     what was chosen`;

export function tuneCommand(done: (exitCode: number) => void): Command {
  const command = new Command("tune")
    .description("Measure how a model's kernels run fastest on this machine, and remember it.")
    .argument("[model]", "a model file or a run folder")
    .addOption(choiceOption("--what <program>", "one program of the model (default: all)", MODEL_PROGRAMS));
  for (const option of programOptions()) command.addOption(option);
  return command
    .addOption(choiceOption("--target <name>", "what is tuned for", ["wasm", "native"]).default("wasm"))
    .addOption(threadsOption())
    .addOption(integerOption("--seconds <count>", "how long it may take", { max: 86_400 }).default(120))
    .option("--again", "measure also what is remembered already")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string | undefined, options: TuneCommandOptions) => done(await tune(model, options)));
}

async function tune(model: string | undefined, options: TuneCommandOptions): Promise<number> {
  const { target, threads, seconds } = options;
  if (process.env.FIDELITY_CACHE === "off") {
    throw new UsageError("there is no place to remember schedules in", {
      where: "FIDELITY_CACHE",
      got: "off",
      hint: "unset it",
    });
  }
  if (model === undefined && options.architecture === undefined) {
    throw new UsageError("what is to be tuned?", {
      expected: "a model or run folder, or --architecture",
      hint: "fidelity tune --architecture matmul-free",
    });
  }
  const output = createOutput(options.json === true);
  // What is missing is found before anything is measured.
  const { path } = scheduleFile(target);
  const programs = await compiledPrograms(model, options);
  using interrupt = new Interrupt(() => remark("stopping; what was found is remembered"));
  warnWhenBusy();
  let taskCount = 0;
  const results = await tunePrograms(programs, {
    target,
    threads,
    budgetMs: seconds * 1000,
    signal: interrupt.signal,
    onStart: (count) => (taskCount = count),
    onResult: (result, place) => output.line(`${place + 1}/${taskCount}  ${describe(result)}`),
  });
  report(results, taskCount, options, output);
  output.result({
    path,
    kernels: taskCount,
    results: results.map(({ task, schedule, speedup }) => ({ node: nodeTitle(task.node), schedule, speedup })),
  });
  return interrupt.exitCode;
}

/** More runnable programs for each processor than that, and races say little. */
const LOAD_MAX = 0.5;

function warnWhenBusy(): void {
  const [load = 0] = loadavg();
  const processors = availableParallelism();
  if (load <= LOAD_MAX * processors) return;
  const busy = `load ${load.toFixed(1)} on ${plural(processors, "processor")}`;
  remark(`other programs compute here (${busy}): what is measured now may be wrong, and --again measures it anew`);
}

async function compiledPrograms(model: string | undefined, options: TuneCommandOptions): Promise<CompiledStages[]> {
  const { target, again, what } = options;
  const schedules = again === true ? new ScheduleBook() : rememberedSchedules(target);
  const lower = { target: vectorTarget(target), schedules };
  const programs: CompiledStages[] = [];
  for (const program of what === undefined ? MODEL_PROGRAMS : [what]) {
    const subjects = await openSubjects(model, { ...options, what: program }, lower);
    programs.push(...subjects.map(({ stages }) => stages));
  }
  return programs;
}

/** `matmul f32[2048, 128] f32[128, 128]: 1.08 times as fast, rows 8, vectors 3` */
function describe({ task, schedule, speedup }: TuneResult): string {
  const gain = speedup === 1 ? "the default is fastest" : `${speedup.toFixed(2)} times as fast`;
  return `${nodeTitle(task.node)}: ${gain} of ${task.candidates.length}${speedup === 1 ? "" : `, ${schedule}`}`;
}

function report(results: readonly TuneResult[], taskCount: number, options: TuneCommandOptions, output: Output): void {
  if (taskCount === 0) {
    output.line(
      options.again === true
        ? "no kernel of it has schedules to choose from"
        : "nothing to tune: all is remembered, or has no schedules to choose from (--again measures it again)",
    );
    return;
  }
  const faster = results.filter(({ speedup }) => speedup > 1).length;
  output.line(`\n${plural(results.length, "kernel")} measured, ${faster} faster than by default, all remembered`);
  if (results.length < taskCount) {
    output.line(`${plural(taskCount - results.length, "kernel")} left; the same command goes on with them`);
  }
}
