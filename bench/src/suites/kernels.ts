// Single ops against the ceilings of the machine: float32 products at the shapes of training and at round ones, beside
// OpenBLAS; products of narrow dtypes (narrow-products.ts); packed ternary weights times one row and 128 rows;
// attention; recurrences, normalisation, softmax and the loss. Each op is compiled as a program of its own, so its time
// includes a barrier and, with more than one thread, the wake-up of the team. With `--loaded` each is measured again
// beside a busy process on every processor.
//
// What computes is held against the multiply-add units: a multiply-add counts two operations, and so does every other
// operation of a vector, which takes the same slot. An exponential is 13 of those: two bounds, two to find the
// exponent, two for the remainder, five of the polynomial, a shift, a product; a power of two is 12, its remainder
// being exact. Masks are not counted, since only keys at the diagonal need them, and a division, which takes longer, is
// one. Some processors add, compare and shift beside their multiply-add units (Zen 5 does): there more than all of the
// ceiling is possible.
//   attention       each visible pair of query and key: 4 size (two products) + 2 x 16 (power of two; scale, maximum,
//                   difference, sum)
//   its reverse     10 size (five products) + 2 x 16 (power of two; scale and shift, difference, two products)
//   softmax         2 x 17 a number: exponential, maximum, difference, sum, product
//   cross_entropy   2 x 18 a number: exponential, maximum, difference, sum, the target's comparison and sum
//   silu mul        2 x 18 a number: exponential, sign, sum, division, two products

import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import {
  crossEntropy,
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
import type { CompileOptions, Graph, Tensor, TernaryDtype } from "@fidelity/core";
import type { Shape } from "@fidelity/units";
import { ceilingName, ceilingSource, hasTiles } from "../ceilings.ts";
import type { Ceiling } from "../ceilings.ts";
import { collectGarbage } from "../collect.ts";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import { openBlas } from "../peers/openblas.ts";
import type { BlasProduct } from "../peers/openblas.ts";
import { randomTensor } from "../random-tensor.ts";
import { makeRow } from "../row.ts";
import type { RowPlan } from "../row.ts";
import { attentionCases } from "./attention-cases.ts";
import { narrowProducts } from "./narrow-products.ts";
import { stateRecurrences } from "./state-recurrences.ts";

type F32 = Tensor<Shape, "f32">;

export interface KernelCase {
  readonly name: string;
  readonly graph: Graph;
  /** Operations or bytes of a run, in the unit of the ceiling. */
  readonly work: number;
  readonly ceiling: Ceiling;
  /** The value of i32 inputs; 0 unless said. */
  readonly position?: number;
  /** Bounds of the values of inputs, one after the other; 0 and 1 unless said. */
  readonly ranges?: readonly (readonly [low: number, high: number])[];
  /** Results that are computed in place, in the tensors of parameters. */
  readonly donations?: CompileOptions["donations"];
  /** A product that OpenBLAS computes on the same operands. */
  readonly product?: BlasProduct;
  /** Another case of the group that it is compared with. */
  readonly beside?: string;
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
      await onDevice(bench, threads, (device) =>
        measureCases(bench, device, title, cases(bench.quick, reachOf(device))),
      );
    }
    if (bench.loaded) {
      const cases = (device: CpuDevice) => GROUPS.flatMap(([, group]) => group(true, reachOf(device)));
      await onDevice(bench, threads, (device) => measureLoaded(bench, device, cases(device)));
    }
  }
}

/**
 * A device of its own for each group gives the memory of its tensors back, once the one before is collected: the engine
 * does not count shared memory as garbage that presses, and groups of gigabytes would add up.
 */
