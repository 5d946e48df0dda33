// A process of the compile suite: compiles a training step once, and prints what took how long, in milliseconds.

import { compileGraph, createDevice, createNativeTarget, TARGETS } from "@fidelity/alex/node";
import { SharedArena } from "@fidelity/barewire";
import type { CompileOptions, Device, DeviceTensor, Graph, Program } from "@fidelity/core";
import { createModel } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { TrainStep, trainSettings } from "@fidelity/train";
import type { BenchTarget } from "../options.ts";

export type CompileArchitecture = "matmul-free" | "llama";

export interface CompileJob {
  readonly architecture: CompileArchitecture;
  readonly target: BenchTarget;
  readonly layers: number;
  readonly width: number;
  /** Each stage by itself, or all of them as a device does. */
  readonly what?: "stages" | "device";
}

/** Milliseconds by what took them. */
export type CompileTimes = Readonly<Record<string, number>>;

const BATCH = 8;
const CONTEXT = 128;

function modelOf({ architecture, layers: layerCount, width: dim }: CompileJob): Model {
  const common = { dim, layerCount, vocabSize: 256 };
  if (architecture === "matmul-free") return createModel({ architecture, ...common });
  return createModel({ architecture, ...common, headCount: 4, keyValueHeadCount: 4, contextLength: CONTEXT });
}

/** Traces the step; what would be compiled then. */
async function traceStep(model: Model): Promise<{ readonly graph: Graph; readonly options: CompileOptions }> {
  const stop = new Error("traced");
  let traced: { readonly graph: Graph; readonly options: CompileOptions } | undefined;
  const device: Device = {
    target: "none",
    threads: 1,
    tensor: (): DeviceTensor => {
      throw stop;
    },
    compile(graph, options = {}) {
      traced = { graph, options };
      return Promise.reject(stop);
    },
    close: () => Promise.resolve(),
  };
  const settings = trainSettings({ steps: 1, batchSize: BATCH, contextLength: CONTEXT, precision: "f32" });
  await TrainStep.compile(device, model, settings).catch((error: unknown) => {
    if (error !== stop) throw error;
  });
  return traced!;
}

async function run(job: CompileJob): Promise<CompileTimes> {
  const model = modelOf(job);
  let last = performance.now();
  const times: Record<string, number> = {};
  const lap = (name: string): void => {
    const now = performance.now();
    times[name] = now - last;
    last = performance.now();
  };
  const { graph, options } = await traceStep(model);
  lap("trace-and-derive");
  if (job.what === "device") {
    const device = createDevice({ target: job.target, threads: 2 });
    last = performance.now();
    await device.compile(graph, options);
    lap("device");
    await device.close();
    return times;
  }
  const vectors = TARGETS[job.target].vectors();
  last = performance.now();
  const onPass = (name: string): void => {
    if (name !== "trace") lap(`pass-${name}`);
  };
  const program = compileGraph(graph, { ...options, target: vectors, onPass });
  lap("assemble");
  return { ...times, ...(job.target === "native" ? await nativeTimes(program) : await wasmTimes(program)) };
}

async function nativeTimes(program: Program): Promise<CompileTimes> {
  const target = createNativeTarget();
  const started = performance.now();
  const { loadable } = await target.compile(program, 0);
  const compiled = performance.now();
  const { printMs, findMs, toolMs } = target.statistics;
  const tools = compiled - started - printMs - findMs;
  using arena = SharedArena.create();
  const loading = performance.now();
  target.open(loadable, arena.memory).close?.();
  const load = performance.now() - loading;
  const byTool = [...toolMs].map(([tool, time]) => [`tool-${tool}`, time] as const);
  return { print: printMs, tools, ...Object.fromEntries(byTool), load };
}

async function wasmTimes(program: Program): Promise<CompileTimes> {
  const started = performance.now();
  const bytes = await TARGETS.wasm.compile(program);
  const encoded = performance.now();
  await WebAssembly.compile(bytes as Uint8Array<ArrayBuffer>);
  return { encode: encoded - started, engine: performance.now() - encoded };
}

process.stdout.write(JSON.stringify(await run(JSON.parse(process.argv[2]) as CompileJob)));
