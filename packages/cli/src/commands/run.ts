// `fidelity run`: a chat with a model in the terminal, or one answer over a pipe.

import { text as readAll } from "node:stream/consumers";
import { bestTarget } from "@fidelity/alex/node";
import { FileError } from "@fidelity/barewire/node";
import type { CacheDtype } from "@fidelity/core";
import { ChatTemplate, samplerOptions } from "@fidelity/models";
import type { SamplerOptions } from "@fidelity/models";
import type { Chat, ChatStart, GenerationResult } from "@fidelity/run";
import { chatTemplateOf, describeModel, memoryFit, ModelStore, requireRoomFor } from "@fidelity/run/node";
import type { ModelInfo } from "@fidelity/run/node";
import { HubError, parseModelName } from "@fidelity/run";
import { FidelityError } from "@fidelity/units";
import { Command, Option } from "commander";
import { runChatCommand } from "../chat/chat-commands.ts";
import type { ChatSubject } from "../chat/chat-commands.ts";
import { askMessage, ChatHistory, confirm } from "../chat/chat-terminal.ts";
import { WordWrap } from "../chat/word-wrap.ts";
import { EXIT_OK, UsageError } from "../errors.ts";
import { Interrupt } from "../interrupt.ts";
import { withModel } from "../open-model.ts";
import { cacheDtypeOption, integerOption, jsonOption, numberOption, seedOption } from "../options.ts";
import { targetOption, threadsOption, tokenizerOption } from "../options.ts";
import type { Target } from "../options.ts";
import { createOutput, remark, writeText } from "../output.ts";
import { pullWithProgress } from "../pull-model.ts";
import { modelPath } from "../run-folder.ts";
import { describeSpeculation, draftModelOption, speculateOption, withSpeculation } from "../speculation-options.ts";
import type { SpeculationChoice } from "../speculation-options.ts";
import { formatCount, formatDuration, formatRate, formatSize, plural } from "../table.ts";

interface RunOptions extends SpeculationChoice {
  readonly tokenizer?: string;
  readonly system?: string;
  readonly template?: string;
  readonly context: number;
  readonly cacheDtype: CacheDtype;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
  readonly wrap: boolean;
  readonly target: Target | "auto";
  readonly threads: number;
  readonly json?: boolean;
}

/** Compiling for the processor takes seconds once a model; one this large makes up for them in some hundred tokens. */
const NATIVE_FROM_BYTES = 2 ** 26;

const EXAMPLES = `
Without a prompt, and in a terminal, this is a chat: /help tells its commands. The model's own chat template is used;
a model without one continues the text. Time to the first token and tokens a second go to standard error.

Examples:
  fidelity run Qwen/Qwen3-0.6B-GGUF:Q8_0
  fidelity run "models/my model.gguf" "Why is the sky blue?"
  echo "Summarise: ..." | fidelity run Qwen/Qwen3-0.6B-GGUF:Q8_0 > summary.txt
  fidelity run runs/quickstart --system "Answer briefly." --template chatml`;

export function runCommand(done: (exitCode: number) => void): Command {
  return new Command("run")
    .description("Chat with a model, or ask it once; fetches it first where that is needed.")
    .argument("<model>", "a path, a name of `fidelity ls`, or OWNER/NAME[:QUANTISATION] at the Hugging Face hub")
    .argument("[prompt...]", "ask this and end; what comes over a pipe is put behind it")
    .addOption(new Option("--system <text>", "what the model is told before the conversation"))
    .addOption(new Option("--template <name>", "a chat template by name (chatml, llama3, ...), or plain for none"))
    .addOption(
      integerOption("--context <tokens>", "room for the conversation, at most the model's", { min: 16 }).default(4096),
    )
    .addOption(cacheDtypeOption())
    .addOption(integerOption("--tokens <count>", "the most tokens of an answer").default(1024))
    .addOption(numberOption("--temperature <number>", "0 takes the likeliest token").default(0.8))
    .addOption(integerOption("--top-k <count>", "keep the k likeliest tokens; 0 keeps all", { min: 0 }).default(40))
    .addOption(numberOption("--top-p <share>", "keep the fewest tokens that are this likely together").default(0.95))
    .addOption(numberOption("--min-p <share>", "keep tokens at least this likely beside the likeliest").default(0.05))
    .addOption(numberOption("--repetition-penalty <number>", "above 1, recent tokens become less likely").default(1))
    .addOption(seedOption())
    .addOption(speculateOption())
    .addOption(draftModelOption())
    .option("--no-wrap", "leave long lines to the terminal")
    .addOption(tokenizerOption())
    .addOption(targetOption().default("auto", "native for large models where LLVM 19 is, else wasm"))
    .addOption(threadsOption())
    .addOption(jsonOption())
    .addHelpText("after", EXAMPLES)
    .action(async (model: string, prompt: readonly string[], options: RunOptions) =>
      done(await runModel(model, prompt.join(" "), options)),
    );
}

