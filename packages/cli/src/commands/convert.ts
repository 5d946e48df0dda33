// `fidelity convert`: a model file in another format, or with other types, and a report of what that cost.

import { existsSync, statSync } from "node:fs";
import { extname } from "node:path";
import { SOURCE_DTYPES } from "@fidelity/formats";
import type { SourceDtype } from "@fidelity/formats";
import { CONVERT_FORMATS, convertModel } from "@fidelity/run/node";
import type { ConvertedTensor, ConvertFormat, ConvertOptions, ConvertReport } from "@fidelity/run/node";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { choiceOption, integerOption, jsonOption, tokenizerOption } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { formatSize, formatTable, plural, progressBar } from "../table.ts";

interface ConvertCommandOptions {
  readonly to?: ConvertFormat;
  readonly type?: SourceDtype;
  readonly tokenizer?: string;
  readonly context?: number;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Types that weights are written in. */
export const MATRIX_TYPES = SOURCE_DTYPES.filter((dtype) => !/^([iu]\d+|bool|f64)$/.test(dtype));

/** Those that safetensors and ONNX have. */
const FLOATS: readonly SourceDtype[] = ["f32", "f16", "bf16"];

const EXAMPLES = `
The format follows from the name: .gguf, .onnx, .fid, or a folder (a name without ending) for safetensors with
config.json. An .onnx file computes the logits, or an encoder's vectors, of sequences of one length: see --context.
Norms, biases and small matrices stay as they are; --type is for the large ones. The tokenizer, chat templates and what
the file says of the model go along. What was written is read back: the report says how far it is from what was there.
Parameters are converted one by one: files may be larger than memory, in which the largest parameter, mostly the
embedding, has to fit some four times in float32. An .onnx file is made as a whole.

Examples:
  fidelity convert model.gguf model.fid
  fidelity convert hugging-face-folder/ model.gguf --type q8_0
  fidelity convert model-f16.gguf model-q4_k.gguf --type q4_k
  fidelity convert stories260K.bin stories260K/
  fidelity convert bert.gguf bert.onnx --context 128`;

export function convertCommand(done: (exitCode: number) => void): Command {
  return new Command("convert")
    .description("Write a model in another format or with other types, and report what that changes.")
    .argument("<model>", "a model of any format: a run folder, GGUF, safetensors, llama2.c")
    .argument("<output>", "the file to write, or for safetensors the folder")
    .addOption(choiceOption("--to <format>", "the format, where the name does not tell", CONVERT_FORMATS))
    .addOption(choiceOption("--type <name>", "the type of the matrices (default: as they are, or f32)", MATRIX_TYPES))
    .addOption(tokenizerOption())
    .addOption(integerOption("--context <tokens>", "of an .onnx file: tokens of a sequence (default: at most 128)"))
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
  checkType(options.type, format);
  if (options.context !== undefined && format !== "onnx") {
    throw new UsageError("--context is for ONNX, whose files have sequences of one length", {
      where: "option --context <tokens>",
      hint: "leave it away",
    });
  }
  const report = await convertShown(modelPath(model), path, {
    format,
    dtype: options.type,
    tokenizer: options.tokenizer,
    context: options.context,
  });
  if (typeof report === "number") return report;
  output.line(formatReport(report));
  output.result(report);
  return EXIT_OK;
}

/** Throws `UsageError` for a type that the format does not have. */
function checkType(type: SourceDtype | undefined, format: ConvertFormat): void {
  if (type === undefined || format === "gguf") return;
  const where = "option --type <name>";
  if (format === "fidelity") {
    throw new UsageError("--type is for GGUF, safetensors and ONNX", {
      where,
      expected: "a file of Fidelity's own keeps ternary weights packed and everything else in float32",
      hint: "leave --type away",
    });
  }
  if (FLOATS.includes(type)) return;
  const hint = "a .gguf file holds every type";
  throw new UsageError(`${format === "onnx" ? "ONNX" : "safetensors"} has no such type`, {
    where,
    expected: FLOATS.join(", "),
    got: type,
    hint,
  });
}

/** A folder for safetensors may be there. */
function isEmptyPlace(path: string): boolean {
  return statSync(path).isDirectory() && !existsSync(`${path}/model.safetensors`) && !existsSync(`${path}/config.json`);
}

function formatOfName(path: string): ConvertFormat {
  if (path.endsWith(".gguf")) return "gguf";
  if (path.endsWith(".fid")) return "fidelity";
  if (path.endsWith(".onnx")) return "onnx";
  if (extname(path) === "" || (existsSync(path) && statSync(path).isDirectory())) return "safetensors";
  const isWeights = path.endsWith(".safetensors");
  throw new UsageError("which format?", {
    where: path,
    expected: "a name that ends in .gguf, .onnx or .fid, a folder for safetensors, or --to",
    got: JSON.stringify(path),
    hint: isWeights
      ? `a model in safetensors is a folder with several files: ${path.slice(0, -extname(path).length)}`
      : "choose one of those names",
  });
}

/** Converts with a bar where there is a terminal. Gives the exit code instead of a report where Ctrl-C ended it. */
export async function convertShown(
  input: string,
  path: string,
  options: Omit<ConvertOptions, "signal" | "onProgress">,
): Promise<ConvertReport | number> {
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const onProgress = process.stderr.isTTY ? showProgress : undefined;
  try {
    return await convertModel(input, path, { ...options, signal, onProgress });
  } catch (error) {
    if (!signal.aborted) throw error;
    remark("stopped; nothing was written");
    return interrupt.exitCode;
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}

function showProgress(done: number, total: number, name: string): void {
  process.stderr.write(`\r\x1b[K${progressBar(done, total)} ${name}`);
}

/** The report for people. */
export function formatReport(report: ConvertReport): string {
  const { output, bytesBefore, bytesAfter, tensors, notices } = report;
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
  const sizes = `${formatSize(bytesAfter)} (was ${formatSize(bytesBefore)}), read back and compared`;
  const notes = notices.map((notice) => `note: ${notice}`);
  return [`${table}\n`, formatKept(report), ...notes, `${output}: ${sizes}`].join("\n");
}

function formatKept({ tokenizer, hasChatTemplate, notices }: ConvertReport): string {
  const template = hasChatTemplate ? "with its chat template" : "no chat template";
  if (tokenizer !== undefined) return `tokenizer: ${tokenizer.kind}, ${tokenizer.vocabSize} tokens, ${template}`;
  return notices.length > 0
    ? "tokenizer: none"
    : "tokenizer: none; the model has none either (--tokenizer gives it one)";
}
