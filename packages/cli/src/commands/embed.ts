// `fidelity embed`: texts as vectors, by an encoder.

import { text as readAll } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { encode, ModelKindError } from "@fidelity/models";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { withModel } from "../open-model.ts";
import type { LoadedModel } from "../open-model.ts";
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
  return withModel(modelPath(model), options, async (loaded) => {
    const pooling = options.pooling ?? poolingOf(loaded);
    const results: { text: string; tokens: number; vector: number[] }[] = [];
    for (const text of texts) {
      const tokens = loaded.tokenizer.encode(text, { addBos: true, addEos: true });
      const values = await encode(loaded.model, loaded.parameters, loaded.device, tokens, pooling);
      const vector = Array.from(options.normalize ? unit(values) : values);
      if (!output.isJson) output.line(JSON.stringify(vector));
      results.push({ text, tokens: tokens.length, vector });
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

function poolingOf({ model, info }: LoadedModel): "mean" | "first" {
  if (model.encoder !== undefined) return model.encoder.pooling;
  throw new ModelKindError("embed needs an encoder", {
    where: info.path,
    expected: "a model of an architecture such as bert",
    got: `a language model of architecture ${model.architecture}`,
    hint: "of those that fidelity architectures shows, encoders have no state",
  });
}

/** A vector of length 1 in the same direction; zeros stay zeros. */
function unit(values: Float32Array): Float32Array {
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? values : values.map((value) => value / length);
}
