// `fidelity profile-activation`: an activation function with its first three derivatives, as formulas, as a table, as
// LaTeX and TypeScript and as a picture, with warnings where it breaks.

import { formatExpression, formatLatex, formatTypeScriptFunction } from "@fidelity/furnace/symbolic";
import { writeFileAtomic } from "@fidelity/barewire/node";
import { Command, Option } from "commander";
import { ACTIVATIONS } from "../activation/named.ts";
import { adviseOn, describeBreak, profileActivation, short } from "../activation/profile.ts";
import type { Profile } from "../activation/profile.ts";
import { activationSvg } from "../activation/svg.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { jsonOption, numberOption } from "../options.ts";
import { createOutput } from "../output.ts";
import { formatTable } from "../table.ts";

interface ProfileOptions {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly svg?: string;
  readonly latex?: boolean;
  readonly typescript?: boolean;
  readonly json?: boolean;
}

const EXAMPLES = `
Known by name: ${Object.keys(ACTIVATIONS).join(", ")}.

Examples:
  fidelity profile-activation silu --svg silu.svg
  fidelity profile-activation "(x) => x < 0 ? 0.1 * (Math.exp(x) - 1) : x / (1 + x)"
  fidelity profile-activation gelu --typescript`;

/** The picture has this many points, the table as many as --step asks for. */
const PICTURE_POINTS = 1201;
const ROWS_MAX = 10_000;
const HEADS = ["x", "f", "f'", "f''", "f'''"] as const;

export function profileActivationCommand(done: (exitCode: number) => void): Command {
  return new Command("profile-activation")
    .description("Draw an activation function with its first three derivatives, and tell where they break.")
    .argument("<function>", "a name, or the text of an arrow function of one number")
    .addOption(numberOption("--from <x>", "where the interval starts").default(-5))
    .addOption(numberOption("--to <x>", "where it ends").default(5))
    .addOption(numberOption("--step <x>", "from one row of the table to the next").default(0.5))
    .addOption(new Option("--svg <file>", "draw it, and write the picture here"))
    .addOption(new Option("--latex", "print the formulas as LaTeX"))
    .addOption(new Option("--typescript", "print the formulas as TypeScript functions"))
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action((given: string, options: ProfileOptions) => {
      const output = createOutput(options.json === true);
      const { from, to, svg } = options;
      const profile = profileActivation(given, options, countRows(options));
      output.line(describe(profile, options));
      if (svg !== undefined) {
        const picture = activationSvg(profileActivation(given, options, PICTURE_POINTS), { from, to });
        writeFileAtomic(svg, [new TextEncoder().encode(picture)]);
        output.line(`\ndrawn in ${svg}`);
      }
      output.result({
        function: profile.text,
        formulas: profile.formulas.map(formatExpression),
        latex: profile.formulas.map(formatLatex),
        typescript: profile.formulas.map((formula) => formatTypeScriptFunction(formula, ["x"])),
        breaks: profile.breaks,
        samples: profile.samples,
      });
      done(EXIT_OK);
    });
}

function countRows({ from, to, step }: ProfileOptions): number {
  if (!(to > from)) {
    throw new UsageError("the interval is empty", { expected: "--to above --from", got: `from ${from} to ${to}` });
  }
  const rows = Math.round((to - from) / step) + 1;
  if (step > 0 && rows >= 2 && rows <= ROWS_MAX) return rows;
  throw new UsageError("the table would have no rows, or too many", {
    expected: `2 to ${ROWS_MAX} rows`,
    got: `--step ${step} from ${from} to ${to}`,
  });
}

function describe(profile: Profile, { latex, typescript }: ProfileOptions): string {
  const format =
    latex === true
      ? formatLatex
      : typescript === true
        ? (formula: Profile["formulas"][number]) => formatTypeScriptFunction(formula)
        : formatExpression;
  const formulas = profile.formulas.map((formula, order) => `${HEADS[order + 1]} = ${format(formula)}`);
  const rows = profile.samples.map((row) => row.map(short));
  const warnings = profile.breaks.flatMap((found) => [`warning: ${describeBreak(found)}`, `  ${adviseOn(found)}`]);
  const verdict = warnings.length === 0 ? ["smooth up to the third derivative in this interval"] : warnings;
  return [
    ...formulas,
    "",
    formatTable(
      [HEADS, ...rows],
      HEADS.map(() => "right"),
    ),
    "",
    ...verdict,
  ].join("\n");
}
