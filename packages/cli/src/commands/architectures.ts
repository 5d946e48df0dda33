// `fidelity architectures`: what can be built, trained, opened and written, from the registry itself. docs/models.md is
// its --markdown.

import { flattenTree, isTensorType, storageBytes } from "@fidelity/core";
import { SOURCE_DTYPES } from "@fidelity/formats";
import {
  architectures,
  countParameters,
  createModel,
  ModelConfigError,
  namings,
  sampleConfigs,
} from "@fidelity/models";
import type { FileNaming, Model } from "@fidelity/models";
import { Command } from "commander";
import { EXIT_OK } from "../errors.ts";
import { jsonOption, TARGETS } from "../options.ts";
import { createOutput } from "../output.ts";
import { formatTable } from "../table.ts";

/** What the registry says of one architecture. */
export interface ArchitectureRow {
  readonly name: string;
  readonly summary: string;
  /** Which weights its matrices may have. */
  readonly weights: readonly ("float32" | "ternary")[];
  /** "constant": the same at every position; "growing": a cache; "none": an encoder. Both in hybrids. */
  readonly state: "constant" | "growing" | "none";
  /** What GGUF files and config.json call it. */
  readonly gguf: readonly string[];
  readonly huggingFace: readonly string[];
  readonly writesGguf: boolean;
  readonly writesHuggingFace: boolean;
}

/** A row for every architecture, in the registry's order. */
export function architectureRows(): ArchitectureRow[] {
  return Object.entries(architectures).map(([name, { summary }]) => {
    const config = { architecture: name, vocabSize: 32, ...sampleConfigs[name] };
    const model = createModel(config);
    const { gguf, huggingFace } = namings[name] ?? {};
    return {
      name,
      summary,
      weights: weightsOf(config, model),
      state: stateOf(model),
      gguf: gguf?.names ?? [],
      huggingFace: huggingFace?.names ?? [],
      writesGguf: isWritten(gguf),
      writesHuggingFace: isWritten(huggingFace),
    };
  });
}

function isWritten(naming: FileNaming | undefined): boolean {
  return naming?.metadata !== undefined;
}

function weightsOf(config: object, model: Model): ArchitectureRow["weights"] {
  const models = [model, ...["dense", "ternary"].flatMap((weights) => variantOf({ ...config, weights }))];
  const isTernary = models.map(({ parameters }) => countParameters(parameters).ternaryParameters > 0);
  return [
    ...(isTernary.includes(false) ? ["float32" as const] : []),
    ...(isTernary.includes(true) ? ["ternary" as const] : []),
  ];
}

/** The model of a configuration, if the architecture has such a field. */
function variantOf(config: object): Model[] {
  try {
    return [createModel(config)];
  } catch (error) {
    if (error instanceof ModelConfigError) return [];
    throw error;
  }
}

function stateOf(model: Model): ArchitectureRow["state"] {
  const [one, two] = [16, 32].map((capacity) =>
    flattenTree(model.stateTypes({ batch: 1, capacity }), isTensorType).reduce(
      (sum, { leaf }) => sum + storageBytes(leaf),
      0,
    ),
  );
  if (model.encoder !== undefined) return "none";
  return one === two ? "constant" : "growing";
}

const EXAMPLES = `
Every architecture trains, evaluates and decodes from one definition, on every target: ${TARGETS.join(", ")}.

Examples:
  fidelity architectures
  fidelity architectures --markdown > docs/models.md
  fidelity train --data notes/ --out runs/notes --architecture mamba2`;

export function architecturesCommand(done: (exitCode: number) => void): Command {
  return new Command("architectures")
    .description("List the architectures: what is trained, opened, written, and what their state costs.")
    .option("--markdown", "write the page of the documentation")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action((options: { readonly markdown?: boolean; readonly json?: boolean }) => {
      const output = createOutput(options.json === true);
      const rows = architectureRows();
      if (options.markdown === true) process.stdout.write(architecturesPage(rows));
      else if (!output.isJson) output.line(formatRows(rows));
      output.result(rows);
      done(EXIT_OK);
    });
}

function formatRows(rows: readonly ArchitectureRow[]): string {
  const cells = rows.map(({ name, weights, state, gguf, huggingFace }) => [
    name,
    weights.join(", "),
    state,
    gguf.join(", "),
    huggingFace.join(", "),
  ]);
  const head = ["architecture", "weights", "state", "in GGUF", "in config.json"];
  return formatTable([head, ...cells], ["left", "left", "left", "left", "left"]);
}

/** The page docs/models.md as text. */
export function architecturesPage(rows: readonly ArchitectureRow[]): string {
  const table = (head: readonly string[], lines: readonly (readonly string[])[]): string => {
    const all = [head, head.map(() => "---"), ...lines];
    return all.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  };
  const code = (names: readonly string[], written: boolean): string =>
    names.length === 0 ? "" : `${names.map((name) => `\`${name}\``).join(", ")}${written ? ", written too" : ""}`;
  const models = rows.map(({ name, summary, weights, state, gguf, huggingFace, writesGguf, writesHuggingFace }) => [
    `\`${name}\``,
    summary,
    weights.join(", "),
    state,
    code(gguf, writesGguf),
    code(huggingFace, writesHuggingFace),
  ]);
  const [types, targets] = [SOURCE_DTYPES, TARGETS].map((names) => names.map((name) => `\`${name}\``).join(", "));
  return `# Models

<!-- Written by \`fidelity architectures --markdown\`; a test compares it with the registry. -->

Every architecture below is one definition, a function over tensors, that trains, evaluates and decodes, on each of the
targets ${targets}. All of them learn in the tests, with each kind of weights that they
have; their state is explicit, and either has the same size at every position or grows with the tokens.

${table(["architecture", "what it is", "weights", "state", "GGUF", "Hugging Face"], models)}

**GGUF** and **Hugging Face** say what files call an architecture (\`general.architecture\`, \`model_type\`).
Files of others open with \`fidelity generate\`, \`logits\`, \`show\` and \`eval\`; \`fidelity convert\` goes between
formats. Fidelity's own container holds every architecture; llama2.c checkpoints hold \`llama\`.

**Types of tensors** that are read: ${types}.
Matrices of 16 bits, of q8_0, q4_0, q4_k, q5_k and q6_k stay as their file has them, ternary ones with one scale are
packed to 2 bits where the model takes them so, and all others become float32.
`;
}
