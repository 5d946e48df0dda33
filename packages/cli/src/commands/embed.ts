// `fidelity embed`: texts as vectors, by an encoder.

import { text as readAll } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { withModel } from "../open-model.ts";
import { choiceOption, jsonOption, targetOption, threadsOption, tokenizerOption } from "../options.ts";
import type { Target } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";

interface EmbedOptions {
  readonly pooling?: "mean" | "first";
  readonly normalize: boolean;
  readonly tokenizer?: string;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

const EXAMPLES = `
One line of numbers a text, in JSON. Vectors have length 1, so that their dot product is the cosine of their angle.

Examples:
  fidelity embed bge-small.gguf "a cat on a mat" "a dog on a log"
  fidelity embed bge-small.gguf < titles.txt > vectors.jsonl`;

export function embedCommand(done: (exitCode: number) => void): Command {
  return new Command("embed")
    .description("Turn texts into vectors with an encoder such as BERT.")
    .argument("<model>", "an encoder: a path, or a name of `fidelity ls`")
    .argument("[text...]", "the texts; without any, the lines of standard input")
    .addOption(
      choiceOption("--pooling <name>", "how a text's vectors become one (default: the model's)", ["mean", "first"]),
    )
    .option("--no-normalize", "leave the vectors as long as they are")
    .addOption(tokenizerOption())
    .addOption(targetOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, texts: readonly string[], options: EmbedOptions) =>
      done(await embed(model, texts, options)),
    );
}

async function embed(model: string, given: readonly string[], options: EmbedOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const texts = given.length > 0 ? given : await linesOfInput();
  using interrupt = new Interrupt();
  return await withModel(modelPath(model), options, async (loaded) => {
    const pooling = options.pooling ?? loaded.model.encoder?.pooling;
    const results: { text: string; tokens: number; vector: number[] }[] = [];
    for (const text of texts) {
      const [{ vector: values, tokens }] = await loaded.embed([text], options);
      const vector = Array.from(values);
      if (!output.isJson) output.line(JSON.stringify(vector));
      results.push({ text, tokens, vector });
      await setImmediate(); // signals are heard between texts
      if (interrupt.signal.aborted) return interrupt.exitCode;
    }
    output.result({ model, pooling, dim: results[0].vector.length, isNormalized: options.normalize, results });
    return EXIT_OK;
  });
}

async function linesOfInput(): Promise<string[]> {
  const lines = process.stdin.isTTY ? [] : (await readAll(process.stdin)).split(/\r?\n/).filter((line) => line !== "");
  if (lines.length > 0) return lines;
  throw new UsageError("there is no text", { expected: "texts behind the model, or lines on standard input" });
}
