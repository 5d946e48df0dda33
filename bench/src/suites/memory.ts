// The most memory that training takes: two steps of the MatMul-free language model of 12 layers on one sequence, in a
// process of its own, against PyTorch. What is counted is the highest resident size less that before the model is made,
// so that neither Node nor libtorch itself counts.

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FidelityError } from "@fidelity/units";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { findTorchPython } from "../peers/torch.ts";
import type { RowPlan } from "../row.ts";
import type { MemoryJob, MemoryUse } from "./memory-process.ts";

const execute = promisify(execFile);
const PROCESS = fileURLToPath(new URL("memory-process.ts", import.meta.url));
const PEER = fileURLToPath(new URL("../peers/torch_memory.py", import.meta.url));
const PROCESS_MS_MAX = 600_000;
const MIB = 1 / 2 ** 20;

/** A process that trains failed. */
class MemoryProcessError extends FidelityError {}

/** What resident sizes are read from. */
const STATUS = "/proc/self/status";

export async function memory(bench: Bench): Promise<void> {
  if (process.platform !== "linux") {
    bench.note(`memory: skipped, resident sizes are read from ${STATUS}`);
    return;
  }
  const [width, hidden, layers, context] = bench.quick ? [64, 256, 2, 128] : [512, 1536, 12, 1024];
  const job = (recompute: boolean): MemoryJob => ({ target: bench.target, width, hidden, layers, context, recompute });
  const planned = new Map<boolean, number>();
  const own = (recompute: boolean): Source => ({
    name: recompute ? "recompute" : "plain",
    sample: async () => {
      const args = [PROCESS, JSON.stringify(job(recompute))];
      const { peakBytes, plannedBytes } = await run<MemoryUse>(process.execPath, args);
      planned.set(recompute, plannedBytes);
      return peakBytes;
    },
  });
  const sources = [own(false), own(true)];
  const python = findTorchPython();
  for (const kind of python === undefined ? [] : ["plain", "hand"]) {
    const args = [PEER, ...[width, layers, context, hidden].map(String), kind];
    const sample = async (): Promise<number> => (await run<{ peakBytes: number }>(python!, args)).peakBytes;
    sources.push({ name: `torch ${kind}`, sample });
  }
  const plan = (source: string, peer: string, name: string): RowPlan => ({
    id: `memory/matmul-free-${width}x${layers}/${bench.target}/${source}${peer.replace("torch ", "/against-")}`,
    unit: "MiB",
    source,
    scale: MIB,
    peer: { source: peer, name },
  });
  const plans = ["plain", "recompute"].flatMap((source) => [
    plan(source, "torch plain", "PyTorch, plain autograd"),
    plan(source, "torch hand", "PyTorch, hand-written backward"),
  ]);
  const rows = await measure(sources, plans, { rounds: bench.quick ? 1 : 3, warmups: 0 });
  // The processes that are measured would count as others.
  const alone = rows.map((row) => ({ ...row, quiet: null }));
  bench.report(`Peak memory of training: width ${width}, ${layers} layers, one sequence of ${context}`, alone);
  const sizes = [...planned].map(([recompute, bytes]) => {
    return `${recompute ? "recompute" : "plain"} ${Math.round(bytes * MIB)} MiB`;
  });
  bench.note(`Planned, parameters and moments included: ${sizes.join(", ")}.`);
}

async function run<T>(program: string, args: readonly string[]): Promise<T> {
  try {
    const { stdout } = await execute(program, args, { timeout: PROCESS_MS_MAX });
    return JSON.parse(stdout) as T;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim();
    throw new MemoryProcessError("a process that trains failed", { where: args.join(" "), got: said || String(error) });
  }
}
