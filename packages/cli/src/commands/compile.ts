// `fidelity compile`: a look into the compiler. Any stage of a kernel's or a model's way to machine code as text, the
// decisions with their costs, or all of it as one page.

import { writeFileAtomic } from "@fidelity/barewire/node";
import { CUDA_VECTORS, explainProgram, formatExplanation, rememberedSchedules } from "@fidelity/alex/node";
import { Command, Option } from "commander";
import { emitStage, STAGES, targetOf } from "../compile/emit.ts";
import type { Emitted, Stage } from "../compile/emit.ts";
import { MODEL_PROGRAMS, openSubjects, programOptions } from "../compile/subjects.ts";
import type { LowerOptions, Subject, SubjectOptions } from "../compile/subjects.ts";
import { ceilingsHere, profileSubject, vectorTarget, viewOf } from "../compile/view.ts";
import type { CompileTarget, MeasureOptions } from "../compile/view.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { choiceOption, integerOption, jsonOption, threadsOption } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import type { Output } from "../output.ts";
import { formatSize } from "../table.ts";

interface CompileOptions extends SubjectOptions {
  readonly emit?: Stage;
  readonly out?: string;
  readonly explain?: boolean;
  readonly measure: boolean;
  readonly view?: string;
  readonly target?: CompileTarget;
  readonly threads: number;
  readonly position?: number;
  readonly json?: boolean;
}

const EXAMPLES = `
FILE is a TypeScript file with kernels, a model file, or a run folder; of a model that needs no file, the sizes do.
The stages are tokens, graph, units and loops, then wat and wasm on the one road, mlir, llvm and asm on the other, which
needs LLVM 19. Lines of kernels end in their place in the source; with --json every line has it.

Examples:
  fidelity compile examples/mlgru-step.ts --emit wat
  fidelity compile examples/mlgru-step.ts --emit asm --out step.s
  fidelity compile runs/quickstart --explain
  fidelity compile --architecture matmul-free --width 512 --layers 12 --explain --what train
  fidelity compile --architecture matmul-free --width 512 --layers 12 --view model.html`;

export function compileCommand(done: (exitCode: number) => void): Command {
  const command = new Command("compile")
    .description("Look into the compiler: every stage as text, its decisions and their costs, or all as one page.")
    .argument("[file]", "a TypeScript file with kernels, a model file, or a run folder")
    .addOption(choiceOption("--emit <stage>", "print a stage", STAGES))
    .option("--explain", "print what was decided, and what it costs on this machine")
    .option("--view <file>", "write one HTML page with all of it, and a profile of a run")
    .option("--out <file>", "write to a file what --emit or --explain would print")
    .addOption(new Option("--kernel <name>", "one kernel of the file (default: all)"))
    .addOption(choiceOption("--what <program>", "which program of a model", MODEL_PROGRAMS).default("step"));
  for (const option of programOptions()) command.addOption(option);
  return command
    .addOption(integerOption("--position <tokens>", "tokens that a cache holds when costs are counted", { min: 0 }))
    .addOption(
      choiceOption("--target <name>", "the road behind the loops (default: that of the stage)", ["wasm", "native"]),
    )
    .addOption(threadsOption())
    .option("--no-measure", "leave ceilings, profile and tuned schedules out: the same output everywhere")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (file: string | undefined, options: CompileOptions) => done(await compile(file, options)));
}

async function compile(file: string | undefined, options: CompileOptions): Promise<number> {
  const target = chosenTarget(options);
  const subjects = await openSubjects(file, options, lowerOptions(options, target));
  const output = createOutput(options.json === true);
  if (options.view !== undefined) await writeView(subjects, options.view, { ...options, target }, output);
  else if (options.explain === true) await explain(subjects, options, target, output);
  else if (options.emit !== undefined) await emit(subjects, options.emit, options, output);
  else {
    throw new UsageError("what is to be shown?", {
      expected: `--emit ${STAGES.join("|")}, --explain or --view FILE`,
      hint: "fidelity compile --help",
    });
  }
  return EXIT_OK;
}

/** What programs are lowered for: a GPU has no schedules of its own, and without measuring there are none. */
function lowerOptions({ emit, view, explain, measure }: CompileOptions, target: CompileTarget): LowerOptions {
  if (emit === "ptx" && view === undefined && explain !== true) return { target: CUDA_VECTORS };
  return { target: vectorTarget(target), ...(measure && { schedules: rememberedSchedules(target) }) };
}

