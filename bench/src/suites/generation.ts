// Generation: prompts read and tokens written a second by BitNet b1.58 models with random weights, beside llama.cpp on
// files of the same model, and beside what the processor and its memory can do at most; a Mamba near the start and far
// into a sequence; and the first token and the memory of a process that has just opened its file.

import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { elementCount } from "@fidelity/core";
import { namedParameters } from "@fidelity/models";
import type { Model } from "@fidelity/models";
import { FidelityError } from "@fidelity/units";
import type { Llama } from "node-llama-cpp";
import { ceilingName, ceilingSource } from "../ceilings.ts";
import { bytesReadPerToken } from "../decoder.ts";
import { measure } from "../measure.ts";
import type { Bench, Source } from "../measure.ts";
import type { BenchTarget } from "../options.ts";
import type { RowPlan } from "../row.ts";
import { fileBytes, largeBitnet, mamba, ownFile, peerFile, smallBitnet, tinyBitnet } from "./generation-models.ts";
import type { GenerationModel, OwnTypes } from "./generation-models.ts";
import { OwnModel } from "./generation-own.ts";
import type { GenerationSource } from "./generation-own.ts";
import { loadLlama, PeerModel } from "./generation-peer.ts";
import type { FirstTokenJob, FirstTokenUse } from "./generation-process.ts";

const execute = promisify(execFile);
const PROCESS = fileURLToPath(new URL("generation-process.ts", import.meta.url));
const PROCESS_MS_MAX = 300_000;
/** Types are stripped and modules compiled once, as by the command (cli/bin/fidelity.js), and in its folder. */
const MODULES = { NODE_COMPILE_CACHE: join(tmpdir(), "node-compile-cache") };

/** What our files hold: ternary weights as each target reads them soonest, and a head of 4.5 bits a weight. */
const OWN_TYPES: Readonly<Record<BenchTarget, OwnTypes>> = {
  native: { ternary: "ternary5", dense: "q4_k" },
  wasm: { ternary: "ternary", dense: "q4_k" },
};
/** The peer's types of ternary weights, of which the first is made for them, and the type of the head in its files. */
const PEER_TYPES = ["tq2_0", "q4_0"] as const;
const PEER_HEAD = "q6_k";

const PROMPT_TOKENS = 512;
/** What comes before tokens that are timed, and how many of those there are. */
const SHORT_PROMPT = [1, 2, 3, 4, 5, 6, 7, 8];
const DECODED_TOKENS = 16;
/** Tokens that may come where a text must obey a grammar. */
const ALLOWED_TOKENS = 64;
/** A sample of a ceiling lasts as long as tokens do, so that what others take of the processors hits both alike. */
const CEILING_MS = 200;
const MAMBA_POSITIONS = [10, 100_000] as const;

export async function generation(bench: Bench): Promise<void> {
  const models = bench.quick ? [tinyBitnet()] : [smallBitnet(), largeBitnet()];
  const llama = await loadLlama(Math.max(...bench.threads));
  if (typeof llama === "string") bench.note(`generation: without llama.cpp, ${llama}`);
  try {
    for (const threads of bench.threads) {
      for (const model of models)
        await besidePeer(bench, model, threads, typeof llama === "string" ? undefined : llama);
      await farIntoSequence(
        bench,
        bench.quick ? mamba("mamba-tiny", 512, 2, 512) : mamba("mamba-2.8b", 2560, 64, 50_304),
        threads,
      );
    }
  } finally {
    if (typeof llama !== "string") await llama.dispose();
  }
  for (const threads of bench.threads) await firstToken(bench, models.at(-1)!, threads);
}

/** A sample is seconds long, so that few are taken. */
function roundsOf({ quick }: Bench) {
  return { rounds: quick ? 2 : 5, warmups: 1 };
}

