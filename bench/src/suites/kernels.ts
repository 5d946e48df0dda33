// Single ops against the ceilings of the machine: products at the shapes of training and at round ones, packed ternary
// weights times one row and 128 rows, the linear recurrence, and what is bound by memory. Each op is compiled as a
// program of its own, so its time includes a barrier and, with more than one thread, the wake-up of the team.

import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import {
  linearRecurrence,
  matmul,
  mul,
  quantizeActivations,
  rmsNorm,
  silu,
  softmax,
  storageBytes,
  tensorType,
  ternaryLinear,
  trace,
} from "@fidelity/core";
import type { DeviceTensor, Graph, Tensor, TensorType } from "@fidelity/core";
import { RandomStream } from "@fidelity/models";
import type { Shape } from "@fidelity/units";
import { ceilingName, ceilingSource } from "../ceilings.ts";
import type { Ceiling } from "../ceilings.ts";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { RowPlan } from "../row.ts";

type F32 = Tensor<Shape, "f32">;

interface KernelCase {
  readonly name: string;
  readonly graph: Graph;
  /** Operations or bytes of a run, in the unit of the ceiling. */
  readonly work: number;
  readonly ceiling: Ceiling;
}

const MIB = 2 ** 20;
const PEAK: Ceiling = { kind: "f32" };
const DOT: Ceiling = { kind: "int8" };
/** In the caches of the cores that work on it, and in none. */
const NEAR_BYTES = MIB;
const FAR_BYTES = 192 * MIB;

/** Measures all kernels with each number of threads: first the ceilings, then group by group. */
export async function kernels(bench: Bench): Promise<void> {
  for (const threads of bench.threads) {
    await onDevice(bench, threads, (device) => measureCeilings(bench, device));
    for (const [title, cases] of GROUPS) {
      await onDevice(bench, threads, (device) => measureCases(bench, device, title, cases(bench.quick)));
    }
  }
}

/** A device of its own for each group gives the memory of its tensors back. */
async function onDevice({ target }: Bench, threads: number, work: (device: CpuDevice) => Promise<void>): Promise<void> {
  const device = createDevice({ threads, target });
  try {
    await work(device);
  } finally {
    await device.close();
  }
}

async function measureCeilings(bench: Bench, device: CpuDevice): Promise<void> {
  const ceilings: readonly Ceiling[] = [
    PEAK,
    DOT,
    { kind: "read", sizeBytes: NEAR_BYTES },
    { kind: "read", sizeBytes: 16 * MIB },
    { kind: "read", sizeBytes: FAR_BYTES },
    { kind: "triad", sizeBytes: NEAR_BYTES },
    { kind: "triad", sizeBytes: FAR_BYTES },
  ];
  const sources: Source[] = [];
  for (const ceiling of ceilings) sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
  const plans = ceilings.map((ceiling): RowPlan => {
    const name = ceilingName(ceiling);
    const id = `kernels/ceiling-${name.replaceAll(" ", "-")}/threads-${device.threads}`;
    return { id, unit: unitOf(ceiling), source: name, scale: 1e-9 };
  });
  bench.report(`Ceilings of this machine, ${device.threads} thread(s)`, await measure(sources, plans, bench.settings));
}

async function measureCases(
  bench: Bench,
  device: CpuDevice,
  title: string,
  cases: readonly KernelCase[],
): Promise<void> {
  const ceilings = new Map(cases.map(({ ceiling }) => [ceilingName(ceiling), ceiling]));
  const sources: Source[] = [];
  for (const kernelCase of cases) sources.push(await caseSource(bench, device, kernelCase));
  for (const ceiling of ceilings.values()) sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
  const plans = cases.map(({ name, ceiling }): RowPlan => ({
    id: `kernels/${name.replaceAll(" ", "-")}/threads-${device.threads}`,
    unit: unitOf(ceiling),
    source: name,
    scale: 1e-9,
    ceiling: { source: ceilingName(ceiling), name: ceilingName(ceiling), work: 1 },
  }));
  bench.report(`${title}, ${device.threads} thread(s)`, await measure(sources, plans, bench.settings));
}

function unitOf({ kind }: Ceiling): string {
  if (kind === "f32") return "GFLOP/s";
  return kind === "int8" ? "GOP/s" : "GB/s";
}

async function caseSource(bench: Bench, device: CpuDevice, { name, graph, work }: KernelCase): Promise<Source> {
  const executable = await device.compile(graph);
  const parameters = executable.parameterTypes.map((type, i) => randomTensor(device, type, i));
  executable.bind(
    parameters,
    executable.resultTypes.map((type) => device.tensor(type)),
  );
  return repeated(name, work, bench.sampleMs, () => executable.run());
}

/** Values from 0 to 1, gates included; packed dtypes stay as they are made, since their codes cost the same. */
function randomTensor(device: CpuDevice, type: TensorType, stream: number): DeviceTensor {
  const tensor = device.tensor(type);
  if (type.dtype !== "f32") return tensor;
  const values = tensor.f32();
  const random = new RandomStream(1, stream);
  const block = Float32Array.from({ length: Math.min(values.length, 4096) }, () => random.uniform());
  for (let at = 0; at < values.length; at += block.length) {
    values.set(block.subarray(0, Math.min(block.length, values.length - at)), at);
  }
  return tensor;
}

