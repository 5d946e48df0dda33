// Multiple choice by log-likelihood, with the definitions of EleutherAI's lm-evaluation-harness (Gao et al. 2021): a
// model chooses the answer whose tokens it gives the highest log-probability after the prompt; "normalised" divides
// that by the number of characters of the answer first, so that long answers are not at a disadvantage.

import type { Device } from "@fidelity/core";
import { NO_TARGET } from "@fidelity/models";
import type { DeviceParameters, Model, Tokenizer } from "@fidelity/models";
import { QuestionError } from "./data/index.ts";
import type { Question } from "./data/index.ts";
import { meanAndError } from "./recall.ts";
import { Scoring } from "./score.ts";

export interface ChoiceOptions {
  readonly device: Device;
  readonly model: Model;
  /** Float32 or packed; they stay the caller's. */
  readonly parameters: DeviceParameters;
  readonly tokenizer: Tokenizer;
  readonly questions: readonly Question[];
  /** The most tokens that are read; of longer texts the last ones. The model's limit, or all, by default. */
  readonly contextLength?: number;
}

/** How a model answered. Standard errors are those of the mean over questions. */
export interface ChoiceAccuracy {
  readonly questions: number;
  /** Share of the questions whose most probable choice is the right one. */
  readonly accuracy: number;
  readonly accuracyError: number;
  /** The same by log-probability a character. */
  readonly normalisedAccuracy: number;
  readonly normalisedAccuracyError: number;
  /** What guessing would give. */
  readonly chance: number;
  /** Questions of which the beginning was left out, as they are longer than the context. */
  readonly truncated: number;
}

const SEQUENCES_PER_BATCH = 8;
const SHORTEST_PROGRAM = 32;

/** Answers all questions. Throws `QuestionError` for a choice that cannot be scored, and what tokenizers throw. */
export async function evaluateChoices(options: ChoiceOptions): Promise<ChoiceAccuracy> {
  const { model, tokenizer, questions } = options;
  const limit = Math.min(options.contextLength ?? Infinity, model.contextLimit ?? Infinity);
  const sequences = questions.flatMap((question, asked) =>
    question.choices.map((_, choice) => sequenceOf(question, { asked, choice, limit, tokenizer })),
  );
  const likelihoods = await scoreSequences(options, sequences);
  const [plain, normalised] = [false, true].map((isNormalised) => {
    const best = questions.map(() => ({ score: -Infinity, choice: -1 }));
    for (const [i, { asked, choice }] of sequences.entries()) {
      const length = Array.from(questions[asked].choices[choice]).length;
      const score = isNormalised ? likelihoods[i] / length : likelihoods[i];
      if (score > best[asked].score) best[asked] = { score, choice };
    }
    return meanAndError(questions.map(({ answer }, asked) => (best[asked].choice === answer ? 1 : 0)));
  });
  return {
    questions: questions.length,
    accuracy: plain.mean,
    accuracyError: plain.standardError,
    normalisedAccuracy: normalised.mean,
    normalisedAccuracyError: normalised.standardError,
    chance: meanAndError(questions.map(({ choices }) => 1 / choices.length)).mean,
    truncated: new Set(sequences.filter(({ isTruncated }) => isTruncated).map(({ asked }) => asked)).size,
  };
}

/** One choice after its prompt, as a model reads it. */
interface Sequence {
  /** Index of the question, and of its choice. */
  readonly asked: number;
  readonly choice: number;
  /** All tokens but the last, and for each the token after it, or `NO_TARGET` where that is not of the choice. */
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
  readonly isTruncated: boolean;
}

interface SequenceParts extends Pick<Sequence, "asked" | "choice"> {
  readonly limit: number;
  readonly tokenizer: Tokenizer;
}

function sequenceOf(question: Question, { asked, choice, limit, tokenizer }: SequenceParts): Sequence {
  const answer = question.choices[choice];
  // White space at the end of a prompt belongs to the tokens of the answer: vocabularies join it with the next word.
  const prompt = question.prompt.trimEnd();
  const between = question.prompt.slice(prompt.length) || (/^\s/.test(answer) || prompt === "" ? "" : " ");
  const whole = tokenizer.encode(prompt + between + answer, { addBos: true });
  const promptCount = Math.min(tokenizer.encode(prompt, { addBos: true }).length, whole.length);
  const first = Math.max(0, whole.length - 1 - limit);
  const refuse = (what: string, hint: string): never => {
    throw new QuestionError(`choice ${choice + 1} of line ${question.line} ${what}`, {
      got: answer.slice(0, 80),
      hint,
    });
  };
  if (promptCount === 0)
    refuse("has nothing before it", "give a context, or use a model whose texts have a first token");
  if (promptCount === whole.length) refuse("has no tokens of its own", "write it differently");
  if (first >= promptCount) refuse(`is longer than the context of ${limit}`, "use a longer --context");
  const tokens = whole.slice(first, -1);
  const targets = whole.slice(first + 1);
  targets.fill(NO_TARGET, 0, promptCount - 1 - first);
  return { asked, choice, tokens, targets, isTruncated: first > 0 };
}

/** The log-probability of the answer of each sequence. Sequences of similar length share a program. */
async function scoreSequences(
  { device, model, parameters }: ChoiceOptions,
  sequences: readonly Sequence[],
): Promise<Float64Array> {
  const likelihoods = new Float64Array(sequences.length);
  for (const [contextLength, members] of byProgram(sequences, model.contextLimit ?? Infinity)) {
    const scoring = await Scoring.compile(device, model, parameters, { batchSize: SEQUENCES_PER_BATCH, contextLength });
    try {
      for (let at = 0; at < members.length; at += SEQUENCES_PER_BATCH) {
        const batch = members.slice(at, at + SEQUENCES_PER_BATCH);
        scoring.tokens.i32().fill(0);
        scoring.targets.i32().fill(NO_TARGET);
        for (const [row, index] of batch.entries()) {
          scoring.tokens.i32().set(sequences[index].tokens, row * contextLength);
          scoring.targets.i32().set(sequences[index].targets, row * contextLength);
        }
        const { logProbabilities } = await scoring.run();
        for (const [row, index] of batch.entries()) {
          const { targets } = sequences[index];
          for (let time = 0; time < targets.length; time++) {
            if (targets[time] !== NO_TARGET) likelihoods[index] += logProbabilities[row * contextLength + time];
          }
        }
      }
    } finally {
      scoring.free();
    }
  }
  return likelihoods;
}

/** Indices of sequences by the length of the program that scores them: a power of two, or the model's limit. */
function byProgram(sequences: readonly Sequence[], limit: number): Map<number, number[]> {
  const programs = new Map<number, number[]>();
  for (const [index, { tokens }] of sequences.entries()) {
    const length = Math.min(limit, Math.max(SHORTEST_PROGRAM, 2 ** Math.ceil(Math.log2(tokens.length))));
    const members = programs.get(length) ?? [];
    members.push(index);
    programs.set(length, members);
  }
  return programs;
}
