// `fidelity show`: what a model file holds, from its header alone.

import { describeMap } from "@fidelity/barewire";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { describeFit, describeModel } from "@fidelity/run/node";
import { FidelityError } from "@fidelity/units";
import { Command } from "commander";
import { describeAddress, describeComponent, describeFile } from "../describe-file.ts";
import type { ComponentDescription, FileDescription, TensorDescription, VersionDescription } from "../describe-file.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { modelPath } from "../run-folder.ts";
import { cardRows, configRows, nextSteps } from "../show/facts.ts";
import { tensorStatistics } from "../show/statistics.ts";
import type { TensorStatistics } from "../show/statistics.ts";
import { openTensorValues } from "../show/tensor-values.ts";
import { renderShowPage } from "../show/view.ts";
import type { ShowPage } from "../show/view.ts";
import { formatCount, formatSize, formatTable, formatTree, plural } from "../table.ts";
import type { TreeNode } from "../table.ts";

const EXAMPLES = `
Only headers are read, so this is quick for files of any size; tensors are not loaded and their checksums not
computed. To check them, use the model: fidelity eval or fidelity generate. Of a file on a server only the ranges of
its headers are fetched.

Examples:
  fidelity show runs/quickstart
  fidelity show stories260K.bin
  fidelity show llama.gguf
  fidelity show llama.gguf --view llama.html
  fidelity show https://example.org/model.fid
  fidelity show runs/quickstart --map
  fidelity show runs/quickstart --json | jq .totals`;

interface ShowOptions {
  readonly model?: string;
  readonly view?: string;
  readonly map?: boolean;
  readonly json?: boolean;
}

export function showCommand(done: (exitCode: number) => void): Command {
  return new Command("show")
    .description("Draw what a model or checkpoint holds: components, tensors, shapes, dtypes, bytes.")
    .argument(
      "[file]",
      "a run folder, a model or checkpoint, a GGUF, safetensors, ONNX or llama2.c file, or an address",
    )
    .option("--model <file>", "the same, as the other commands take it")
    .option("--view <file>", "write a page with all of it, and every tensor's range and histogram, as HTML")
    .option("--map", "also list every range of bytes: roots, headers, tensors, older versions, padding")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (file: string | undefined, options: ShowOptions) => {
      const path = file ?? options.model;
      if (path === undefined) {
        throw new UsageError("which file?", {
          expected: "the path of a model or checkpoint",
          hint: "fidelity show FILE",
        });
      }
      const output = createOutput(options.json === true);
      const { map } = options;
      const description = /^https?:\/\//.test(path)
        ? await describeAddress(path, { map })
        : describeFile(modelPath(path), { map });
      if (options.view !== undefined) {
        writeFileAtomic(options.view, [new TextEncoder().encode(renderShowPage(readPage(description)))]);
        output.line(`${options.view}: open it in a browser`);
      } else if (!output.isJson) output.line(formatDescription(description));
      output.result(description);
      done(EXIT_OK);
    });
}

/** A description with the statistics of all tensors that can be read, on the way of which a bar shows how far it is. */
function readPage(description: FileDescription): ShowPage {
  const statistics = new Map<string, TensorStatistics>();
  using values = openTensorValues(description.path);
  const names = description.components.flatMap(({ tensors }) => tensors.map(({ name }) => name));
  for (const [i, name] of names.entries()) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${i + 1}/${names.length} ${printable(name)}`);
    const read = values.of(name);
    if (read !== undefined) statistics.set(name, tensorStatistics(read));
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  return { description, statistics, chain: modelComponents(description.path) ?? description.components };
}

/** The components in the model's order and under its names, where it is known what the file holds. */
function modelComponents(path: string): readonly ComponentDescription[] | undefined {
  try {
    const tensors = describeModel(path).tensors.map((tensor) => ({ ...tensor, layout: "dense", offsetBytes: 0 }));
    return Array.from(
      Map.groupBy(tensors, ({ component }) => component),
      ([id, members]) => describeComponent(id, id, members),
    );
  } catch (error) {
    if (error instanceof FidelityError) return undefined; // the description says why
    throw error;
  }
}

function formatDescription(description: FileDescription): string {
  const { path, format, fileSizeBytes, architecture, memory, components, totals } = description;
  const { types = [], versions = [], memoryMap, problem } = description;
  const facts = [
    ["format", format],
    ...(architecture === undefined ? [] : [["architecture", `${architecture.name}: ${architecture.summary}`]]),
    ...(memory === undefined ? [] : [["memory", describeFit(memory)]]),
    ...[...cardRows(description), ...configRows(description)].map((row) => row.map(printable)),
    ...types.map(({ dtype, tensors, sizeBytes }) => [
      `type ${dtype}`,
      `${plural(tensors, "tensor")}, ${formatSize(sizeBytes)}`,
    ]),
  ];
  const children = components.map(componentNode);
  const sums = [plural(totals.tensors, "tensor"), formatCount(totals.elements), formatSize(totals.sizeBytes)];
  const tree = formatTree({ label: "model", cells: ["", sums[0], sums[1], sums[2]], children }, [
    "left",
    "left",
    "right",
    "right",
  ]);
  const parts = [`${path}: ${formatSize(fileSizeBytes)}\n${formatTable(facts, ["left", "left"])}`, tree];
  if (versions.length > 1) parts.push(formatVersions(versions));
  if (problem !== undefined) parts.push(`This model cannot be opened here: ${problem}`);
  if (memoryMap !== undefined) parts.push(describeMap(memoryMap));
  const next = nextSteps(description);
  if (next.length > 0) parts.push(`Next:\n  ${next.join("\n  ")}`);
  return parts.join("\n\n");
}

function formatVersions(versions: readonly VersionDescription[]): string {
  const rows = versions.map(({ version, tensors, addedBytes, changed }) => {
    const names = changed.length <= 4 ? changed.join(", ") : `${changed.slice(0, 4).join(", ")}, ...`;
    return [`version ${version}`, plural(tensors, "tensor"), `+${formatSize(addedBytes)}`, names];
  });
  return formatTable(rows, ["left", "right", "right", "left"]);
}

function componentNode({ id, kind, elements, sizeBytes, tensors }: ComponentDescription): TreeNode {
  return {
    label: printable(id),
    cells: [
      id === kind ? "" : printable(kind),
      plural(tensors.length, "tensor"),
      formatCount(elements),
      formatSize(sizeBytes),
    ],
    children: tensors.map((tensor) => tensorNode(tensor, id)),
  };
}

function tensorNode(
  { name, dtype, layout, shape, elements, sizeBytes }: TensorDescription,
  componentId: string,
): TreeNode {
  return {
    label: printable(name.startsWith(`${componentId}.`) ? name.slice(componentId.length + 1) : name),
    cells: [
      layout === "dense" ? dtype : `${dtype}, ${layout}`,
      `[${shape.join(", ")}]`,
      formatCount(elements),
      formatSize(sizeBytes),
    ],
  };
}

/** Text of a file for a terminal: control characters, which could steer it, are escaped, and long texts cut. */
function printable(text: string): string {
  const cut = text.length > 60 ? `${text.slice(0, 57)}...` : text;
  const escape = (control: string): string => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return cut.replaceAll("\n", "\\n").replaceAll(/\p{Cc}/gu, escape);
}
