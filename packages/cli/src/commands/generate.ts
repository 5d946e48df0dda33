// `fidelity generate`: text from a model, as it is written. The text alone goes to standard output.

import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { text as readAll } from "node:stream/consumers";
import { samplerOptions } from "@fidelity/models";
import type {
  BeamText,
  GenerateOptions,
  GenerationResult,
  LanguageModel,
  SearchTextOptions,
  Timings,
  Usage,
} from "@fidelity/run";
import { Command, Option } from "commander";
import { grammarOf, grammarOption, jsonSchemaOption, regexOption } from "../constraint-options.ts";
import type { ConstraintOptions } from "../constraint-options.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
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
import { createOutput, remark, writeText } from "../output.ts";
import type { Output } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { describeSpeculation, draftModelOption, speculateOption, withSpeculation } from "../speculation-options.ts";
import type { SpeculationChoice } from "../speculation-options.ts";
import { formatRate, plural } from "../table.ts";

interface CommandOptions extends DeviceChoice, ConstraintOptions, SpeculationChoice {
  readonly model?: string;
  readonly tokenizer?: string;
  readonly prompt?: string;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly typical: number;
  readonly topP: number;
  readonly minP: number;
  readonly mirostat: number;
  readonly mirostatTau: number;
  readonly mirostatEta: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly repetitionWindow: number;
  readonly logitBias?: Readonly<Record<number, number>>;
  readonly seed: number;
  readonly beams?: number;
  readonly logprobs?: number;
  readonly stop?: readonly string[];
  readonly target: Target;
  readonly threads?: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Text streams to standard output, the prompt first. Ctrl-C ends it; the exit code is then 130. A text under a schema, a
grammar or an expression comes without the prompt, so that it can be piped.

Sampling goes through logit biases, penalties, top-k, typical, top-p, min-p and temperature, in this order; mirostat
takes the place of the filters.

Examples:
  fidelity generate --model runs/quickstart --prompt "interface "
  fidelity generate --model runs/quickstart --temperature 0.7 --top-k 40 --seed 7
  echo "export function" | fidelity generate --model runs/quickstart --prompt -
  fidelity generate --model runs/quickstart --prompt "Ada is " --json-schema person.schema.json | jq .name
  fidelity generate --model runs/quickstart --prompt "Born on " --regex "[0-9]{1,2} (May|June) 18[0-9]{2}"
  fidelity generate --model runs/quickstart --prompt "const " --beams 4 --tokens 30
  fidelity generate --model runs/quickstart --prompt "interface " --speculate
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
    .addOption(numberOption("--typical <share>", "keep the most typical tokens, this likely together").default(1))
    .addOption(numberOption("--top-p <share>", "keep the fewest tokens that are this likely together").default(1))
    .addOption(numberOption("--min-p <share>", "keep tokens at least this likely beside the likeliest").default(0))
    .addOption(
      integerOption("--mirostat <version>", "hold the surprise near --mirostat-tau: 1, 2", { min: 0 }).default(0),
    )
    .addOption(numberOption("--mirostat-tau <bits>", "surprise of a token that mirostat aims at").default(5))
    .addOption(numberOption("--mirostat-eta <rate>", "how fast mirostat learns").default(0.1))
    .addOption(numberOption("--repetition-penalty <number>", "above 1, recent tokens become less likely").default(1))
    .addOption(numberOption("--presence-penalty <number>", "taken from the logits of recent tokens").default(0))
    .addOption(numberOption("--frequency-penalty <number>", "taken once for each time that one came").default(0))
    .addOption(integerOption("--repetition-window <count>", "how many tokens are recent", { min: 0 }).default(64))
    .addOption(
      new Option("--logit-bias <id=number...>", "added to logits of tokens, such as 13=-2.5; -inf bans one").argParser(
        readBias,
      ),
    )
    .addOption(integerOption("--seed <number>", "the same seed writes the same text", { min: 0 }).default(0))
    .addOption(new Option("--stop <text...>", "end before any of these strings"))
    .addOption(jsonSchemaOption())
    .addOption(grammarOption())
    .addOption(regexOption())
    .addOption(integerOption("--beams <count>", "search for the likeliest text instead of sampling", { max: 64 }))
    .addOption(
      integerOption("--logprobs <count>", "with --json: log-probabilities, and those of the likeliest", {
        min: 0,
        max: 100,
      }),
    )
    .addOption(speculateOption())
    .addOption(draftModelOption())
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
    .action(async (options: CommandOptions) => done(await generate(options)));
}

