// The arguments of the command.

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { DEVICE_TARGETS } from "@fidelity/alex/node";
import { FidelityError } from "@fidelity/units";

/** An argument that the benchmarks cannot use. */
export class BenchOptionError extends FidelityError {}

export const SUITES = [
  "training",
  "decode",
  "generation",
  "batches",
  "browser",
  "kernels",
  "compile",
  "memory",
  "barewire",
  "formats",
  "gradbench",
] as const;

/** A target that compiles. */
export type BenchTarget = (typeof DEVICE_TARGETS)[number];

export type SuiteName = (typeof SUITES)[number];

export interface BenchOptions {
  readonly help: boolean;
  readonly suites: readonly SuiteName[];
  /** Where the rows go as JSON. */
  readonly json: string | undefined;
  /** Numbers of threads to measure with. */
  readonly threads: readonly number[];
  /** Fewer and shorter samples and smaller sizes: to see that all works, not to quote. */
  readonly quick: boolean;
  /** What the programs of training, decode and kernels are compiled to. */
  readonly target: BenchTarget;
  /** Whether kernels are also measured beside a busy process on every processor. */
  readonly loaded: boolean;
}

/** For terminals of 80 columns. */
export const USAGE = `Usage: npm run bench -- [suite...] [options]

Measures Fidelity on this machine, beside the ceilings of its processor and
memory and beside PyTorch where it is installed (tools/setup.sh bench), in
rounds, so that drift of the machine hits all sides alike.

Suites, all by default:
  training    tokens a second of a training step: MatMul-free LM and
              transformer, against PyTorch
  decode      tokens a second and bytes read a token, packed weights against
              float32
  generation  prompts read and tokens written a second by models of 125M and
              2.4B parameters, against llama.cpp
  batches     tokens a second of steps of 1 to 8 sequences of different
              lengths, against one
  browser     tokens a second of a model in Chromium, against Node
  kernels     single ops against the ceilings
  compile     where the time goes from a 12-layer training step to code that
              runs, and when it was kept
  memory      the most memory that a training step of 12 layers takes, against
              PyTorch
  barewire    messages, records read in place, and channels, against their
              peers
  formats     model files of others: opening, decoding and encoding, against
              llama.cpp and @huggingface/gguf
  gradbench   derivatives against TensorFlow.js, floretta and PyTorch, by
              GradBench's evaluators (GRADBENCH_DIR)

Options:
  --json FILE      also write the rows to a file, as JSON; README.md of bench
                   says how to read a row
  --threads 1,2    numbers of threads; by default 1 and as many as the machine
                   runs at once, 2 at most
  --target wasm    wasm, the default, or native: what all but barewire are
                   compiled to
  --quick          fewer and shorter samples and smaller sizes: to see that all
                   works, not to quote
  --loaded         kernels also beside a busy process on every processor
  --help           this text`;

/** Reads the arguments. Throws `BenchOptionError`. */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parse(args);
  const unknown = positionals.find((name) => !isSuite(name));
  if (unknown !== undefined) {
    throw new BenchOptionError("there is no such suite", { expected: SUITES.join(", "), got: unknown });
  }
  const threads = values.threads === undefined ? [1, Math.min(2, availableParallelism())] : readThreads(values.threads);
  return {
    help: values.help,
    suites: positionals.length === 0 ? SUITES : SUITES.filter((name) => positionals.includes(name)),
    json: values.json,
    threads: [...new Set(threads)],
    quick: values.quick,
    target: readTarget(values.target),
    loaded: values.loaded,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h", default: false },
        json: { type: "string" },
        threads: { type: "string" },
        target: { type: "string", default: "wasm" },
        loaded: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    const got = error instanceof Error ? error.message : String(error);
    throw new BenchOptionError("the arguments cannot be read", { got, hint: "npm run bench -- --help" });
  }
}

function isSuite(name: string): name is SuiteName {
  return SUITES.some((suite) => suite === name);
}

function readTarget(text: string): BenchTarget {
  const target = DEVICE_TARGETS.find((name) => name === text);
  if (target !== undefined) return target;
  throw new BenchOptionError("--target cannot be used", { expected: DEVICE_TARGETS.join(" or "), got: text });
}

function readThreads(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count >= 1 && count <= 256)) return counts;
  throw new BenchOptionError("--threads cannot be used", {
    expected: "whole numbers from 1 to 256, with commas between them",
    got: text,
  });
}
