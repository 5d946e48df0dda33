// `fidelity show`: what a model file holds, from its header alone.

import { Command } from "commander";
import { describeFile } from "../describe-file.ts";
import type { ComponentDescription, FileDescription, TensorDescription } from "../describe-file.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { formatCount, formatSize, formatTable, formatTree, plural } from "../table.ts";
import type { TreeNode } from "../table.ts";

const EXAMPLES = `
Only headers are read, so this is quick for files of any size; tensors are not loaded and their checksums not
computed. To check them, use the model: fidelity eval or fidelity generate.

Examples:
  fidelity show runs/quickstart
  fidelity show stories260K.bin
  fidelity show runs/quickstart --json | jq .totals`;

export function showCommand(done: (exitCode: number) => void): Command {
  return new Command("show")
    .description("Draw what a model or checkpoint holds: components, tensors, shapes, dtypes, bytes.")
    .argument("[file]", "a run folder, a model, a checkpoint, or a llama2.c checkpoint")
    .option("--model <file>", "the same, as the other commands take it")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action((file: string | undefined, options: { model?: string; json?: boolean }) => {
      const path = file ?? options.model;
      if (path === undefined) {
        throw new UsageError("which file?", {
          expected: "the path of a model or checkpoint",
          hint: "fidelity show FILE",
        });
      }
      const output = createOutput(options.json === true);
      const description = describeFile(modelPath(path));
      if (!output.isJson) output.line(formatDescription(description));
      output.result(description);
      done(EXIT_OK);
    });
}

function formatDescription(description: FileDescription): string {
  const { path, format, fileSizeBytes, architecture, config, metadata, components, totals } = description;
  const facts = [
    ["format", format],
    ...(architecture === undefined ? [] : [["architecture", `${architecture.name}: ${architecture.summary}`]]),
    ...plainEntries(config),
    ...plainEntries(metadata),
  ];
  const children = components.map(componentNode);
  const sums = [plural(totals.tensors, "tensor"), formatCount(totals.elements), formatSize(totals.sizeBytes)];
  const tree = formatTree({ label: "model", cells: ["", sums[0], sums[1], sums[2]], children }, [
    "left",
    "left",
    "right",
    "right",
  ]);
  return `${path}: ${formatSize(fileSizeBytes)}\n${formatTable(facts, ["left", "left"])}\n\n${tree}`;
}

function componentNode({ id, kind, elements, sizeBytes, tensors }: ComponentDescription): TreeNode {
  return {
    label: id,
    cells: [id === kind ? "" : kind, plural(tensors.length, "tensor"), formatCount(elements), formatSize(sizeBytes)],
    children: tensors.map((tensor) => tensorNode(tensor, id)),
  };
}

function tensorNode(
  { name, dtype, layout, shape, elements, sizeBytes }: TensorDescription,
  componentId: string,
): TreeNode {
  return {
    label: name.startsWith(`${componentId}.`) ? name.slice(componentId.length + 1) : name,
    cells: [
      layout === "dense" ? dtype : `${dtype}, ${layout}`,
      `[${shape.join(", ")}]`,
      formatCount(elements),
      formatSize(sizeBytes),
    ],
  };
}

/** The fields of a value as rows, nested ones with dotted names; long texts are cut. */
function plainEntries(value: unknown, prefix = ""): [string, string][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, field]): [string, string][] => {
    if (typeof field === "object" && field !== null) return plainEntries(field, `${prefix}${name}.`);
    const text = String(field).replaceAll("\n", "\\n");
    return [[`${prefix}${name}`, text.length > 60 ? `${text.slice(0, 57)}...` : text]];
  });
}
