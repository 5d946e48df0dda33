// `fidelity logits`: what a model computes for given tokens, as raw float32, so that anyone can compare it with what
// another program computes.

import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { toFileError } from "@fidelity/barewire/node";
import { logitsOf } from "@fidelity/models";
import { openModel } from "@fidelity/run/node";
import { Command } from "commander";
import { EXIT_OK, UsageError } from "../errors.ts";
import { openDevice, showImport } from "../open-model.ts";
import { jsonOption, required, targetOption, threadsOption } from "../options.ts";
import type { Target } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { plural } from "../table.ts";

interface LogitsOptions {
  readonly tokens?: string;
  readonly out?: string;
  readonly oneByOne?: boolean;
  readonly roundedActivations?: boolean;
  readonly target: Target;
  readonly threads: number;
  readonly json?: boolean;
}

const EXAMPLES = `
The tokens are a JSON array of ids, read in one batch; or an object with "tokens", read in one batch, and
"continuation", whose ids are read one at a time after them. The output is little-endian float32, one row of logits
after each token; of an encoder such as BERT, each token's embedding from the last layer. Weights of q8_0, q4_0 and K
types are multiplied with float32 activations, so that the file's numbers are what is compared; other commands round
activations to 8 bits there, as llama.cpp does, and so does --rounded-activations.

Examples:
  echo "[1, 5, 9]" > tokens.json
  fidelity logits model.gguf --tokens tokens.json --out logits.f32
  fidelity logits model.gguf --tokens tokens.json --out logits.f32 --one-by-one --target native --threads 2`;

export function logitsCommand(done: (exitCode: number) => void): Command {
  return new Command("logits")
    .description("Write the logits that a model gives after each of some tokens, as raw float32.")
    .argument("<model>", "a model of any format: a run folder, GGUF, safetensors, llama2.c")
    .option("--tokens <file>", "the token ids, as JSON")
    .option("--out <file>", "where the logits go")
    .option("--one-by-one", "read every token by itself, as decoding does")
    .option("--rounded-activations", "round to 8 bits what meets quantised weights, as generating does")
    .addOption(targetOption())
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, options: LogitsOptions) => done(await logits(model, options)));
}

async function logits(model: string, options: LogitsOptions): Promise<number> {
  const output = createOutput(options.json === true);
  const path = required(options.tokens, "--tokens <file>", "the token ids, as JSON");
  const out = required(options.out, "--out <file>", "where the logits go");
  const file = readTokens(path);
  const all = [...file.tokens, ...file.continuation];
  const device = openDevice(options.target, options.threads);
  try {
    const exactActivations = options.roundedActivations !== true;
    using opened = await openModel(modelPath(model), device, { exactActivations, onProgress: showImport });
    const batches = opened.model.encoder === undefined ? batchesOf(file, options) : [all];
    const values = await writeFloats(out, logitsOf(opened.model, opened.parameters, device, batches));
    const shape = [all.length, values / all.length];
    output.line(`${out}: ${plural(all.length, "row")} of ${shape[1]} float32`);
    output.result({ model, out, shape });
  } finally {
    await device.close();
  }
  return EXIT_OK;
}

/** What is read at once. An encoder's tokens all see each other, so those are always one batch. */
function batchesOf({ tokens, continuation }: TokenFile, { oneByOne }: LogitsOptions): readonly (readonly number[])[] {
  const single = (ids: readonly number[]): number[][] => ids.map((id) => [id]);
  return oneByOne === true ? single([...tokens, ...continuation]) : [tokens, ...single(continuation)];
}

/** Writes piece after piece beside the file, which then takes its place. Gives the number of values. */
async function writeFloats(path: string, pieces: AsyncIterable<Float32Array>): Promise<number> {
  const beside = `${path}.part`;
  const descriptor = attempt(path, () => openSync(beside, "w"));
  let count = 0;
  try {
    try {
      for await (const piece of pieces) {
        count += piece.length;
        const bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
        attempt(path, () => writeAll(descriptor, bytes));
      }
    } finally {
      closeSync(descriptor);
    }
    attempt(path, () => renameSync(beside, path));
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
  return count;
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.byteLength; at += writeSync(descriptor, bytes, at));
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw toFileError(error, "write", path);
  }
}

interface TokenFile {
  readonly tokens: readonly number[];
  readonly continuation: readonly number[];
}

function readTokens(path: string): TokenFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw toFileError(error, "read", path);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw noTokens(path, error instanceof Error ? error.message : "no JSON");
  }
  if (isTokenList(value) && value.length > 0) return { tokens: value, continuation: [] };
  if (
    typeof value === "object" &&
    value !== null &&
    "tokens" in value &&
    isTokenList(value.tokens) &&
    value.tokens.length > 0
  ) {
    const continuation = "continuation" in value ? value.continuation : [];
    if (isTokenList(continuation)) return { tokens: value.tokens, continuation };
  }
  throw noTokens(path, text.slice(0, 40));
}

/** Ids that are out of the vocabulary are refused by the session. */
function isTokenList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((token) => Number.isInteger(token));
}

function noTokens(path: string, got: string): UsageError {
  return new UsageError("the file holds no token ids", {
    where: path,
    expected: `a JSON array such as [1, 5, 9], or { "tokens": [1, 5], "continuation": [9] }`,
    got,
  });
}
