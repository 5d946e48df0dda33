// `fidelity schema`: BARE schemas in files: whether one is right, what a change breaks, its types in TypeScript, and
// how a type lies in memory.

import { readFileSync } from "node:fs";
import {
  describeLayout,
  diffSchemas,
  drawLayout,
  generateTypes,
  getOptimized,
  layoutOf,
  readSchema,
  typeNamed,
} from "@fidelity/barewire";
import type { BareSchema, LayoutTarget, SchemaChange } from "@fidelity/barewire";
import { toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { Command, Option } from "commander";
import { EXIT_FAILURE, EXIT_OK } from "../errors.ts";
import { jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { plural } from "../table.ts";

interface LayoutOptions extends SchemaOptions {
  readonly target?: LayoutTarget;
  readonly svg?: string;
}

interface SchemaOptions {
  readonly legacy?: boolean;
  readonly json?: boolean;
}

const CHECK_EXAMPLES = `
Examples:
  fidelity schema check message.bare
  fidelity schema check --legacy old.bare`;

const DIFF_EXAMPLES = `
Exits with 1 if a change breaks readers or writers, so that it can guard a branch.

Examples:
  fidelity schema diff released.bare message.bare
  git show main:message.bare > old.bare && fidelity schema diff old.bare message.bare`;

const TYPES_EXAMPLES = `
Examples:
  fidelity schema types message.bare > message.ts`;

const LAYOUT_EXAMPLES = `
Examples:
  fidelity schema layout message.bare Reading
  fidelity schema layout message.bare Reading --target gpu --svg reading.svg`;

/** What a layout can be chosen for; see `getOptimized`. */
const LAYOUT_TARGETS: readonly LayoutTarget[] = ["cache-line", "amx-tile", "wasm-vector", "gpu"];

export function schemaCommand(done: (exitCode: number) => void): Command {
  return new Command("schema")
    .description("Check, compare and use BARE schemas (draft-devault-bare-14).")
    .addCommand(checkCommand(done))
    .addCommand(diffCommand(done))
    .addCommand(typesCommand(done))
    .addCommand(layoutCommand(done));
}

function checkCommand(done: (exitCode: number) => void): Command {
  return new Command("check")
    .description("Read a schema, and say where it breaks a rule.")
    .argument("<file>", "a BARE schema")
    .addOption(legacyOption())
    .addOption(jsonOption())
    .addHelpText("after", CHECK_EXAMPLES)
    .action((file: string, options: SchemaOptions) => {
      const output = createOutput(options.json === true);
      const names = readSchemaFile(file, options).definitions.map(({ name }) => name);
      output.line(`${file}: ${plural(names.length, "type")}, no mistakes`);
      output.result({ file, types: names });
      done(EXIT_OK);
    });
}

function diffCommand(done: (exitCode: number) => void): Command {
  return new Command("diff")
    .description("Say which changes between two versions of a schema break readers or writers.")
    .argument("<old>", "the schema as it was")
    .argument("<new>", "the schema as it is")
    .addOption(legacyOption())
    .addOption(jsonOption())
    .addHelpText("after", DIFF_EXAMPLES)
    .action((oldFile: string, newFile: string, options: SchemaOptions) => {
      const output = createOutput(options.json === true);
      const changes = diffSchemas(readSchemaFile(oldFile, options), readSchemaFile(newFile, options));
      for (const change of changes) output.line(describeChange(change));
      const breaking = changes.filter(isBreaking).length;
      output.line(changes.length === 0 ? "no changes" : `${plural(changes.length, "change")}, ${breaking} breaking`);
      output.result({ changes, breaking });
      done(breaking === 0 ? EXIT_OK : EXIT_FAILURE);
    });
}

function typesCommand(done: (exitCode: number) => void): Command {
  return new Command("types")
    .description("Print a schema's types as TypeScript.")
    .argument("<file>", "a BARE schema")
    .addOption(legacyOption())
    .addHelpText("after", TYPES_EXAMPLES)
    .action((file: string, options: SchemaOptions) => {
      process.stdout.write(generateTypes(readSchemaFile(file, options)));
      done(EXIT_OK);
    });
}

function layoutCommand(done: (exitCode: number) => void): Command {
  return new Command("layout")
    .description("Draw how a type of a schema lies in memory: offsets, sizes and padding in bytes.")
    .argument("<file>", "a BARE schema")
    .argument("<type>", "a type that it defines")
    .addOption(legacyOption())
    .addOption(
      new Option("--target <name>", "the layout that suits a place, instead of the plain one").choices(LAYOUT_TARGETS),
    )
    .option("--svg <file>", "also draw the memory map as a picture")
    .addHelpText("after", LAYOUT_EXAMPLES)
    .action((file: string, name: string, { target, svg, ...options }: LayoutOptions) => {
      const type = typeNamed(readSchemaFile(file, options), name);
      const layout = target === undefined ? layoutOf(type) : getOptimized(type, target);
      createOutput(false).line(describeLayout(layout).trimEnd());
      if (svg !== undefined) writeFileAtomic(svg, [new TextEncoder().encode(drawLayout(layout))]);
      done(EXIT_OK);
    });
}

function legacyOption(): Option {
  return new Option("--legacy", "read the forms of older drafts too, and recursion");
}

function readSchemaFile(path: string, { legacy }: SchemaOptions): BareSchema {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw toFileError(error, "read", path);
  }
  return readSchema(text, { path, legacy });
}

function isBreaking({ breaksNewReaders, breaksOldReaders }: SchemaChange): boolean {
  return breaksNewReaders || breaksOldReaders;
}

function describeChange({ path, what, breaksNewReaders, breaksOldReaders }: SchemaChange): string {
  const broken = [
    ...(breaksNewReaders ? ["new programs reading old messages"] : []),
    ...(breaksOldReaders ? ["old programs reading new messages"] : []),
  ];
  return `${path}: ${what}\n  ${broken.length === 0 ? "breaks nothing" : `breaks ${broken.join(", and ")}`}`;
}