async function besidePeer(
  bench: Bench,
  model: GenerationModel,
  threads: number,
  llama: Llama | undefined,
): Promise<void> {
  const { target } = bench;
  const capacity = PROMPT_TOKENS + DECODED_TOKENS;
  const own = await OwnModel.open(await ownFile(model, OWN_TYPES[target]), { target, threads, capacity });
  const peers: (readonly [type: string, bytes: number, peer: PeerModel])[] = [];
  try {
    for (const type of llama === undefined ? [] : PEER_TYPES) {
      const path = peerFile(model, type, PEER_HEAD);
      peers.push([type, fileBytes(path), await PeerModel.open(llama!, path, threads, capacity)]);
    }
    const read = { kind: "read", sizeBytes: bytesReadPerToken(model.model, own.opened.parameters) } as const;
    const products = { kind: "int8" } as const;
    const sources = [
      await ceilingSource(own.device, read, CEILING_MS),
      await ceilingSource(own.device, products, CEILING_MS),
      ...sourcesOf("own", own),
      { name: "own among", sample: () => own.decodeAmong(ALLOWED_TOKENS, SHORT_PROMPT, DECODED_TOKENS) },
      ...peers.flatMap(([type, , peer]) => sourcesOf(type, peer)),
    ];
    const types = peers.map(([type]) => type);
    const [prefill, decode] = [fastest(sources, "prefill", types), fastest(sources, "decode", types)];
    const against = { name: `the fastest of ${types.join(", ")}` };
    const id = `generation/${model.name}/threads-${threads}/${target}`;
    const ofRead = (work: number) => ({ source: ceilingName(read), name: ceilingName(read), work });
    const plans: RowPlan[] = [
      {
        id: `${id}/prefill-${PROMPT_TOKENS}`,
        unit: "tokens/s",
        source: "own prefill",
        peer: { source: prefill.name, ...against },
        ceiling: { source: ceilingName(products), name: ceilingName(products), work: operationsOf(model.model) },
      },
      {
        id: `${id}/decode`,
        unit: "tokens/s",
        source: "own decode",
        peer: { source: decode.name, ...against },
        ceiling: ofRead(read.sizeBytes),
      },
      {
        id: `${id}/decode-among-${ALLOWED_TOKENS}`,
        unit: "tokens/s",
        source: "own among",
        peer: { source: "own decode", name: "all tokens allowed" },
      },
      ...peers.flatMap(([type, bytes]): RowPlan[] => [
        { id: `${id}/llama.cpp-${type}/prefill-${PROMPT_TOKENS}`, unit: "tokens/s", source: `${type} prefill` },
        { id: `${id}/llama.cpp-${type}/decode`, unit: "tokens/s", source: `${type} decode`, ceiling: ofRead(bytes) },
      ]),
    ];
    const all = types.length === 0 ? sources : [...sources, prefill.source, decode.source];
    const rows = await measure(all, plans, roundsOf(bench));
    bench.report(
      `Generation, ${model.name}, ${threads} thread(s), ${target}: ${megabytes(read.sizeBytes)} a token`,
      rows,
    );
  } finally {
    for (const [, , peer] of peers) await peer.close();
    await own.close();
  }
}

function sourcesOf(name: string, model: GenerationSource): Source[] {
  const prompt = Array.from({ length: PROMPT_TOKENS }, (_, i) => i % 256);
  return [
    { name: `${name} prefill`, sample: () => model.prefill(prompt) },
    { name: `${name} decode`, sample: () => model.decode(SHORT_PROMPT, DECODED_TOKENS) },
  ];
}

/** The largest sample of this round among those of some types, as a source to be sampled after them. */
function fastest(sources: Source[], what: string, types: readonly string[]) {
  const latest = new Map<string, number>();
  for (const [at, { name, sample }] of sources.entries()) {
    if (!types.some((type) => name === `${type} ${what}`)) continue;
    const kept = async (): Promise<number> => {
      latest.set(name, await sample());
      return latest.get(name)!;
    };
    sources[at] = { name, sample: kept };
  }
  const name = `fastest ${what}`;
  return { name, source: { name, sample: () => Math.max(...latest.values()) } };
}

/**
 * Operations of a token of a prompt in ternary products, a multiply-add being two. Of the last layer a prompt needs
 * keys and values alone.
 */
