// Decoding: tokens a second and bytes read a token of the MatMul-free language model, its ternary weights packed to 2
// bits against float32, near the start of a sequence and far into it. The ceiling is the measured bandwidth of reading
// as many bytes as a token reads, over and over: from a cache, if that is where they stay.

import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex/node";
import {
  countParameters,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  packParameters,
  parameterTypes,
} from "@fidelity/models";
import type { DeviceParameters, Model } from "@fidelity/models";
import { ceilingName, ceilingSource } from "../ceilings.ts";
import type { Ceiling } from "../ceilings.ts";
import { bytesReadPerToken, Decoder } from "../decoder.ts";
import { measure, repeated } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { RowPlan } from "../row.ts";

type Storage = "packed" | "float32";
type ReadCeiling = Ceiling & { readonly kind: "read"; readonly sizeBytes: number };

interface Size {
  readonly dim: number;
  readonly layerCount: number;
}

/** The size of the training suite, and one whose float32 parameters fit in no cache. */
const SIZES: readonly Size[] = [
  { dim: 128, layerCount: 4 },
  { dim: 1024, layerCount: 8 },
];
const QUICK_SIZES: readonly Size[] = [
  { dim: 128, layerCount: 4 },
  { dim: 512, layerCount: 4 },
];
const POSITIONS: readonly number[] = [10, 100_000];

/** Measures decoding at each size, with each number of threads. */
export async function decode(bench: Bench): Promise<void> {
  for (const { dim, layerCount } of bench.quick ? QUICK_SIZES : SIZES) {
    const model = createModel({ architecture: "matmul-free", dim, layerCount, vocabSize: 256 });
    for (const threads of bench.threads) {
      const device = createDevice({ threads, target: bench.target });
      try {
        await decodeOn(bench, device, model, `${dim}x${layerCount}`);
      } finally {
        await device.close();
      }
    }
  }
}

async function decodeOn(bench: Bench, device: CpuDevice, model: Model, size: string): Promise<void> {
  const float32 = randomParameters(device, model);
  const packed = await packParameters(model, float32, device);
  const sources: Source[] = [];
  const plans: RowPlan[] = [];
  const idOf = (what: string): string => `decode/matmul-free-${size}/threads-${device.threads}/${what}`;
  for (const [storage, parameters] of [
    ["packed", packed],
    ["float32", float32],
  ] as const) {
    const bytes = bytesReadPerToken(model, parameters);
    const decoder = await Decoder.open(device, model, parameters);
    for (const position of POSITIONS) sources.push(decodeSource(bench, decoder, storage, position));
    const ceiling: ReadCeiling = { kind: "read", sizeBytes: bytes };
    sources.push(await ceilingSource(device, ceiling, bench.sampleMs));
    sources.push(constant(`bytes ${storage}`, bytes), constant(`state ${storage}`, decoder.stateBytes));
    plans.push(...plansOf(idOf, storage, ceiling));
  }
  const rows = await measure(sources, plans, bench.settings);
  const { parameters } = countParameters(model.parameters);
  const { dim, layerCount } = model.config;
  const title = `Decoding, MatMul-free LM of width ${Number(dim)}, ${Number(layerCount)} layers`;
  const facts = `${(parameters / 1e6).toFixed(1)}M parameters, ${device.threads} thread(s)`;
  bench.report(`${title}, ${facts}`, rows);
}

/** Random first values. */
function randomParameters(device: CpuDevice, model: Model): DeviceParameters {
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  return createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) => {
    fillParameter(specs.get(path)!, path, 1, tensor.f32());
  });
}

function decodeSource({ sampleMs }: Bench, decoder: Decoder, storage: Storage, position: number): Source {
  const { name, sample } = repeated(`${storage} at ${position}`, 1, sampleMs, () => decoder.step());
  const moved = (): number | Promise<number> => {
    decoder.moveTo(position);
    return sample();
  };
  return { name, sample: moved };
}

/** What is counted and not measured, as a source: the same in every round. */
function constant(name: string, value: number): Source {
  return { name, sample: () => value };
}

function plansOf(idOf: (what: string) => string, storage: Storage, { sizeBytes }: ReadCeiling): RowPlan[] {
  const against = (source: string) => (storage === "packed" ? { source, name: "float32 parameters" } : undefined);
  const name = ceilingName({ kind: "read", sizeBytes });
  return [
    ...POSITIONS.map((position): RowPlan => ({
      id: idOf(`${storage}/position-${position}`),
      unit: "tokens/s",
      source: `${storage} at ${position}`,
      peer: against(`float32 at ${position}`),
      ceiling: { source: name, name, work: sizeBytes },
    })),
    {
      id: idOf(`${storage}/read`),
      unit: "kB/token",
      source: `bytes ${storage}`,
      scale: 1e-3,
      peer: against("bytes float32"),
    },
    { id: idOf(`${storage}/state`), unit: "kB", source: `state ${storage}`, scale: 1e-3 },
  ];
}
