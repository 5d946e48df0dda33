// `fidelity ls`, `rm` and `cp`: the models that `pull` brought.

import { ModelStore } from "@fidelity/run/node";
import { Command } from "commander";
import { EXIT_OK } from "../errors.ts";
import { jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { summarise } from "../stored-models.ts";
import { formatSize, formatTable, plural } from "../table.ts";

interface StoreOptions {
  readonly json?: boolean;
}

export function lsCommand(done: (exitCode: number) => void): Command {
  return new Command("ls")
    .alias("list")
    .description("List the models that were pulled: name, format, architecture, size, when.")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  fidelity ls\n  fidelity ls --json | jq '.models[].name'")
    .action(({ json }: StoreOptions) => {
      const output = createOutput(json === true);
      const store = new ModelStore();
      const models = store.list().map(summarise);
      const rows = models.map(({ name, format, architecture, sizeBytes, modified }) => {
        const when = modified.slice(0, 16).replace("T", " ");
        return [name, format, architecture ?? "(cannot be opened)", formatSize(sizeBytes), when];
      });
      if (rows.length === 0) output.line(`No models in ${store.folder}. Fetch one: fidelity pull OWNER/NAME`);
      else {
        const head = ["name", "format", "architecture", "size", "modified"];
        output.line(formatTable([head, ...rows], ["left", "left", "left", "right", "left"]));
      }
      output.result({ folder: store.folder, models });
      done(EXIT_OK);
    });
}

export function rmCommand(done: (exitCode: number) => void): Command {
  return new Command("rm")
    .description("Remove pulled models, or what an unfinished pull left.")
    .argument("<model...>", "names, as `fidelity ls` shows them")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  fidelity rm Qwen/Qwen3-0.6B-GGUF:Q8_0")
    .action((names: readonly string[], { json }: StoreOptions) => {
      const output = createOutput(json === true);
      const store = new ModelStore();
      for (const name of names) {
        store.remove(name);
        output.line(`removed ${name}`);
      }
      output.result({ removed: names });
      done(EXIT_OK);
    });
}

export function cpCommand(done: (exitCode: number) => void): Command {
  return new Command("cp")
    .description("Give a pulled model another name as well; where the disk can, its bytes are there once.")
    .argument("<from>", "the name of a pulled model")
    .argument("<to>", "the new name, such as mine, or me/mine:small")
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  fidelity cp Qwen/Qwen3-0.6B-GGUF:Q8_0 qwen")
    .action((from: string, to: string, { json }: StoreOptions) => {
      const output = createOutput(json === true);
      const model = new ModelStore().copy(from, to);
      output.line(`${model.name}: ${plural(model.files.length, "file")}, ${formatSize(model.sizeBytes)}`);
      output.result(summarise(model));
      done(EXIT_OK);
    });
}
