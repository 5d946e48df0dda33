// `fidelity eval`: how well a model predicts a text, chooses among answers or recalls what it read, as it lies in the
// file, and packed beside float32 where both can be had.

import { existsSync } from "node:fs";
import { readContainerHeader } from "@fidelity/barewire/node";
import { countParameters, NARROW_DTYPES, packParameters } from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import type { LanguageModel } from "@fidelity/run";
import type { ModelInfo } from "@fidelity/run/node";
import { CorpusTooShortError, readQuestions, RunFolder, splitTokens, TextCorpus } from "@fidelity/train";
import type { TokenArray } from "@fidelity/train";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { measureChoices, measureRecall } from "../evaluate-tasks.ts";
import type { TaskReport } from "../evaluate-tasks.ts";
import { evaluateText, spreadWindows } from "../evaluate-text.ts";
import type { Windows } from "../evaluate-text.ts";
import { openTrained, withModel } from "../open-model.ts";
import {
  choiceOption,
  dataOption,
  integerOption,
  integersOption,
  jsonOption,
  modelOption,
  pinOption,
  prebuiltOption,
  required,
  requiredModel,
  targetOption,
  threadsOption,
  tokenizerOption,
} from "../options.ts";
import type { DeviceChoice, Target } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { formatCount, formatRate, formatTable, plural } from "../table.ts";

const TASKS = ["perplexity", "multiple-choice", "mqar"] as const;