function chosenTarget({ emit, target }: CompileOptions): CompileTarget {
  const needed = emit === undefined ? undefined : targetOf(emit);
  if (needed !== undefined && target !== undefined && needed !== target) {
    throw new UsageError(`--emit ${emit} is a stage of another target`, {
      expected: `--target ${needed}`,
      got: `--target ${target}`,
    });
  }
  return needed ?? target ?? "wasm";
}

async function emit(
  subjects: readonly Subject[],
  stage: Stage,
  options: CompileOptions,
  output: Output,
): Promise<void> {
  // All kernels of a file have its tokens.
  const chosen = stage === "tokens" ? subjects.slice(0, 1) : subjects;
  const emitted: Emitted[] = [];
  for (const subject of chosen) emitted.push(await emitStage(subject, stage));
  if (stage === "wasm") return emitBytes(emitted, options, output);
  const texts = emitted.map(({ content }) => content as string);
  if (output.isJson) {
    const programs = emitted.map(({ title, kernels }, i) => ({ title, text: texts[i], kernels }));
    output.result({ stage, programs });
  } else writeText(texts.join("\n"), options.out);
}

function emitBytes(emitted: readonly Emitted[], { out }: CompileOptions, output: Output): void {
  if (emitted.length > 1) {
    const expected = `one of ${emitted.map(({ title }) => title).join(", ")}`;
    throw new UsageError("a module holds one program, and the file has several kernels", {
      where: "option --kernel",
      expected,
    });
  }
  const [{ title, content }] = emitted;
  const bytes = content as Uint8Array;
  if (out !== undefined) writeFileAtomic(out, [bytes]);
  else if (output.isJson || process.stdout.isTTY) {
    throw new UsageError("a module is not text", { expected: "--out FILE, or a pipe", hint: "--emit wat is its text" });
  } else process.stdout.write(bytes);
  if (out !== undefined) output.line(`${out}: ${title}, ${formatSize(bytes.byteLength)}`);
  if (out !== undefined) output.result({ stage: "wasm", out, sizeBytes: bytes.byteLength });
}

function writeText(text: string, out: string | undefined): void {
  if (out === undefined) process.stdout.write(text);
  else writeFileAtomic(out, [new TextEncoder().encode(text)]);
}

async function explain(
  subjects: readonly Subject[],
  options: CompileOptions,
  target: CompileTarget,
  output: Output,
): Promise<void> {
  const { position, threads, measure } = options;
  const ceilings = measure ? await ceilingsHere({ target, threads }) : undefined;
  const explanations = subjects.map(({ stages, title }) => ({
    title,
    explanation: explainProgram(stages, {
      ...(ceilings !== undefined && { ceilings }),
      ...(position !== undefined && { assumedIndex: position }),
    }),
  }));
  if (output.isJson) return output.result(explanations.length === 1 ? explanations[0].explanation : explanations);
  const texts = explanations.map(({ title, explanation }) => `${title}\n${formatExplanation(explanation)}\n`);
  writeText(texts.join("\n"), options.out);
}

async function writeView(
  subjects: readonly Subject[],
  path: string,
  options: MeasureOptions & Pick<CompileOptions, "measure">,
  output: Output,
): Promise<void> {
  if (subjects.length > 1) {
    throw new UsageError("a page shows one program, and the file has several kernels", {
      where: "option --kernel",
      expected: `one of ${subjects.map(({ title }) => title).join(", ")}`,
    });
  }
  const [subject] = subjects;
  const { position, measure } = options;
  const measured = measure
    ? await profileSubject(subject, options, await ceilingsHere(options))
    : { explanation: explainProgram(subject.stages, { ...(position !== undefined && { assumedIndex: position }) }) };
  const page = new TextEncoder().encode(await viewOf(subject, measured, options));
  writeFileAtomic(path, [page]);
  output.line(`${path}: ${subject.title}, ${formatSize(page.byteLength)}`);
  if (!output.isJson && process.stdout.isTTY) remark("open it in a browser");
  output.result({ out: path, title: subject.title, sizeBytes: page.byteLength, ...measured });
}
