// `fidelity doctor`: what this machine can run, what it cannot and why, and what would change that. Nothing is
// installed, changed or sent; the checks are in ../machine.

import { Command } from "commander";
import { EXIT_FAILURE, EXIT_OK } from "../errors.ts";
import { examineMachine } from "../machine/examine.ts";
import type { Check, Section } from "../machine/examine.ts";
import { jsonOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { formatTable } from "../table.ts";
import { columnsOf, hangingLine } from "../text-width.ts";

const EXAMPLES = `
The exit code is 1 when something that Fidelity needs is missing.

Examples:
  fidelity doctor
  fidelity doctor --json`;

export function doctorCommand(done: (exitCode: number) => void): Command {
  return new Command("doctor")
    .description("Tell what this machine can run, why not more, and what to do about it.")
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action((options: { json?: boolean }) => {
      const output = createOutput(options.json === true);
      const sections = examineMachine();
      const columns = columnsOf(output.people);
      for (const section of sections) output.line(`${formatSection(section, columns)}\n`);
      const missing = sections.flatMap(({ checks }) => checks).filter((check) => check.needed && !check.ok);
      output.line(
        missing.length === 0
          ? "This machine runs all that Fidelity has today."
          : `This machine lacks what Fidelity needs: ${missing.map(({ name }) => name).join(", ")}.`,
      );
      output.result({ ok: missing.length === 0, sections });
      done(missing.length === 0 ? EXIT_OK : EXIT_FAILURE);
    });
}

function formatSection({ title, checks }: Section, columns: number): string {
  const heads = checks.map(({ ok, name }) => [`  ${ok ? "yes" : "no "}`, name, ""]);
  const indent = " ".repeat(7);
  const foundAt = Math.max(...checks.map(({ name }) => indent.length + name.length + 2));
  const text = formatTable(heads, ["left", "left"])
    .split("\n")
    .map((head, index) => {
      const check = checks[index];
      const lines = advice(check).map((line) => hangingLine(`${indent}${line}`, indent.length, columns));
      return [hangingLine(head.padEnd(foundAt) + check.found, foundAt, columns), ...lines].join("\n");
    });
  return `${title}\n${text.join("\n")}`;
}

function advice({ ok, brings, fix }: Check): string[] {
  if (ok) return [];
  return [...(brings === undefined ? [] : [`would bring: ${brings}`]), ...(fix === undefined ? [] : [`try: ${fix}`])];
}
