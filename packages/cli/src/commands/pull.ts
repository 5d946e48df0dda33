// `fidelity pull`: a model of the Hugging Face hub, into the store.

import { Command } from "commander";
import { EXIT_OK } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { jsonOption } from "../options.ts";
import { createOutput, remark } from "../output.ts";
import { pullWithProgress } from "../pull-model.ts";
import { summarise } from "../stored-models.ts";
import { formatSize, plural } from "../table.ts";

interface PullCommandOptions {
  readonly revision?: string;
  readonly json?: boolean;
}

const EXAMPLES = `
After the colon stands a quantisation, or a file of the repository. Without it safetensors are taken, or of several GGUF
files the usual one, Q4_K_M. What breaks off goes on where it stopped when the command is run again; every file is
compared with the hub's digest of it. Models lie in FIDELITY_MODELS, or ~/.local/share/fidelity/models.

The hub's own variables work: HF_TOKEN (private and gated models), HF_ENDPOINT (a mirror), HF_HOME, HF_HUB_OFFLINE.

Examples:
  fidelity pull Qwen/Qwen3-0.6B-GGUF:Q8_0
  fidelity pull HuggingFaceTB/SmolLM2-135M-Instruct
  fidelity pull https://huggingface.co/Qwen/Qwen3-0.6B-GGUF
  fidelity run Qwen/Qwen3-0.6B-GGUF:Q8_0`;

export function pullCommand(done: (exitCode: number) => void): Command {
  return new Command("pull")
    .description("Fetch a model from the Hugging Face hub, resumed and verified.")
    .argument("<model>", "OWNER/NAME, OWNER/NAME:QUANTISATION or OWNER/NAME:FILE")
    .option("--revision <name>", "a branch, a tag or a commit (default: main)")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, options: PullCommandOptions) => done(await pull(model, options)));
}

async function pull(name: string, { revision, json }: PullCommandOptions): Promise<number> {
  const output = createOutput(json === true);
  using interrupt = new Interrupt();
  try {
    const model = await pullWithProgress(name, { revision, signal: interrupt.signal });
    const summary = summarise(model);
    output.line(`${model.name}: ${plural(model.files.length, "file")}, ${formatSize(model.sizeBytes)}`);
    output.line(model.path);
    if (summary.problem === undefined) output.line(`\nNext: fidelity run ${model.name}`);
    else remark(`It is here, but Fidelity cannot open it: ${summary.problem}`);
    output.result({ ...summary, files: model.files });
    return EXIT_OK;
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    remark("Stopped. What has arrived is kept: the same command goes on from there.");
    return interrupt.exitCode;
  }
}
