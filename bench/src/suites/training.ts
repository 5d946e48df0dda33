// Training: tokens a second of one step (forward, backward, clipping, AdamW) of the MatMul-free language model and of
// the Llama-style transformer, at width 128, 4 layers, context 128, batch 16 and the vocabulary of bytes, against the
// same step in PyTorch. What limits a step: its operations as a share of the measured float32 peak, its bytes as a
// share of the measured bandwidth, and a table of where the time goes.

import { compileGraph, createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import type { CompileOptions, Device, Graph } from "@fidelity/core";
import { createModel, fillParameter, namedParameters } from "@fidelity/models";
import type { Model, PlainConfig } from "@fidelity/models";
import { TrainStep, trainSettings } from "@fidelity/train";
import { programBytes, stepOperations, totalOperations } from "../accounting.ts";
import type { StepOperations } from "../accounting.ts";
import { ceilingName, ceilingSource } from "../ceilings.ts";
import type { Ceiling } from "../ceilings.ts";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { TorchPeer } from "../peers/torch.ts";
import { longestItems, Profile, timeByFamily } from "../profile.ts";
import { formatNumber, formatShare, formatTable } from "../row.ts";
import type { RowPlan } from "../row.ts";

const BATCH = 16;
const CONTEXT = 128;
const STEP_TOKENS = BATCH * CONTEXT;
/** Straight-through gradients, as the peer has them. */
const SETTINGS = trainSettings({
  steps: 1000,
  batchSize: BATCH,
  contextLength: CONTEXT,
  beta2: 0.95,
  estimator: "straight-through",
});
const LEARNING_RATE = 1e-3;
const LONGEST_COUNT = 6;
const LABEL_COLUMNS = 60;
const TRIAD: Ceiling = { kind: "triad", sizeBytes: 192 * 2 ** 20 };
const PEAK: Ceiling = { kind: "f32" };

interface Subject {
  readonly name: string;
  readonly config: PlainConfig;
  /** Models of the peer, and what sets them apart. */
  readonly peers: readonly { readonly model: string; readonly name: string }[];
}

const SUBJECTS: readonly Subject[] = [
  {
    name: "matmul-free",
    config: { architecture: "matmul-free", dim: 128, layerCount: 4, hiddenDim: 512, vocabSize: 256 },
    peers: [
      { model: "matmul-free", name: "plain autograd" },
      { model: "matmul-free-hand", name: "hand-written backward" },
    ],
  },
  {
    name: "transformer",
    config: {
      architecture: "llama",
      dim: 128,
      layerCount: 4,
      headCount: 4,
      hiddenDim: 344,
      vocabSize: 256,
      contextLength: CONTEXT,
      tiedEmbeddings: false,
    },
    peers: [{ model: "transformer", name: "plain autograd" }],
  },
];

/** Measures training with each number of threads. */
export async function training(bench: Bench): Promise<void> {
  for (const threads of bench.threads) {
    const peer = await startPeer(bench, threads);
    const device = createDevice({ threads, target: bench.target });
    try {
      await compare(bench, device, peer);
    } finally {
      await device.close();
      await peer?.close();
    }
    for (const subject of SUBJECTS) await showProfile(bench, subject, threads);
  }
}

async function startPeer(bench: Bench, threads: number): Promise<TorchPeer | undefined> {
  const peer = await TorchPeer.start(threads);
  if (peer === undefined) bench.note("No Python with PyTorch: no peer. On Debian: tools/setup.sh bench");
  else if (!peer.info.blas.startsWith("openblas")) {
    bench.note(`${peer.name} runs on a BLAS that is not OpenBLAS, and is slow: apt-get install libopenblas0-pthread`);
  }
  return peer;
}

/** Ours, the peer's and the ceilings, in the same rounds. */
async function compare(bench: Bench, device: CpuDevice, peer: TorchPeer | undefined): Promise<void> {
  const steps = bench.quick ? 1 : 2;
  const sources: Source[] = [];
  const plans: RowPlan[] = [];
  for (const subject of SUBJECTS) {
    const { step, model, bytes } = await openStep(device, subject);
    sources.push({ name: subject.name, sample: () => tokensPerSecond(step, 2 * steps) });
    for (const { model } of peer === undefined ? [] : subject.peers) {
      sources.push({ name: `torch ${model}`, sample: () => peer!.tokensPerSecond(model, steps) });
    }
    const operations = totalOperations(stepOperations(model, BATCH, CONTEXT));
    plans.push(...plansOf(subject, device.threads, peer, operations / STEP_TOKENS, bytes / STEP_TOKENS));
  }
  for (const ceiling of [PEAK, TRIAD]) sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
  const processes = peer === undefined ? [] : [peer.pid];
  const rows = await measure(sources, plans, { ...bench.settings, processes });
  const shape = `width 128, 4 layers, context ${CONTEXT}, batch ${BATCH}, bytes`;
  bench.report(`Training step, ${shape}, ${device.threads} thread(s)`, rows);
}

function plansOf(
  subject: Subject,
  threads: number,
  peer: TorchPeer | undefined,
  operationsPerToken: number,
  bytesPerToken: number,
): RowPlan[] {
  const source = subject.name;
  const id = (what: string): string => `training/${subject.name}/threads-${threads}${what}`;
  const against = subject.peers.map(({ model, name }) => ({
    source: `torch ${model}`,
    name: `${peer?.name ?? "PyTorch"}, ${name}`,
    model,
  }));
  const others = against.slice(1).map((other) => ({
    id: id(`/against-${other.model}`),
    unit: "tokens/s",
    source,
    peer: other,
  }));
  const own = against
    .filter(() => peer !== undefined)
    .map(({ source, model }) => ({ id: `training/pytorch-${model}/threads-${threads}`, unit: "tokens/s", source }));
  const ceilingOf = (ceiling: Ceiling, work: number) => ({
    source: ceilingName(ceiling),
    name: ceilingName(ceiling),
    work,
  });
  return [
    { id: id(""), unit: "tokens/s", source, peer: against[0] },
    ...(peer === undefined ? [] : others),
    ...own,
    {
      id: id("/operations"),
      unit: "GFLOP/s",
      source,
      scale: operationsPerToken / 1e9,
      ceiling: ceilingOf(PEAK, operationsPerToken),
    },
    { id: id("/traffic"), unit: "GB/s", source, scale: bytesPerToken / 1e9, ceiling: ceilingOf(TRIAD, bytesPerToken) },
  ];
}

interface OpenStep {
  readonly step: TrainStep;
  readonly model: Model;
  /** Bytes that the kernels of a step pass. */
  readonly bytes: number;
}

/** A step with its first parameters and one batch, on which it trains again and again. */
async function openStep(device: CpuDevice, { config }: Subject): Promise<OpenStep> {
  const model = createModel(config);
  const compiled: Compiled[] = [];
  const step = await TrainStep.compile(recording(device, compiled), model, SETTINGS);
  for (const { path, leaf } of namedParameters(model.parameters)) {
    fillParameter(leaf, path, 1, step.parameters.get(path)!.f32());
  }
  const tokens = step.tokens.i32();
  for (let i = 0; i < tokens.length; i++) tokens[i] = (i * 7919) % model.vocabSize;
  step.targets.i32().set([...tokens.subarray(1), 0]);
  const [{ graph, options }] = compiled;
  const program = compileGraph(graph, { ...options, target: { lanes: 4, joinsVectors: true } });
  return { step, model, bytes: programBytes(program) };
}

interface Compiled {
  readonly graph: Graph;
  readonly options: CompileOptions | undefined;
}

/** The device, keeping what it compiles. */
function recording(device: Device, compiled: Compiled[]): Device {
  return {
    target: device.target,
    threads: device.threads,
    tensor: (type) => device.tensor(type),
    compile(graph, options) {
      compiled.push({ graph, options });
      return device.compile(graph, options);
    },
    close: () => device.close(),
  };
}

async function tokensPerSecond(step: TrainStep, steps: number): Promise<number> {
  const started = performance.now();
  for (let i = 1; i <= steps; i++) await step.run(i, LEARNING_RATE);
  return (steps * STEP_TOKENS) / ((performance.now() - started) / 1000);
}

/** Prints where the time of a step goes, and reports the share of each family of kernels. */
async function showProfile(bench: Bench, subject: Subject, threads: number): Promise<void> {
  const profile = new Profile();
  const device = createDevice({ threads, target: bench.target, debug: profile.sink });
  try {
    const { step, model } = await openStep(device, subject);
    for (let i = 0; i < (bench.quick ? 5 : 15); i++) step.executable.run();
    step.free();
    const operations = stepOperations(model, BATCH, CONTEXT);
    const families = timeByFamily(profile.items).map((time) => ({ ...time, rate: rateOf(time.name, operations) }));
    const cells = families.map(({ name, items, timeMs, share, rate }) => [
      name,
      String(items),
      formatNumber(timeMs),
      formatShare(share),
      rate === 0 ? "" : formatNumber(rate / timeMs / 1e6),
    ]);
    const longest = longestItems(profile.items, LONGEST_COUNT).map(({ name, items, timeMs, share }) => [
      shorten(name),
      String(items),
      formatNumber(timeMs),
      formatShare(share),
    ]);
    bench.note(
      `Where a step of the ${subject.name} goes, ${threads} thread(s), each schedule item timed by itself\n` +
        `${formatTable([["kernels", "items", "ms", "share", "GFLOP/s"], ...cells], new Set([0]))}\n\n` +
        formatTable([["longest items", "count", "ms", "share"], ...longest], new Set([0])),
    );
  } finally {
    await device.close();
  }
}

/** The label of a fused unit lists all of its ops: what it begins with, and how many there are. */
function shorten(labels: string): string {
  if (labels.length <= LABEL_COLUMNS) return labels;
  return `${labels.slice(0, LABEL_COLUMNS)}... (${labels.split(/[+|]/).length} ops)`;
}

/** Operations of a step that a family of kernels computes; 0 where they are not counted. */
function rateOf(family: string, { ternary, dense, attention }: StepOperations): number {
  if (family === "ternary_linear") return ternary;
  if (family === "attention") return attention;
  return family === "matmul" ? dense : 0;
}
