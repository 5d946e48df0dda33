// What studies of trainings share: texts, curves, and shares of the work in processes of their own.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { CharacterTokenizer } from "@fidelity/models";
import type { Tokenizer } from "@fidelity/models";
import { TextCorpus } from "@fidelity/train";
import type { MetricsRow, TokenData } from "@fidelity/train";

/** A text in characters. */
export interface Text {
  readonly tokenizer: Tokenizer;
  readonly data: TokenData;
}

export function openText(path: string): Text {
  const corpus = TextCorpus.open([path]);
  const tokenizer = CharacterTokenizer.fromTexts(corpus.texts());
  return { tokenizer, data: corpus.tokenize(tokenizer) };
}

/** The name of a corpus: that of its file, without the ending. */
export function corpusName(path: string): string {
  return basename(path).replace(/\.[^.]*$/, "");
}

/** The rows of a run's metrics. */
export function readMetrics(path: string): MetricsRow[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as MetricsRow);
}

/** The validation losses of a run, by step. */
export function validationCurve(path: string): [step: number, loss: number][] {
  return readMetrics(path).flatMap(({ step, validationLoss }): [number, number][] =>
    validationLoss === undefined ? [] : [[step, validationLoss]],
  );
}

/** This command again, with `--shard` and further arguments, for its share of the trainings. */
export function startShard(shard: number, args: readonly string[] = []): Promise<void> {
  const [, script, ...given] = process.argv;
  const child = spawn(process.execPath, [script, ...given, "--shard", String(shard), ...args], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a share of the study ended with ${code}`))));
  });
}
