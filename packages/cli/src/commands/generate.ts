// `fidelity generate`: text from a model, as it is written. The text alone goes to standard output.

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { text as readAll } from "node:stream/consumers";
import { samplerOptions } from "@fidelity/models";
import { Command, Option } from "commander";
import { EXIT_OK } from "../errors.ts";
import { generateText } from "../generate-text.ts";
import type { Generation } from "../generate-text.ts";
import { Interrupt } from "../interrupt.ts";
import { withModel } from "../open-model.ts";
import {
  integerOption,
  jsonOption,
  modelOption,
  numberOption,
  pinOption,
  prebuiltOption,
  requiredModel,
  targetOption,
  tokenizerOption,
} from "../options.ts";
import type { DeviceChoice, Target } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { formatRate, plural } from "../table.ts";

interface GenerateOptions extends DeviceChoice {
  readonly model?: string;
  readonly tokenizer?: string;
  readonly prompt?: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
  readonly stop?: readonly string[];
  readonly target: Target;
  readonly threads?: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Text streams to standard output, the prompt first. Ctrl-C ends it; the exit code is then 130.

Examples:
  fidelity generate --model runs/quickstart --prompt "interface "
  fidelity generate --model runs/quickstart --temperature 0.7 --top-k 40 --seed 7
  echo "export function" | fidelity generate --model runs/quickstart --prompt -
  fidelity generate --model stories260K.bin --tokenizer tok512.bin --temperature 0`;

export function generateCommand(done: (exitCode: number) => void): Command {
  return new Command("generate")
    .description("Let a model write: continue a prompt, or start from nothing.")
    .addOption(modelOption())
    .addOption(tokenizerOption())
    .addOption(new Option("--prompt <text>", "text to continue; - reads it from standard input"))
    .addOption(integerOption("--tokens <count>", "the most tokens to write").default(256))
    .addOption(numberOption("--temperature <number>", "0 takes the likeliest token, 1 samples as trained").default(0.8))
    .addOption(integerOption("--top-k <count>", "keep the k likeliest tokens; 0 keeps all", { min: 0 }).default(0))
    .addOption(numberOption("--top-p <share>", "keep the fewest tokens that are this likely together").default(1))
    .addOption(numberOption("--min-p <share>", "keep tokens at least this likely beside the likeliest").default(0))
    .addOption(numberOption("--repetition-penalty <number>", "above 1, recent tokens become less likely").default(1))
    .addOption(integerOption("--seed <number>", "the same seed writes the same text", { min: 0 }).default(0))
    .addOption(new Option("--stop <text...>", "end before any of these strings"))
    .addOption(targetOption())
    .addOption(
      integerOption("--threads <count>", "threads that compute (default: 1 for a small model, otherwise all)", {
        max: 256,
      }),
    )
    .addOption(prebuiltOption())
    .addOption(pinOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (options: GenerateOptions) => done(await generate(options)));
}

async function generate(options: GenerateOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const model = requiredModel(options.model);
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  const sampling = samplerOptions({ temperature, topK, topP, minP, repetitionPenalty, seed });
  const prompt = options.prompt === "-" ? await readAll(process.stdin) : (options.prompt ?? "");
  const path = modelPath(model);
  const threads = options.threads ?? threadsFor(path);
  using interrupt = new Interrupt();
  const generation = await withModel(path, { ...options, threads }, (loaded) =>
    generateText(loaded, {
      prompt,
      maxTokens: options.tokens,
      sampling,
      stops: options.stop ?? [],
      signal: interrupt.signal,
      onText: (piece) => {
        if (!output.isJson) process.stdout.write(piece);
      },
    }),
  );
  if (!output.isJson) process.stdout.write("\n");
  if (process.stderr.isTTY) remark(summary(generation));
  output.result({ model, prompt, ...generation, tokensPerSecond: rate(generation), sampling });
  return generation.endedBy === "interrupt" ? interrupt.exitCode : EXIT_OK;
}

/** A token of a small model is computed in less time than threads take to meet. */
const SMALL_MODEL_BYTES = 2 ** 24;

function threadsFor(path: string): number {
  return statSync(path).size < SMALL_MODEL_BYTES ? 1 : availableParallelism();
}

/** Tokens a second after the first; 0 where there is no second token to time. */
function rate({ tokens, seconds }: Generation): number {
  return tokens > 1 ? (tokens - 1) / seconds : 0;
}

function summary(generation: Generation): string {
  const speed = generation.tokens > 1 ? `, ${formatRate(rate(generation))} tokens/s` : "";
  return `[${plural(generation.tokens, "token")}${speed}, ended by ${generation.endedBy}]`;
}
