// A checkout of GradBench (github.com/gradbench/gradbench), made ready: its evaluators compare answers with programs in
// C++, which are built here as its own evaluators' images build them, and its JavaScript tools find their packages.

import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FidelityError } from "@fidelity/units";
import { blasFamily } from "../peers/torch.ts";
import type { CommandLine } from "./session.ts";

const execute = promisify(execFile);

/** GradBench is not there, or not ready to measure with. */
export class GradBenchCheckoutError extends FidelityError {}

/** Debian's Python, which has the packages that tools/setup.sh installs. */
const PYTHON = "/usr/bin/python3";
/** Where the shim for Debian's pydantic is, which Python loads by its name. */
const SHIM = dirname(fileURLToPath(import.meta.url));
const FIDELITY = fileURLToPath(new URL("../../../packages/cli/src/main.ts", import.meta.url));
/** Where tools/setup.sh puts packages of peers that are too large to be dependencies. */
const PEER_MODULES = join(homedir(), ".cache/fidelity/bench-peers/node_modules");
const BUILD_MS_MAX = 600_000;

/** Who is compared; the first is measured against the others. */
export const TOOLS = ["fidelity", "tensorflow.js", "floretta", "pytorch"] as const;
export type ToolName = (typeof TOOLS)[number];

export class GradBenchCheckout {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Builds what is missing. Throws `GradBenchCheckoutError`, which says what to do. */
  static async open(path: string | undefined): Promise<GradBenchCheckout> {
    if (path === undefined || !existsSync(join(path, "python/gradbench/gradbench/evals"))) {
      throw new GradBenchCheckoutError("there is no GradBench to measure with", {
        where: "environment variable GRADBENCH_DIR",
        expected: "the folder of a clone of github.com/gradbench/gradbench",
        got: path ?? "nothing",
      });
    }
    const imports = "import numpy, scipy, pydantic, dataclasses_json";
    if (spawnSync(PYTHON, ["-c", imports]).status !== 0) {
      throw new GradBenchCheckoutError("GradBench's evaluators lack Python packages", { hint: "tools/setup.sh bench" });
    }
    const flags = "-std=c++17 -O2 -w -I../../cpp -I/usr/include/nlohmann";
    const make = ["-C", join(path, "tools/manual"), "NATIVE=no"];
    try {
      await execute("make", make, { env: { ...process.env, CXXFLAGS: flags }, timeout: BUILD_MS_MAX });
    } catch (error) {
      throw new GradBenchCheckoutError("GradBench's golden programs could not be built", {
        where: join(path, "tools/manual"),
        hint: "tools/setup.sh bench",
        cause: error,
      });
    }
    link(join(path, "js/common"), join(path, "node_modules/@gradbench/common"));
    link(join(PEER_MODULES, "@tensorflow"), join(path, "node_modules/@tensorflow"));
    return new GradBenchCheckout(path);
  }

  evaluator(name: string, args: readonly string[]): CommandLine {
    return this.#python(`evals/${name}/run.py`, args, {});
  }

  /** How to start a tool; undefined where it is not installed. */
  tool(name: ToolName, target: string): CommandLine | undefined {
    switch (name) {
      case "fidelity":
        return this.#node([FIDELITY, "gradbench", "--target", target]);
      case "tensorflow.js":
        return existsSync(join(this.path, "node_modules/@tensorflow/tfjs")) ? this.#script("tensorflow") : undefined;
      case "floretta":
        return ["floretta", "wasm-tools"].every(isInstalled) ? this.#script("floretta") : undefined;
      case "pytorch":
        if (spawnSync(PYTHON, ["-c", "import torch"]).status !== 0) return undefined;
        // All tools compute on one thread, as GradBench has them by default.
        return this.#python("tools/pytorch/run.py", [], {
          OMP_NUM_THREADS: "1",
          OPENBLAS_NUM_THREADS: "1",
          ...blasFamily(),
        });
    }
  }

  #python(script: string, args: readonly string[], env: Readonly<Record<string, string>>): CommandLine {
    const packages = join(this.path, "python/gradbench");
    const file = join(packages, "gradbench", script);
    const paths = `${SHIM}:${packages}`;
    return { program: PYTHON, args: [file, ...args], cwd: this.path, env: { PYTHONPATH: paths, ...env } };
  }

  #script(tool: string): CommandLine {
    return this.#node([join(this.path, "js", tool, "run.ts")]);
  }

  #node(args: readonly string[]): CommandLine {
    return { program: process.execPath, args, cwd: this.path };
  }
}

function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"]).error === undefined;
}

/** A link that the checkout's own package manager would make; what is there stays. */
function link(target: string, at: string): void {
  if (existsSync(at) || !existsSync(target)) return;
  mkdirSync(dirname(at), { recursive: true });
  symlinkSync(target, at);
}