type Group = readonly [title: string, cases: (quick: boolean) => KernelCase[]];

const GROUPS: readonly Group[] = [
  ["float32 products", products],
  ["Ternary products", ternaryProducts],
  ["Bound by memory", streams],
];

interface ProductShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

/** A layer of the training suite forward, its two gradients at two widths, the head, and round sizes. */
function products(quick: boolean): KernelCase[] {
  const rows = 2048;
  const shapes: ProductShape[] = [
    { m: rows, n: 128, k: 128, transposeB: true },
    { m: rows, n: 512, k: 128, transposeB: true },
    { m: rows, n: 256, k: 128, transposeB: true },
    { m: rows, n: 128, k: 512 },
    { m: rows, n: 128, k: 128 },
    { m: 512, n: 128, k: rows, transposeA: true },
    { m: 128, n: 128, k: rows, transposeA: true },
    { m: 512, n: 512, k: 512 },
    ...(quick ? [] : [{ m: 1024, n: 1024, k: 1024 }]),
  ];
  return shapes.map(product);
}

function product({ m, n, k, transposeA = false, transposeB = false }: ProductShape): KernelCase {
  const a = tensorType("f32", transposeA ? [k, m] : [m, k]);
  const b = tensorType("f32", transposeB ? [n, k] : [k, n]);
  const { graph } = trace("matmul", (x: F32, y: F32) => matmul(x, y, { transposeA, transposeB }), [a, b]);
  const name = `matmul ${m}x${n}x${k}${transposeA ? " At" : ""}${transposeB ? " Bt" : ""}`;
  return { name, graph, work: 2 * m * n * k, ceiling: PEAK };
}

/** A feed-forward matrix of BitNet b1.58 2B4T (arXiv 2504.12285). */
const TERNARY_ROWS = 6912;
const TERNARY_COLUMNS = 2560;

function ternaryProducts(quick: boolean): KernelCase[] {
  const weightBytes = storageBytes(tensorType("ternary", [TERNARY_ROWS, TERNARY_COLUMNS]));
  const size = `${TERNARY_COLUMNS}x${TERNARY_ROWS}`;
  const far = 16;
  const single: KernelCase = {
    name: `ternary_linear ${size} 1 row`,
    graph: ternaryGraph(1, 1),
    work: weightBytes,
    ceiling: { kind: "read", sizeBytes: weightBytes },
  };
  const many: KernelCase = {
    name: `ternary_linear ${size} 1 row x ${far} matrices`,
    graph: ternaryGraph(1, far),
    work: far * weightBytes,
    ceiling: { kind: "read", sizeBytes: far * weightBytes },
  };
  const tokens = quick ? 32 : 128;
  const prefill: KernelCase = {
    name: `ternary_linear ${size} ${tokens} rows`,
    graph: ternaryGraph(tokens, 1),
    work: 2 * tokens * TERNARY_ROWS * TERNARY_COLUMNS,
    ceiling: DOT,
  };
  return quick ? [single, prefill] : [single, many, prefill];
}

function ternaryGraph(rows: number, matrices: number): Graph {
  const weights = Array.from({ length: matrices }, () => tensorType("ternary", [TERNARY_ROWS, TERNARY_COLUMNS]));
  const { graph } = trace(
    "ternary_linear",
    (x: Tensor<Shape, "f32">, matrices: readonly Tensor[]) => {
      const codes = quantizeActivations(x) as Tensor<Shape, "q8">;
      return matrices.map((matrix) => ternaryLinear(codes, matrix as Tensor<Shape, "ternary">));
    },
    [tensorType("f32", [rows, TERNARY_COLUMNS]), weights],
  );
  return graph;
}

/** Each at a size that stays in cache and at one that does not; bytes are those of inputs and results. */
function streams(quick: boolean): KernelCase[] {
  return (quick ? [NEAR_BYTES] : [NEAR_BYTES, FAR_BYTES]).flatMap((sizeBytes) => [
    stream("linear_recurrence", sizeBytes, 3, 128, ([f, i]) => linearRecurrence(f, i)),
    stream("softmax", sizeBytes, 2, 256, ([x]) => softmax(x)),
    stream("rms_norm", sizeBytes, 2, 128, ([x]) => rmsNorm(x)),
    stream("mul", sizeBytes, 3, 512, ([x, y]) => mul(x, y)),
    stream("silu mul", sizeBytes, 3, 512, ([x, y]) => mul(silu(x), y)),
  ]);
}

const STREAM_TIME = 128;

/** An op over `arrays` equal tensors [batch, time, columns], one of them its result, of `sizeBytes` together. */
function stream(
  name: string,
  sizeBytes: number,
  arrays: number,
  columns: number,
  compute: (inputs: readonly F32[]) => Tensor,
): KernelCase {
  const batch = Math.max(1, Math.round(sizeBytes / arrays / (STREAM_TIME * columns * 4)));
  const type = tensorType("f32", [batch, STREAM_TIME, columns]);
  const inputs = Array.from({ length: arrays - 1 }, () => type);
  const { graph } = trace(name, (tensors: readonly F32[]) => compute(tensors), [inputs]);
  const where = sizeBytes === NEAR_BYTES ? "in cache" : "in memory";
  return {
    name: `${name} ${where}`,
    graph,
    work: arrays * storageBytes(type),
    ceiling: { kind: "triad", sizeBytes },
  };
}