async function runModel(name: string, words: string, options: RunOptions): Promise<number> {
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
  const sampling = samplerOptions({ temperature, topK, topP, minP, repetitionPenalty, seed });
  const prompt = await wholePrompt(words);
  if (prompt === undefined && options.json === true) {
    throw new UsageError("--json needs a question", { expected: "a prompt behind the model, or over a pipe" });
  }
  const found = await findModel(name);
  if (typeof found === "number") return found;
  const info = describeModel(found, { tokenizer: options.tokenizer });
  const target = options.target === "auto" ? targetFor(info) : options.target;
  requireRoomFor(info, target, options.context, { cacheDtype: options.cacheDtype });
  const template = templateFor(info, options.template);
  return withModel(found, { ...options, target }, async (loaded) => {
    const { tokens: maxTokens, system } = options;
    const templateOptions = { now: new Date() };
    return await withSpeculation(loaded, options, async (speculation) => {
      const settings = { ...sampling, maxTokens, system, template, templateOptions, speculation };
      const conversation = loaded.chat(settings);
      if (prompt !== undefined) return await askOnce(name, prompt, conversation, options, sampling);
      return await converse(conversation, { name, facts: factsOf(info, template, target) }, options.wrap);
    });
  });
}

/** The prompt of the command line, then what comes over a pipe; undefined in a terminal without a prompt. */
async function wholePrompt(words: string): Promise<string | undefined> {
  if (process.stdin.isTTY) return words === "" ? undefined : words;
  const piped = (await readAll(process.stdin)).trimEnd();
  const parts = [words, piped].filter((part) => part !== "");
  if (parts.length > 0) return parts.join("\n");
  throw new UsageError("there is no question", {
    expected: "a prompt behind the model, or over a pipe",
    got: "nothing, and no terminal to ask in",
  });
}

/** A path; or the exit code where the user wants no download. Throws where there is no such model. */
async function findModel(name: string): Promise<string | number> {
  try {
    return modelPath(name);
  } catch (error) {
    if (!(error instanceof FileError) || error.code !== "ENOENT") throw error;
    if (!mayBeAtHub(name)) throw noSuchModel(name);
  }
  const wanted = parseModelName(name);
  const stored = new ModelStore().find(wanted.name);
  if (stored !== undefined) return stored.path;
  if (process.stdin.isTTY && !(await confirm(`${name} is not here. Fetch it from the hub?`))) return EXIT_OK;
  using interrupt = new Interrupt();
  try {
    return (await pullWithProgress(name, { signal: interrupt.signal })).path;
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    remark("Stopped. What has arrived is kept: the same command goes on from there.");
    return interrupt.exitCode;
  }
}

/** Names with the ending of a model file are paths that were mistyped. */
function mayBeAtHub(name: string): boolean {
  try {
    const { choice } = parseModelName(name);
    return choice !== undefined || !/\.(gguf|fid|bin|safetensors|onnx)$/i.test(name);
  } catch (error) {
    if (error instanceof HubError) return false;
    throw error;
  }
}

function noSuchModel(name: string): UsageError {
  const names = new ModelStore().list().map((model) => model.name);
  return new UsageError("there is no such model", {
    expected: `a path, OWNER/NAME at the Hugging Face hub${names.length > 0 ? `, or one of ${names.join(", ")}` : ""}`,
    got: JSON.stringify(name),
    hint: "check the path; fidelity ls shows what was pulled",
  });
}

/** Native code where the first compilation is soon made up for. */
function targetFor(info: ModelInfo): Target {
  return memoryFit(info, "wasm").parameterBytes >= NATIVE_FROM_BYTES ? bestTarget() : "wasm";
}