async function onDevice({ target }: Bench, threads: number, work: (device: CpuDevice) => Promise<void>): Promise<void> {
  collectGarbage();
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
    ...(device.target === "native" ? [{ kind: "triad", sizeBytes: FAR_BYTES, nontemporal: true } as const] : []),
    ...(hasTiles(device) ? [{ kind: "tiles" } as const] : []),
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
  for (const kernelCase of cases) sources.push(...(await caseSources(bench, device, kernelCase)));
  for (const ceiling of ceilings.values()) sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
  const plans = cases.map(({ name, ceiling, beside }): RowPlan => ({
    id: `kernels/${name.replaceAll(" ", "-")}/threads-${device.threads}`,
    unit: unitOf(ceiling),
    source: name,
    scale: 1e-9,
    peer:
      beside === undefined ? { source: peerOf(name), name: openBlas()?.name ?? "" } : { source: beside, name: beside },
    ceiling: { source: ceilingName(ceiling), name: ceilingName(ceiling), work: 1 },
  }));
  bench.report(`${title}, ${device.threads} thread(s)`, await measure(sources, plans, bench.settings));
}

function unitOf({ kind }: Ceiling): string {
  if (kind === "f32") return "GFLOP/s";
  return kind === "int8" || kind === "tiles" ? "GOP/s" : "GB/s";
}

/** The name of the source of a product's peer. */
function peerOf(name: string): string {
  return `OpenBLAS ${name}`;
}

/** A source of the case and, for a product where OpenBLAS is installed, one of that. */
async function caseSources(bench: Bench, device: CpuDevice, kernelCase: KernelCase): Promise<Source[]> {
  const { name, graph, work, product, position = 0, ranges = [], donations = [] } = kernelCase;
  const executable = await device.compile(graph, { donations });
  const parameters = executable.parameterTypes.map((type, i) => randomTensor(device, type, i, position, ranges[i]));
  const results = executable.resultTypes.map((type, i) => {
    const place = donations.find(({ result }) => result === i);
    return place === undefined ? device.tensor(type) : parameters[place.parameter];
  });
  executable.bind(parameters, results);
  const own = repeated(name, work, bench.sampleMs, () => executable.run());
  const blas = product && openBlas();
  if (product === undefined || blas === undefined) return [own];
  const [a, b] = parameters.map((tensor) => tensor.f32());
  const run = blas.product(product, a, b, device.tensor(executable.resultTypes[0]).f32(), device.threads);
  return [own, repeated(peerOf(name), work, bench.sampleMs, run)];
}

const BURN = fileURLToPath(new URL("../peers/burn.ts", import.meta.url));

/** A sample and the share of its threads' time that the process had meanwhile. */
interface LoadedSample {
  readonly rate: number;
  readonly had: number;
}

/**
 * Each case alone, and beside a busy process on every processor: the share of its speed that it keeps, against the
 * share that it keeps of the processors. Alone is its best round, and the share it had then.
 */
async function measureLoaded(bench: Bench, device: CpuDevice, cases: readonly KernelCase[]): Promise<void> {
  const sources: Source[] = [];
  for (const kernelCase of cases) sources.push((await caseSources(bench, device, kernelCase))[0]);
  const rounds = async (): Promise<LoadedSample[][]> => {
    const taken = sources.map((): LoadedSample[] => []);
    for (let round = 0; round < bench.settings.rounds; round++) {
      for (const [i, { sample }] of sources.entries()) taken[i].push(await timed(device, sample));
    }
    return taken;
  };
  const alone = (await rounds()).map((samples) => samples.reduce((a, b) => (b.rate > a.rate ? b : a)));
  const burners = Array.from({ length: availableParallelism() }, () => spawn(process.execPath, [BURN]));
  try {
    await Promise.all(burners.map((burner) => once(burner, "spawn")));
    const beside = await rounds();
    const rows = cases.map(({ name }, i) => {
      const id = `kernels/${name.replaceAll(" ", "-")}/threads-${device.threads}/loaded`;
      const kept = new Map([
        ["speed", beside[i].map(({ rate }) => rate / alone[i].rate)],
        ["processors", beside[i].map(({ had }) => had / alone[i].had)],
      ]);
      const peer = { source: "processors", name: "what it keeps of the processors" };
      return makeRow({ id, unit: "of its speed", source: "speed", peer }, kept, null);
    });
    bench.report(`Beside a busy process on every processor, ${device.threads} thread(s)`, rows);
  } finally {
    for (const burner of burners) burner.kill();
  }
}

