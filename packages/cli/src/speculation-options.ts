// --speculate and --draft-model: who guesses what comes next, so that several tokens are read at once.

import type { LanguageModel, SpeculationOptions, SpeculationReport } from "@fidelity/run";
import { languageModelOf } from "@fidelity/run/node";
import { Option } from "commander";
import { UsageError } from "./errors.ts";
import { openTrained, showImport } from "./open-model.ts";
import { modelPath } from "./run-folder.ts";

export interface SpeculationChoice {
  readonly speculate?: number | true;
  readonly draftModel?: string;
}

const LENGTHS: readonly number[] = [1, 3, 7, 15];

export const speculateOption = (): Option =>
  new Option(
    "--speculate [tokens]",
    "guess what was written before after the same words, up to 1, 3, 7 (default) or 15 tokens; the text stays as it is",
  ).argParser((text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (LENGTHS.includes(value)) return value;
    throw new UsageError("--speculate cannot take this value", {
      where: "option --speculate [tokens]",
      expected: LENGTHS.join(", "),
      got: JSON.stringify(text),
    });
  });

export const draftModelOption = (): Option =>
  new Option("--draft-model <path>", "a smaller model of the same vocabulary guesses; the distribution stays as it is");

/** Opens what the options ask for, on the device of a model, and gives it to `use`. Throws what `openModel` throws. */
export async function withSpeculation<T>(
  { device }: Pick<LanguageModel, "device">,
  { speculate, draftModel: path }: SpeculationChoice,
  use: (speculation: SpeculationOptions | undefined) => Promise<T>,
): Promise<T> {
  const draftTokens = typeof speculate === "number" ? speculate : undefined;
  if (path === undefined) return use(speculate === undefined ? undefined : { draftTokens });
  await using draftModel = languageModelOf(
    await openTrained(modelPath(path), device, { onProgress: showImport }),
    device,
  );
  return await use({ draftModel, draftTokens });
}

/** `, 71 % of 30 guesses right`, or nothing. */
export function describeSpeculation(report: SpeculationReport | undefined): string {
  if (report === undefined) return "";
  return `, ${Math.round(100 * report.acceptanceRate)} % of ${report.draftedTokens} guessed tokens right`;
}
