// `fidelity quantize`: a model with smaller types, and what that costs: size, errors, perplexity before and after.

import { existsSync } from "node:fs";
import type { SourceDtype } from "@fidelity/formats";
import { TextCorpus } from "@fidelity/train";
import { Command, Option } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { evaluateText, spreadWindows } from "../evaluate-text.ts";
import { withModel } from "../open-model.ts";
import {
  choiceOption,
  dataOption,
  integerOption,
  jsonOption,
  required,
  targetOption,
  threadsOption,
  tokenizerOption,
} from "../options.ts";
import type { Target } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { convertShown, formatReport, MATRIX_TYPES } from "./convert.ts";
import { requireTokens } from "./eval.ts";

interface QuantizeOptions {
  readonly type?: SourceDtype;
  readonly data?: readonly string[];
  readonly context: number;
  readonly maxTokens: number;
  readonly tokenizer?: string;
  readonly force?: boolean;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

const EXAMPLES = `
The output is a GGUF file, which llama.cpp and ollama read as well. --type is for the large matrices; norms, biases and
small ones stay as they are. Perplexity is measured on the same windows of --data before and after.

Examples:
  fidelity quantize model-f16.gguf model-q4_k.gguf --type q4_k
  fidelity quantize hugging-face-folder/ model-q8_0.gguf --type q8_0 --data wiki.txt`;

export function quantizeCommand(done: (exitCode: number) => void): Command {
  return new Command("quantize")
    .description("Write a model with smaller types, and report size, errors and perplexity before and after.")
    .argument("<model>", "a model of any format, or a name of `fidelity ls`")
    .argument("<output>", "the GGUF file to write")
    .addOption(choiceOption("--type <name>", "the type of the matrices", MATRIX_TYPES))
    .addOption(dataOption())
    .addOption(integerOption("--context <tokens>", "tokens of a window of --data").default(256))
    .addOption(integerOption("--max-tokens <count>", "score about this many tokens of --data").default(8192))
    .addOption(tokenizerOption())
    .addOption(new Option("--force", "write over a file that is there"))
    .addOption(targetOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, path: string, options: QuantizeOptions) =>
      done(await quantize(model, path, options)),
    );
}

async function quantize(model: string, path: string, options: QuantizeOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const dtype = required(options.type, "--type <name>", "such as q8_0 or q4_k");
  if (!path.endsWith(".gguf")) {
    throw new UsageError("quantize writes GGUF", {
      where: path,
      expected: "a name that ends in .gguf",
      hint: "fidelity convert writes other formats",
    });
  }
  if (options.force !== true && existsSync(path)) {
    throw new UsageError("there is something in the place of the output", {
      where: path,
      hint: "choose another name, or --force to write over it",
    });
  }
  const input = modelPath(model);
  const corpus = options.data === undefined ? undefined : TextCorpus.open(options.data);
  // Before anything is written, so that a text or a model that cannot be used leaves nothing behind.
  const before = corpus === undefined ? undefined : await perplexityOf(input, corpus, options, options.tokenizer);
  const report = await convertShown(input, path, { format: "gguf", dtype, tokenizer: options.tokenizer });
  if (typeof report === "number") return report;
  output.line(formatReport(report));
  if (corpus === undefined || before === undefined) {
    output.result(report);
    return EXIT_OK;
  }
  const after = await perplexityOf(path, corpus, options);
  const change = `${after >= before ? "+" : ""}${(100 * (after / before - 1)).toFixed(2)} %`;
  output.line(`perplexity: ${before.toPrecision(5)} before, ${after.toPrecision(5)} after (${change})`);
  output.result({ ...report, perplexity: { before, after } });
  return EXIT_OK;
}

async function perplexityOf(
  path: string,
  corpus: TextCorpus,
  { context, maxTokens, target, threads }: QuantizeOptions,
  tokenizer?: string,
): Promise<number> {
  return withModel(path, { target, threads, tokenizer }, async (loaded) => {
    const { tokens } = corpus.tokenize(loaded.tokenizer);
    requireTokens(tokens);
    const windows = spreadWindows(tokens.length, Math.min(context, loaded.model.contextLimit ?? Infinity), maxTokens);
    return Math.exp((await evaluateText(loaded, loaded.parameters, tokens, windows)).loss);
  });
}