async function timed(device: CpuDevice, sample: Source["sample"]): Promise<LoadedSample> {
  const [before, started] = [process.cpuUsage(), performance.now()];
  const rate = await sample();
  const { user, system } = process.cpuUsage(before);
  return { rate, had: (user + system) / 1000 / (performance.now() - started) / device.threads };
}

/** What cases depend on: whether the target has matrix registers, and the most memory that its programs reach. */
export interface Reach {
  readonly tiles: boolean;
  readonly memoryBytes: number;
}

const reachOf = (device: CpuDevice): Reach => ({ tiles: hasTiles(device), memoryBytes: device.arena.maximumBytes });

/** Some cases, few if quick. */
type Group = readonly [title: string, cases: (quick: boolean, reach: Reach) => KernelCase[]];

const GROUPS: readonly Group[] = [
  ["float32 products", products],
  ["Products of narrow dtypes", narrowProducts],
  ["Ternary products", ternaryProducts],
  ["Rows and attention", attentions],
  ["Bound by memory", streams],
  ["Recurrences over states", stateRecurrences],
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
    { m: 256, n: 256, k: 256 },
    ...(quick
      ? []
      : [
          { m: 1024, n: 1024, k: 1024 },
          { m: 2048, n: 2048, k: 2048 },
        ]),
  ];
  return shapes.map(product);
}

function product({ m, n, k, transposeA = false, transposeB = false }: ProductShape): KernelCase {
  const a = tensorType("f32", transposeA ? [k, m] : [m, k]);
  const b = tensorType("f32", transposeB ? [n, k] : [k, n]);
  const { graph } = trace("matmul", (x: F32, y: F32) => matmul(x, y, { transposeA, transposeB }), [a, b]);
  const name = `matmul ${m}x${n}x${k}${transposeA ? " At" : ""}${transposeB ? " Bt" : ""}`;
  const shape = { m, n, k, transposeA, transposeB };
  return { name, graph, work: 2 * m * n * k, ceiling: PEAK, product: shape };
}

/** A row of activations times a dense weight, which is read once. */
function rowProduct(n: number, k: number, transposeB: boolean): KernelCase {
  const { name, graph } = product({ m: 1, n, k, transposeB });
  return { name, graph, work: 4 * n * k, ceiling: { kind: "read", sizeBytes: 4 * n * k } };
}

/** Operations of a number, besides those of products; see above. */
const [SOFTMAX_OPERATIONS, LOSS_OPERATIONS, SILU_MUL_OPERATIONS] = [34, 36, 36];

/** Attention; rows of activations times a dense weight; the rows of the loss. */
function attentions(quick: boolean): KernelCase[] {
  const rows = quick ? 1024 : 8192;
  return [...attentionCases(quick), rowProduct(rows, 2560, true), rowProduct(rows, 2560, false), lossCase(1024, 256)];
}

function lossCase(rows: number, classes: number): KernelCase {
  const types = [tensorType("f32", [rows, classes]), tensorType("i32", [rows])] as const;
  const { graph } = trace(
    "cross_entropy",
    (logits: F32, targets: Tensor<Shape, "i32">) => crossEntropy(logits, targets),
    [...types],
  );
  return { name: `cross_entropy ${rows}x${classes}`, graph, work: rows * classes * LOSS_OPERATIONS, ceiling: PEAK };
}

/** A feed-forward matrix of BitNet b1.58 2B4T (arXiv 2504.12285). */
const TERNARY_ROWS = 6912;
const TERNARY_COLUMNS = 2560;

