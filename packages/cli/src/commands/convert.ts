// `fidelity convert`: a model file in another format, or with other types, and a report of what that cost.

import { existsSync, statSync } from "node:fs";
import { SOURCE_DTYPES } from "@fidelity/formats";
import type { SourceDtype } from "@fidelity/formats";
import { CONVERT_FORMATS, convertModel } from "@fidelity/run/node";
import type { ConvertedTensor, ConvertFormat, ConvertReport } from "@fidelity/run/node";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { choiceOption, jsonOption, tokenizerOption } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { formatSize, formatTable, plural, progressBar } from "../table.ts";

interface ConvertCommandOptions {
  readonly to?: ConvertFormat;
  readonly type?: SourceDtype;
  readonly tokenizer?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
The format follows from the name: .gguf, .fid, or a folder for safetensors with config.json. Norms, biases and small
matrices stay as they are; --type is for the large ones. What was written is read back: the report says how far it is
from what was there.

Examples:
  fidelity convert model.gguf model.fid
  fidelity convert hugging-face-folder/ model.gguf --type q8_0
  fidelity convert model-f16.gguf model-q4_k.gguf --type q4_k
  fidelity convert runs/quickstart quickstart --to safetensors`;

export function convertCommand(done: (exitCode: number) => void): Command {
  return new Command("convert")
    .description("Write a model in another format or with other types, and report what that changes.")
    .argument("<model>", "a model of any format: a run folder, GGUF, safetensors, llama2.c")
    .argument("<output>", "the file to write, or for safetensors the folder")
    .addOption(choiceOption("--to <format>", "the format, where the name does not tell", CONVERT_FORMATS))
    .addOption(choiceOption("--type <name>", "the type of the matrices (default: as they are, or f32)", SOURCE_DTYPES))
    .addOption(tokenizerOption())
    .option("--force", "write over a file that is there")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, output: string, options: ConvertCommandOptions) =>
      done(await convert(model, output, options)),
    );
}

async function convert(model: string, path: string, options: ConvertCommandOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const format = options.to ?? formatOfName(path);
  if (options.force !== true && existsSync(path) && !isEmptyPlace(path)) {
    throw new UsageError("there is something in the place of the output", {
      where: path,
      hint: "choose another name, or --force to write over it",
    });
  }
  if (options.type !== undefined && format === "fidelity") {
    throw new UsageError("--type is for GGUF and safetensors", {
      where: "option --type <name>",
      expected: "a file of Fidelity's own keeps ternary weights packed and everything else in float32",
      hint: "leave --type away",
    });
  }
  using interrupt = new Interrupt();
  const report = await convertModel(modelPath(model), path, {
    format,
    dtype: options.type,
    tokenizer: options.tokenizer,
    signal: interrupt.signal,
    onProgress: process.stderr.isTTY ? showProgress : undefined,
  }).catch((error: unknown) => {
    if (interrupt.signal.aborted) return undefined;
    throw error;
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (report === undefined) {
    remark("stopped; nothing was written");
    return interrupt.exitCode;
  }
  output.line(formatReport(report));
  output.result(report);
  return EXIT_OK;
}

/** A folder for safetensors may be there. */
function isEmptyPlace(path: string): boolean {
  return statSync(path).isDirectory() && !existsSync(`${path}/model.safetensors`) && !existsSync(`${path}/config.json`);
}

function formatOfName(path: string): ConvertFormat {
  if (path.endsWith(".gguf")) return "gguf";
  if (path.endsWith(".fid")) return "fidelity";
  if (existsSync(path) && statSync(path).isDirectory()) return "safetensors";
  throw new UsageError("which format?", {
    where: path,
    expected: "a name that ends in .gguf or .fid, the folder of a safetensors model, or --to",
    got: JSON.stringify(path),
  });
}

function showProgress(done: number, total: number, name: string): void {
  process.stderr.write(`\r\x1b[K${progressBar(done, total)} ${name}`);
}

function formatReport({ output, bytesBefore, bytesAfter, tensors }: ConvertReport): string {
  const groups = Map.groupBy(tensors, ({ from, to }) => `${from} -> ${to}`);
  const rows = Array.from(groups, ([change, members]) => {
    const sum = (of: (tensor: ConvertedTensor) => number): number => members.reduce((total, t) => total + of(t), 0);
    const largest = Math.max(...members.map(({ largestError }) => largestError));
    const relative = Math.sqrt(sum(({ relativeError }) => relativeError ** 2) / members.length);
    return [
      change,
      plural(members.length, "tensor"),
      formatSize(sum(({ bytesBefore: bytes }) => bytes)),
      formatSize(sum(({ bytesAfter: bytes }) => bytes)),
      largest === 0 ? "exact" : largest.toPrecision(3),
      largest === 0 ? "" : `${(100 * relative).toPrecision(3)} %`,
    ];
  });
  const head = ["types", "", "before", "after", "largest error", "relative"];
  const table = formatTable([head, ...rows], ["left", "left", "right", "right", "right", "right"]);
  return `${table}\n\n${output}: ${formatSize(bytesAfter)} (was ${formatSize(bytesBefore)}), read back and compared`;
}