async function generate(options: CommandOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const model = requiredModel(options.model);
  requireCompatible(options);
  const sampling = samplerOptions({ ...options, typicalP: options.typical });
  const constraint = grammarOf(options);
  const prompt = options.prompt === "-" ? await readAll(process.stdin) : (options.prompt ?? "");
  const path = modelPath(model);
  const threads = options.threads ?? threadsFor(path);
  using interrupt = new Interrupt();
  const { stop, logprobs, tokens: maxTokens } = options;
  const wanted = { ...sampling, maxTokens, stop, logprobs, constraint, signal: interrupt.signal };
  const written = await withModel(path, { ...options, threads }, (loaded) =>
    options.beams === undefined
      ? withSpeculation(loaded, options, (speculation) => write(loaded, prompt, { ...wanted, speculation }, output))
      : search(loaded, prompt, { ...wanted, beams: options.beams }, output),
  );
  if (!output.isJson) process.stdout.write("\n");
  if (process.stderr.isTTY) remark(summary(written));
  if (written.isComplete === false)
    remark("the text is not complete: it ended before its grammar let it; see --tokens");
  output.result({ model, prompt, ...written, sampling });
  return written.endedBy === "interrupt" ? interrupt.exitCode : EXIT_OK;
}

/** What the command says of a text. */
interface Written extends Pick<GenerationResult, "text" | "endedBy" | "isComplete" | "logprobs"> {
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly usage?: Usage;
  readonly timings?: Timings;
  readonly beams?: readonly BeamText[];
}

/** Shows the text as it comes, the prompt first unless there is a constraint. */
async function write(
  loaded: LanguageModel,
  prompt: string,
  options: GenerateOptions,
  { isJson }: Output,
): Promise<Written> {
  const generation = loaded.generate(prompt, options);
  if (!isJson && prompt !== "" && options.constraint === undefined) process.stdout.write(generation.promptText);
  for await (const piece of generation) if (!isJson) await writeText(piece);
  const { tokens, timings, ...result } = await generation.result();
  return { ...result, tokens: tokens.length, tokensPerSecond: timings.decodeTokensPerSecond, timings };
}

async function search(
  loaded: LanguageModel,
  prompt: string,
  options: SearchTextOptions,
  { isJson }: Output,
): Promise<Written> {
  const { texts, endedBy, seconds } = await loaded.search(prompt, options);
  const [{ text, tokens, isEnded }] = texts;
  if (!isJson) process.stdout.write(options.constraint === undefined ? prompt + text : text);
  const isComplete = options.constraint === undefined ? undefined : isEnded;
  return { text, endedBy, isComplete, tokens, tokensPerSecond: tokens / seconds, beams: texts };
}

function requireCompatible({ json, logprobs, beams, stop, speculate, draftModel }: CommandOptions): void {
  if (logprobs !== undefined && json !== true) {
    throw new UsageError("--logprobs needs --json", { hint: "add --json: the log-probabilities are in its document" });
  }
  const others = [logprobs, stop, speculate, draftModel];
  if (beams === undefined || others.every((other) => other === undefined)) return;
  throw new UsageError("--beams searches among whole texts", {
    expected: "it without --stop, --logprobs, --speculate and --draft-model",
    hint: "leave --beams out, or give --tokens a smaller number",
  });
}

/** `13=-2.5`, or llama.cpp's `13-2.5`, beside what was read before. */
function readBias(text: string, before: Readonly<Record<number, number>> = {}): Readonly<Record<number, number>> {
  const found = /^(\d+)(?:=|(?=[+-]))([+-]?(?:\d+(?:\.\d*)?|\.\d+|inf))$/i.exec(text.trim());
  const value = Number(found?.[2].replace(/inf/i, "Infinity"));
  if (found !== null && !Number.isNaN(value)) return { ...before, [Number(found[1])]: value };
  throw new UsageError("--logit-bias cannot take this value", {
    where: "option --logit-bias <id=number...>",
    expected: "the id of a token and a number, such as 13=-2.5 or 13=-inf",
    got: JSON.stringify(text),
  });
}

/** A token of a small model is computed in less time than threads take to meet. */
const SMALL_MODEL_BYTES = 2 ** 24;

function threadsFor(path: string): number {
  return statSync(path).size < SMALL_MODEL_BYTES ? 1 : availableParallelism();
}

function summary({ tokens, tokensPerSecond, endedBy, timings }: Written): string {
  const speed = tokens > 1 ? `, ${formatRate(tokensPerSecond)} tokens/s` : "";
  const guesses = describeSpeculation(timings?.speculation);
  return `[${plural(tokens, "token")}${speed}${guesses}, ended by ${endedBy}]`;
}
