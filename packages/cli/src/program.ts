// The command line as a whole: the commands, what they share, and what becomes of an error.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { architecturesCommand } from "./commands/architectures.ts";
import { benchCommand } from "./commands/bench.ts";
import { buildCommand } from "./commands/build.ts";
import { compileCommand } from "./commands/compile.ts";
import { convertCommand } from "./commands/convert.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { embedCommand } from "./commands/embed.ts";
import { evalCommand } from "./commands/eval.ts";
import { generateCommand } from "./commands/generate.ts";
import { pullCommand } from "./commands/pull.ts";
import { cpCommand, lsCommand, rmCommand } from "./commands/store.ts";
import { runCommand } from "./commands/run.ts";
import { logitsCommand } from "./commands/logits.ts";
import { profileActivationCommand } from "./commands/profile-activation.ts";
import { gradbenchCommand } from "./commands/gradbench.ts";
import { quantizeCommand } from "./commands/quantize.ts";
import { quickstartCommand } from "./commands/quickstart.ts";
import { schemaCommand } from "./commands/schema.ts";
import { showCommand } from "./commands/show.ts";
import { trainCommand } from "./commands/train.ts";
import { tuneCommand } from "./commands/tune.ts";
import { describeFailure, EXIT_OK, usageErrorFrom } from "./errors.ts";
import { remark } from "./output.ts";
import { refill } from "./text-width.ts";

/** What commander takes where there is no terminal. */
const HELP_COLUMNS = 80;

/** Makes one command; its action returns the exit code through `done`. */
export type CommandFactory = (done: (exitCode: number) => void) => Command;

const COMMANDS: readonly CommandFactory[] = [
  quickstartCommand,
  trainCommand,
  generateCommand,
  runCommand,
  pullCommand,
  lsCommand,
  rmCommand,
  cpCommand,
  embedCommand,
  evalCommand,
  logitsCommand,
  showCommand,
  convertCommand,
  quantizeCommand,
  architecturesCommand,
  buildCommand,
  compileCommand,
  tuneCommand,
  benchCommand,
  gradbenchCommand,
  profileActivationCommand,
  schemaCommand,
  doctorCommand,
];

/** Runs the command line and returns the exit code. Never throws; errors are printed on standard error. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let exitCode = EXIT_OK;
  const program = createProgram((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(commandWords(program, args), { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === EXIT_OK) return EXIT_OK; // help and version
    const failure = describeFailure(error, Number(process.env.FIDELITY_DEBUG) > 0);
    remark(failure.text);
    return failure.exitCode;
  }
}

/** The words for commander, which for a command that there is not explains all commands and gives no error. */
function commandWords({ commands }: Command, args: readonly string[]): string[] {
  if (args.length === 0) return ["--help"];
  const words = args[0] === "help" && args.length > 1 ? [...args.slice(1), "--help"] : [...args];
  const names = ["help", ...commands.flatMap((command) => [command.name(), ...command.aliases()])];
  return words[0].startsWith("-") || names.includes(words[0]) ? words : [words[0]];
}

function createProgram(done: (exitCode: number) => void): Command {
  const program = new Command("fidelity")
    .description(
      "Train, save, load and run small post-transformer language models, compiled for this machine.\n" +
        "New here? Run `fidelity quickstart`: it trains a ternary model in about a minute and lets it write.",
    )
    .version(packageVersion(), "--version", "print the version")
    .enablePositionalOptions()
    .addHelpText(
      "after",
      "\nEvery command explains itself: fidelity train --help\nErrors: FIDELITY_DEBUG=1 tells more.",
    );
  for (const create of COMMANDS) program.addCommand(create(done));
  const nested = program.commands.flatMap((command) => command.commands.map((inner) => ({ command, inner })));
  const named = [
    { command: program, name: "fidelity" },
    ...program.commands.map((command) => ({ command, name: `fidelity ${command.name()}` })),
    ...nested.map(({ command, inner }) => ({ command: inner, name: `fidelity ${command.name()} ${inner.name()}` })),
  ];
  for (const { command, name } of named) {
    // bench leaves --help to the benchmarks.
    if (command.name() !== "bench") command.helpOption("-h, --help", "explain this command");
    // What a command takes, its own help tells: beside it there would be no room for what it does.
    command.configureHelp({ subcommandTerm: (inner) => [inner.name(), ...inner.aliases()].join(", ") });
    if (command.commands.length > 0) command.helpCommand("help [command]", "explain a command");
    command.configureOutput({ outputError: () => undefined, writeOut: writeHelp }).exitOverride((error) => {
      const options = command.options.map(({ long }) => long ?? "");
      throw error.exitCode === EXIT_OK ? error : usageErrorFrom(error, name, options);
    });
  }
  return program;
}

/** Commander fills its own lines into the terminal, and leaves what commands add as it is. */
function writeHelp(text: string): void {
  process.stdout.write(refill(text, process.stdout.isTTY ? process.stdout.columns : HELP_COLUMNS));
}

function packageVersion(): string {
  const manifest: { version: string } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return manifest.version;
}