/** Distinct weights of a pass over them, as many as a model of 2.4 billion parameters reads for a token, and twice. */
const TERNARY_BYTES = 1.2e9;

function ternaryProducts(quick: boolean, { tiles }: Reach): KernelCase[] {
  return (["ternary", "ternary5"] as const).flatMap((dtype) => {
    const weightBytes = storageBytes(tensorType(dtype, [TERNARY_ROWS, TERNARY_COLUMNS]));
    const name = `ternary_linear ${dtype === "ternary" ? "2" : "1.6"} bits ${TERNARY_COLUMNS}x${TERNARY_ROWS}`;
    const single: KernelCase = {
      name: `${name} 1 row`,
      graph: ternaryGraph(dtype, 1, 1),
      work: weightBytes,
      ceiling: { kind: "read", sizeBytes: weightBytes },
    };
    const far = Math.ceil(TERNARY_BYTES / weightBytes);
    const many = (): KernelCase => ({
      name: `${name} 1 row x ${far} matrices`,
      graph: ternaryGraph(dtype, 1, far),
      work: far * weightBytes,
      ceiling: { kind: "read", sizeBytes: FAR_BYTES },
    });
    const tokens = quick ? 32 : 128;
    const prefill: KernelCase = {
      name: `${name} ${tokens} rows`,
      graph: ternaryGraph(dtype, tokens, 1),
      work: 2 * tokens * TERNARY_ROWS * TERNARY_COLUMNS,
      ceiling: tiles ? { kind: "tiles" } : DOT,
    };
    return quick ? [single, prefill] : [single, many(), prefill];
  });
}

function ternaryGraph(dtype: TernaryDtype, rows: number, matrices: number): Graph {
  const weights = Array.from({ length: matrices }, () => tensorType(dtype, [TERNARY_ROWS, TERNARY_COLUMNS]));
  const { graph } = trace(
    "ternary_linear",
    (x: Tensor<Shape, "f32">, matrices: readonly Tensor[]) => {
      const codes = quantizeActivations(x) as Tensor<Shape, "q8">;
      return matrices.map((matrix) => ternaryLinear(codes, matrix as Tensor<Shape, TernaryDtype>));
    },
    [tensorType("f32", [rows, TERNARY_COLUMNS]), weights],
  );
  return graph;
}

/** Each at a size that stays in cache and at one that does not; bytes are those of inputs and results. */
function streams(quick: boolean): KernelCase[] {
  return (quick ? [NEAR_BYTES] : [NEAR_BYTES, FAR_BYTES]).flatMap((sizeBytes) => [
    stream("linear_recurrence", sizeBytes, 3, 128, ([f, i]) => linearRecurrence(f, i)),
    sizeBytes === NEAR_BYTES
      ? computed(
          stream("softmax", sizeBytes, 2, 256, ([x]) => softmax(x)),
          2,
          SOFTMAX_OPERATIONS,
        )
      : stream("softmax", sizeBytes, 2, 256, ([x]) => softmax(x)),
    stream("rms_norm", sizeBytes, 2, 128, ([x]) => rmsNorm(x)),
    stream("mul", sizeBytes, 3, 512, ([x, y]) => mul(x, y)),
    siluMul(sizeBytes),
  ]);
}

/** In cache, where its operations bind it, and in memory. */
function siluMul(sizeBytes: number): KernelCase {
  const inCache = sizeBytes === NEAR_BYTES;
  const kernelCase = stream("silu mul", sizeBytes, 3, 512, ([x, y]) => mul(silu(x), y));
  return inCache ? computed(kernelCase, 3, SILU_MUL_OPERATIONS) : kernelCase;
}

/** A stream in cache that its operations bind: so many for each number of one of its arrays. */
function computed(kernelCase: KernelCase, arrays: number, operations: number): KernelCase {
  return { ...kernelCase, work: (kernelCase.work / arrays / 4) * operations, ceiling: PEAK };
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