interface EvalOptions extends DeviceChoice {
  readonly task: (typeof TASKS)[number];
  readonly model?: string;
  readonly tokenizer?: string;
  readonly data?: readonly string[];
  readonly split: "all" | "validation";
  readonly context?: number;
  readonly maxTokens?: number;
  readonly pairs?: readonly number[];
  readonly sequences?: number;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

const DEFAULT_CONTEXT = 256;

const EXAMPLES = `
Perplexity. The text is cut into windows of --context tokens, each of which starts afresh. Loss is the mean negative
log-probability of a token in nats, perplexity its exponential; bits per byte compare models with different
vocabularies.

Multiple choice. --data is a file with a JSON object a line:
  {"question": "...", "choices": ["...", "..."], "answer": 0}
With "context" instead of "question" the text stands as it is; "answer" is an index from 0, a letter, or the choice. The
model chooses what it gives the highest log-likelihood; normalised, by character (acc and acc_norm of
lm-evaluation-harness).

MQAR. Multi-query associative recall: sequences of key and value pairs, then keys whose values are asked for. It needs
no --data; see \`fidelity train --task mqar\`.

Examples:
  fidelity eval --model runs/notes --data notes/ --split validation
  fidelity eval --model stories260K.bin --tokenizer tok512.bin --data stories.txt --context 512
  fidelity eval --model runs/notes --task multiple-choice --data questions.jsonl
  fidelity eval --model runs/recall --task mqar --pairs 4,8,16`;

export function evalCommand(done: (exitCode: number) => void): Command {
  return new Command("eval")
    .description("Measure a model: perplexity and bits per byte of a text, multiple choice, or associative recall.")
    .addOption(choiceOption("--task <name>", "what to measure", TASKS).default("perplexity"))
    .addOption(modelOption())
    .addOption(tokenizerOption())
    .addOption(dataOption())
    .addOption(
      choiceOption("--split <name>", "all of the text, or the last tenth", ["all", "validation"]).default("all"),
    )
    .addOption(
      integerOption("--context <tokens>", "tokens that a prediction may look back on (default: as trained)", {
        max: 1 << 20,
      }),
    )
    .addOption(
      integerOption("--max-tokens <count>", "score about this many tokens, spread over the text (default: all)"),
    )
    .addOption(integersOption("--pairs <counts>", "MQAR: numbers of pairs (default: powers of 2)", { max: 1 << 20 }))
    .addOption(integerOption("--sequences <count>", "MQAR: sequences for each (default: 256)", { max: 1 << 20 }))
    .addOption(targetOption())
    .addOption(threadsOption())
    .addOption(prebuiltOption())
    .addOption(pinOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (options: EvalOptions) => done(await evaluate(options)));
}

interface Row {
  /** "packed", "float32", or the narrow dtypes of the file. */
  readonly weights: string;
  readonly lossNatsPerToken: number;
  readonly perplexity: number;
  readonly bitsPerByte: number;
  readonly tokensPerSecond: number;
}

async function evaluate(options: EvalOptions): Promise<number> {
  const path = requiredModel(options.model);
  requireFitting(options);
  if (options.task !== "perplexity") return evaluateTask(path, options);
  const output = createOutput(options.json === true);
  const corpus = TextCorpus.open(required(options.data, "--data <path...>", "the text to score"));
  await withModel(modelPath(path), options, async (loaded, info) => {
    const { tokens: all } = corpus.tokenize(loaded.tokenizer);
    const tokens = options.split === "all" ? all : splitTokens(all).validation;
    requireTokens(tokens);
    const windows = spreadWindows(tokens.length, contextOf(options, loaded.model, info), options.maxTokens);
    const bytesPerToken = Buffer.byteLength(loaded.tokenizer.decode(tokens)) / tokens.length;
    const rows: Row[] = [];
    await eachVariant(path, loaded, info, async (weights, parameters) => {
      rows.push(await measure(weights, loaded, parameters, tokens, windows, bytesPerToken));
    });
    const scored = windows.starts.length * windows.contextLength;
    const { starts, contextLength } = windows;
    output.line(`${formatCount(scored)} tokens in ${plural(starts.length, "window")} of ${contextLength}\n`);
    output.line(formatRows(rows));
    output.result({ model: path, tokens: scored, context: windows.contextLength, bytesPerToken, results: rows });
  });
  return EXIT_OK;
}

/** Options of one task say nothing to another. Throws `UsageError`. */
function requireFitting({ task, pairs, sequences, data, split, maxTokens }: EvalOptions): void {
  const strangers: readonly (readonly [isGiven: boolean, option: string, task: string])[] = [
    [task !== "mqar" && pairs !== undefined, "--pairs", "mqar"],
    [task !== "mqar" && sequences !== undefined, "--sequences", "mqar"],
    [task === "mqar" && data !== undefined, "--data", "perplexity or multiple-choice"],
    [task !== "perplexity" && split !== "all", "--split", "perplexity"],
    [task !== "perplexity" && maxTokens !== undefined, "--max-tokens", "perplexity"],
  ];
  const stranger = strangers.find(([isGiven]) => isGiven);
  if (stranger === undefined) return;
  const [, option, of] = stranger;
  throw new UsageError(`${option} means nothing to --task ${task}`, {
    where: `option ${option}`,
    hint: `leave it out, or use --task ${of}`,
  });
}

/** Multiple choice, and recall. */
async function evaluateTask(path: string, options: EvalOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const isRecall = options.task === "mqar";
  const questions = isRecall
    ? []
    : required(options.data, "--data <path...>", "a file of questions").flatMap(readQuestions);
  await withModel(modelPath(path), options, async (loaded, info) => {
    const reports: TaskReport[] = [];
    const { device, model, tokenizer } = loaded;
    await eachVariant(path, loaded, info, async (weights, parameters) => {
      const variant = { device, model, tokenizer, parameters, weights };
      reports.push(
        isRecall
          ? await measureRecall(variant, { ...options, context: contextOf(options, model, info) })
          : await measureChoices(variant, questions, options.context),
      );
    });
    output.line(`${reports[0].what}\n`);
    output.line(formatTable([reports[0].header, ...reports.flatMap(({ rows }) => rows)]));
    output.result({ model: path, task: options.task, results: reports.map(({ result }) => result) });
  });
  return EXIT_OK;
}

/** Throws `CorpusTooShortError` for a text of which nothing can be predicted. */
export function requireTokens(tokens: TokenArray): void {
  if (tokens.length >= 2) return;
  throw new CorpusTooShortError("the text is too short to score", {
    expected: "at least 2 tokens: one to read and one to predict",
    got: `${tokens.length}`,
    hint: "use more text, or --split all",
  });
}

function contextOf({ context }: EvalOptions, model: Model, info: ModelInfo): number {
  return Math.min(context ?? trainedContext(info) ?? DEFAULT_CONTEXT, model.contextLimit ?? Infinity);
}

/** The context that a model was trained with: a finished model notes it, and a checkpoint has it in its settings. */
function trainedContext({ path, kind, metadata }: ModelInfo): number | undefined {
  const config = kind === "checkpoint" ? readContainerHeader(path).config : undefined;
  const settings = isRecord(config) && isRecord(config.settings) ? config.settings : metadata;
  const { contextLength } = settings;
  return typeof contextLength === "number" && contextLength >= 1 ? Math.floor(contextLength) : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/**
 * Calls `use` with each form of the weights: those of the file, the packed ones that follow from float32, and the
 * float32 ones of the checkpoint where the file is the packed model of a run folder.
 */
async function eachVariant(
  path: string,
  { model, parameters, device }: LanguageModel,
  info: ModelInfo,
  use: (weights: Row["weights"], parameters: DeviceParameters) => Promise<void>,
): Promise<void> {
  if (!info.isPacked) {
    await use(nameOfWeights(parameters), parameters);
    if (countParameters(model.parameters).ternaryParameters === 0) return;
    const packed = await packParameters(model, parameters, device);
    await use("packed", packed);
    for (const [name, tensor] of packed) if (tensor !== parameters.get(name)) tensor.free();
    return;
  }
  const { checkpoint } = new RunFolder(path);
  if (existsSync(checkpoint)) {
    using float32 = await openTrained(checkpoint, device);
    if (isSameModel(float32.info, model)) await use("float32", float32.parameters);
  }
  await use("packed", parameters);
}

/** The narrow dtypes that weights of another program's file stayed in, or float32. */
function nameOfWeights(parameters: DeviceParameters): string {
  const dtypes = new Set<string>(Array.from(parameters.values(), ({ type }) => type.dtype));
  return NARROW_DTYPES.filter((dtype) => dtypes.has(dtype)).join(" and ") || "float32";
}

function isSameModel({ model }: ModelInfo, other: Model): boolean {
  return JSON.stringify(model.config) === JSON.stringify(other.config);
}

async function measure(
  weights: Row["weights"],
  loaded: LanguageModel,
  parameters: DeviceParameters,
  tokens: TokenArray,
  windows: Windows,
  bytesPerToken: number,
): Promise<Row> {
  const { loss, tokens: scored, seconds } = await evaluateText(loaded, parameters, tokens, windows);
  return {
    weights,
    lossNatsPerToken: loss,
    perplexity: Math.exp(loss),
    bitsPerByte: loss / Math.LN2 / bytesPerToken,
    tokensPerSecond: scored / seconds,
  };
}

function formatRows(rows: readonly Row[]): string {
  const header = ["weights", "loss (nats/token)", "perplexity", "bits/byte", "tokens/s"];
  const body = rows.map(({ weights, lossNatsPerToken, perplexity, bitsPerByte, tokensPerSecond }) => [
    weights,
    lossNatsPerToken.toFixed(4),
    perplexity.toPrecision(4),
    bitsPerByte.toFixed(4),
    formatRate(tokensPerSecond),
  ]);
  return formatTable([header, ...body]);
}