function operationsOf({ parameters, config }: Model): number {
  const last = `blocks.${Number(config.layerCount) - 1}.`;
  const isNeeded = (path: string): boolean => !path.startsWith(last) || /\.(key|value)\./.test(path);
  return namedParameters(parameters)
    .filter(({ path, leaf }) => leaf.role === "ternary" && isNeeded(path))
    .reduce((sum, { leaf }) => sum + 2 * elementCount(leaf.shape), 0);
}

/** Tokens a second of a recurrent model near the start of a sequence and far into it. */
async function farIntoSequence(bench: Bench, model: GenerationModel, threads: number): Promise<void> {
  const { target } = bench;
  const own = await OwnModel.open(await ownFile(model, OWN_TYPES[target]), { target, threads });
  try {
    const [near, far] = MAMBA_POSITIONS;
    const sources = MAMBA_POSITIONS.map((position): Source => {
      return { name: `at ${position}`, sample: () => own.decodeAt(position, DECODED_TOKENS) };
    });
    const id = `generation/${model.name}/threads-${threads}/${target}`;
    const plans: RowPlan[] = [
      { id: `${id}/position-${near}`, unit: "tokens/s", source: `at ${near}` },
      {
        id: `${id}/position-${far}`,
        unit: "tokens/s",
        source: `at ${far}`,
        peer: { source: `at ${near}`, name: `position ${near}` },
      },
    ];
    const rows = await measure(sources, plans, { ...roundsOf(bench), rotate: true });
    bench.report(`Far into a sequence, ${model.name}, ${threads} thread(s), ${target}`, rows);
  } finally {
    await own.close();
  }
}

/** A process that measures failed. */
class GenerationProcessError extends FidelityError {}

/** What the first token after opening a file takes more than the same token later, and what memory. */
async function firstToken(bench: Bench, model: GenerationModel, threads: number): Promise<void> {
  if (process.platform !== "linux") {
    bench.note("generation: the first token is skipped, resident sizes are read from /proc/self/status");
    return;
  }
  const { target } = bench;
  const job = { path: await ownFile(model, OWN_TYPES[target]), target, threads, promptTokens: PROMPT_TOKENS };
  let last: FirstTokenUse | undefined;
  const sources: Source[] = [
    { name: "open", sample: async () => (last = await runProcess(job)).openMs },
    { name: "first", sample: () => last!.firstMs },
    { name: "warm", sample: () => last!.warmMs },
    { name: "added", sample: () => last!.firstMs - last!.warmMs },
    { name: "peak", sample: () => last!.peakBytes },
    { name: "planned", sample: () => last!.plannedBytes },
  ];
  const id = `generation/${model.name}/threads-${threads}/${target}`;
  const plans: RowPlan[] = [
    { id: `${id}/open`, unit: "ms", source: "open" },
    { id: `${id}/first-token`, unit: "ms", source: "first", peer: { source: "warm", name: "the same prompt later" } },
    { id: `${id}/first-token-more`, unit: "ms", source: "added" },
    { id: `${id}/peak-memory`, unit: "MB", source: "peak", scale: 1e-6, peer: { source: "planned", name: "the plan" } },
  ];
  const rows = await measure(sources, plans, { rounds: bench.quick ? 1 : 3, warmups: 1 });
  // The processes that are measured would count as others.
  const alone = rows.map((row) => ({ ...row, quiet: null }));
  bench.report(`A process that opens ${model.name}, ${threads} thread(s), ${target}`, alone);
}

async function runProcess(job: FirstTokenJob): Promise<FirstTokenUse> {
  try {
    const { stdout } = await execute(process.execPath, [PROCESS, JSON.stringify(job)], {
      env: { ...process.env, ...MODULES },
      timeout: PROCESS_MS_MAX,
    });
    return JSON.parse(stdout) as FirstTokenUse;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim();
    throw new GenerationProcessError("a process that generates failed", {
      where: job.path,
      got: said || String(error),
    });
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