/** The template that is asked for by name, or the model's own. */
function templateFor(info: ModelInfo, name: string | undefined): NonNullable<ChatStart["template"]> {
  if (name === undefined) return chatTemplateOf(info) ?? "plain";
  return name === "plain" ? name : ChatTemplate.named(name);
}

function factsOf(info: ModelInfo, template: ChatStart["template"], target: Target): string[] {
  const { parameterBytes } = memoryFit(info, target);
  return [
    `architecture: ${info.model.architecture}, ${info.format}, ${formatSize(info.fileSizeBytes)} on disk`,
    `weights in memory: ${formatSize(parameterBytes)}`,
    template === "plain" ? "chat template: none; the model continues the text" : "chat template: yes",
  ];
}

async function askOnce(
  model: string,
  prompt: string,
  conversation: Chat,
  { json, wrap }: RunOptions,
  sampling: SamplerOptions,
): Promise<number> {
  const output = createOutput(json === true);
  using interrupt = new Interrupt();
  const answer = await answerTo(prompt, conversation, interrupt.signal, json === true ? undefined : textWriter(wrap));
  remark(summary(answer));
  output.result({ model, prompt, ...answer, tokens: answer.tokens.length, sampling });
  return answer.endedBy === "interrupt" ? interrupt.exitCode : EXIT_OK;
}

/** Writes text as it comes; undefined ends it. */
type TextWriter = (piece: string | undefined) => Promise<void>;

async function answerTo(
  question: string,
  conversation: Chat,
  signal: AbortSignal,
  show: TextWriter = () => Promise.resolve(),
): Promise<GenerationResult> {
  const answer = conversation.send(question, { signal });
  for await (const piece of answer) await show(piece);
  await show(undefined);
  return answer.result();
}

/** Writes to standard output, wrapped where that is a terminal. */
function textWriter(wrap: boolean): TextWriter {
  const isTerminal = process.stdout.isTTY;
  const wrapped = new WordWrap(wrap && isTerminal ? process.stdout.columns : Infinity);
  return (piece) => writeText(piece === undefined ? `${wrapped.end()}\n` : wrapped.push(piece));
}

async function converse(conversation: Chat, subject: ChatSubject, wrap: boolean): Promise<number> {
  const history = new ChatHistory();
  remark(`${subject.name}. /help tells the commands, /bye leaves.`);
  try {
    for (;;) {
      const message = await askMessage(history);
      if (message === undefined) return EXIT_OK;
      if (message.trim() === "") continue;
      try {
        if (/^\/[a-z?]/i.test(message)) {
          const shown = runChatCommand(message, conversation, subject);
          if (shown === undefined) return EXIT_OK;
          remark(shown);
        } else await answerInTerminal(message, conversation, wrap);
      } catch (error) {
        if (!(error instanceof FidelityError)) throw error;
        remark(error.message); // the chat goes on
      }
    }
  } finally {
    history.save();
  }
}

async function answerInTerminal(message: string, conversation: Chat, wrap: boolean): Promise<void> {
  using interrupt = new Interrupt();
  const forgotten = conversation.turnsToForget(message);
  if (forgotten > 0) remark(`[the context is full: the oldest ${plural(forgotten, "turn")} forgotten]`);
  const answer = await answerTo(message, conversation, interrupt.signal, textWriter(wrap));
  remark(`${summary(answer)}\n`);
}

/** `[12 tokens, the first after 0.2 s, 35.1 tokens/s, read 20 tokens and kept 300]` */
function summary({ usage, timings, endedBy }: GenerationResult): string {
  const { promptTokens, cachedTokens, completionTokens: tokens } = usage;
  const { firstTokenSeconds, decodeTokensPerSecond } = timings;
  const speed = tokens > 1 ? `, ${formatRate(decodeTokensPerSecond)} tokens/s` : "";
  const after = firstTokenSeconds < 1 ? `${firstTokenSeconds.toFixed(2)} s` : formatDuration(firstTokenSeconds);
  const first = tokens > 0 ? `, the first after ${after}` : "";
  const read = `read ${formatCount(promptTokens - cachedTokens)}`;
  const kept = cachedTokens > 0 ? ` and kept ${formatCount(cachedTokens)}` : "";
  const guesses = describeSpeculation(timings.speculation);
  const why = endedBy === "stop-token" || endedBy === "stop-string" ? "" : `, ended by ${endedBy}`;
  return `[${plural(tokens, "token")}${first}${speed}, ${read}${kept}${guesses}${why}]`;
}
