// Generations that end in every way there is: of themselves, by a loop that is left, by a signal, by an error of
// whoever reads, several at a time. What comes is the same as ever, and what was held is given back.

import { createDevice } from "@fidelity/alex/node";
import type { CpuDevice } from "@fidelity/alex";
import {
  ByteTokenizer,
  createModel,
  createParameters,
  fillParameter,
  namedParameters,
  parameterTypes,
} from "@fidelity/models";
import { LanguageModel } from "@fidelity/run";
import type { GenerateOptions, Generation } from "@fidelity/run";
import { pick, randomFor } from "./random.ts";
import type { Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

const SIZES = [
  { architecture: "llama", dim: 16, hiddenDim: 24, layerCount: 1, headCount: 2, contextLength: 128 },
  { architecture: "matmul-free", dim: 16, hiddenDim: 24, layerCount: 1 },
] as const;
const PROMPTS = ["a", "ab", "the quick", "the quicker", "the quick brown fox", "zebra"];
const OPTIONS: readonly GenerateOptions[] = [
  { temperature: 0 },
  { seed: 5, topK: 40 },
  { seed: 9, stop: ["e", "\u0000"] },
  { temperature: 0, speculation: {} },
  { seed: 1, constraint: { regex: "[a-e]{4}|x+y" }, logprobs: 2 },
];
const TOKENS_MAX = 24;
/** More than share steps at a time, so that some wait. */
const TOGETHER_MAX = 6;
/** After so many cases sessions and pools have made all their programs, and no more is held than before. */
const SETTLED_CASES = 500;

/** How a generation is read. */
const WAYS = ["to its end", "until left", "until aborted", "until an error"] as const;
type Way = (typeof WAYS)[number];

/** What a reader throws, to see what is left behind. */
class ReaderError extends Error {}

interface Subject {
  readonly loaded: LanguageModel;
  /** Opens a session for each text, so that no text knows of another, and shares no steps. */
  readonly reference: LanguageModel;
  readonly known: Map<string, readonly number[]>;
}

export const generations: FuzzTarget = {
  name: "generations",
  about: "texts that end in every way, of themselves or not, are the same as ever and give back what they held",
  open(seed) {
    const device = createDevice({ threads: 1 });
    const subjects = SIZES.map((sizes) => subjectOf(device, sizes));
    let [ran, most] = [0, 0];
    return {
      async run(index) {
        const random = randomFor(seed, index);
        if (random(16) === 0) return refused(pick(random, subjects));
        const ways: Way[] = [];
        const texts = Array.from({ length: 1 + random(TOGETHER_MAX) }, () => {
          ways.push(pick(random, WAYS));
          return oneText(pick(random, subjects), random, ways.at(-1)!);
        });
        await Promise.all(texts.map((start) => start()));
        const { liveBytes } = device.arena;
        if (++ran <= SETTLED_CASES) most = Math.max(most, liveBytes);
        if (liveBytes <= most) return `read ${ways[0]}`;
        throw new Error(`${liveBytes} bytes are held, and at most ${most} were in the first cases`);
      },
      close() {
        void Promise.all(subjects.flatMap(({ loaded, reference }) => [loaded.close(), reference.close()])).then(() =>
          device.close(),
        );
      },
    };
  },
};

function subjectOf(device: CpuDevice, sizes: (typeof SIZES)[number]): Subject {
  const tokenizer = new ByteTokenizer();
  const model = createModel({ ...sizes, vocabSize: tokenizer.vocabSize });
  const specs = new Map(namedParameters(model.parameters).map(({ path, leaf }) => [path, leaf]));
  const parameters = createParameters(device, parameterTypes(model.parameters, { packed: false }), (tensor, path) =>
    fillParameter(specs.get(path)!, path, 3, tensor.f32()),
  );
  const parts = { model, tokenizer, parameters, device };
  return {
    loaded: new LanguageModel(parts),
    reference: new LanguageModel(parts, { idleSessions: 0, parallel: 1 }),
    known: new Map(),
  };
}

function oneText({ loaded, reference, known }: Subject, random: Random, way: Way): () => Promise<void> {
  const prompt = pick(random, PROMPTS);
  const which = random(OPTIONS.length);
  const options = { ...OPTIONS[which], maxTokens: TOKENS_MAX };
  const pieces = random(TOKENS_MAX);
  return async () => {
    const key = `${which} ${prompt}`;
    const expected = known.get(key) ?? (await reference.generate(prompt, options).result()).tokens;
    known.set(key, expected);
    const controller = new AbortController();
    const generation = loaded.generate(prompt, { ...options, signal: controller.signal });
    await read(generation, way, pieces, () => controller.abort());
    const { tokens, endedBy } = await generation.result();
    const isWhole = way === "to its end" || endedBy !== "interrupt";
    const before = isWhole ? expected : expected.slice(0, tokens.length);
    if (String(tokens) !== String(before))
      throw new Error(`${key} ${way}, ${endedBy}: ${String(tokens)} and not ${String(before)}`);
  };
}

/** Reads so many pieces, and then ends it. */
async function read(generation: Generation, way: Way, pieces: number, abort: () => void): Promise<void> {
  if (way === "to its end") return;
  let count = 0;
  try {
    if (pieces === 0 && way === "until aborted") abort();
    for await (const _ of generation) {
      count++;
      if (count < pieces) continue;
      if (way === "until left") break;
      if (way === "until aborted") abort();
      else throw new ReaderError("enough");
    }
  } catch (error) {
    if (!(error instanceof ReaderError)) throw error;
  }
}

/** Options and tokens that cannot be. */
async function refused({ loaded }: Subject): Promise<string> {
  const wrong: readonly (() => Promise<unknown>)[] = [
    async () => loaded.generate("a", { topP: 7 }),
    async () => loaded.generate("a", { constraint: { regex: "(" } }),
    async () => loaded.generate([256], { maxTokens: 1 }).result(),
  ];
  for (const attempt of wrong) {
    let isRefused = false;
    await attempt().catch(() => (isRefused = true));
    if (!isRefused) throw new Error("what cannot be was taken");
  }
  return "refused";
}
