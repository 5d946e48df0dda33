// Chat templates: a conversation as the one text that a model was trained to continue. Model files bring them as
// programs in Jinja (Hugging Face's chat templates: the variables `messages`, `tools`, `add_generation_prompt`,
// `bos_token` and `eos_token`, the functions `raise_exception` and `strftime_now`). @huggingface/jinja runs them; what
// a program from anyone may take is bounded (bounded-interpreter.ts): steps in proportion to the conversation, and
// memory.
//
// A rendered text holds special tokens written out, so it is encoded with `{ specials: true }` and without `addBos`.
// Texts of the conversation may then write them out as well, as with every library that renders before it encodes.

import { nearestName } from "../nearest.ts";
import { BoundedInterpreter, guardTree, limitsFor } from "./bounded-interpreter.ts";
import { CHAT_TEMPLATES } from "./chat-templates.ts";
import type { ChatTemplateName } from "./chat-templates.ts";
import { ChatTemplateError } from "./errors.ts";
import { Environment, parse, tokenize } from "./jinja.ts";
import type { JinjaNode, JinjaToken } from "./jinja.ts";
import { markLines } from "./template-lines.ts";

/** One turn. Templates may use more than these two, such as `tool_calls` or `reasoning_content`. */
export interface ChatMessage {
  /** "system", "user", "assistant", "tool", or what else the template knows. */
  readonly role: string;
  /** A text, or parts of other kinds if the template takes them. */
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

export interface ChatOptions {
  /** Ends the text where the answer is to begin. Default: true. */
  readonly addGenerationPrompt?: boolean;
  /** Descriptions of functions that the model may call, as its template wants them. */
  readonly tools?: readonly unknown[];
  readonly documents?: readonly unknown[];
  /** The texts of the tokens, as `tokenizer.tokenText` gives them. Default: empty. */
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** Further variables, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** What `strftime_now` tells the template. Without it there is no such function, and most templates name no date. */
  readonly now?: Date;
}

/** What a template and a conversation may be: the longest published templates have some 30,000 characters. */
export const CHAT_LIMITS = { templateLength: 1 << 17, spaces: 1 << 10, conversationLength: 1 << 26 } as const;

/** The template whose name files give to their only or main one. */
const MAIN = "default";

export class ChatTemplate {
  readonly source: string;
  readonly #program: JinjaNode;

  /** Throws `ChatTemplateError` with the line for a template that cannot be read. */
  constructor(source: string) {
    if (source.length > CHAT_LIMITS.templateLength) {
      throw new ChatTemplateError("the chat template is too long", {
        expected: `at most ${CHAT_LIMITS.templateLength} characters`,
        got: String(source.length),
      });
    }
    this.source = source;
    this.#program = parseTemplate(source);
  }

  /** The template of a format by its name. Throws `ChatTemplateError` with the nearest name. */
  static named(name: string): ChatTemplate {
    if (Object.hasOwn(CHAT_TEMPLATES, name)) return new ChatTemplate(CHAT_TEMPLATES[name as ChatTemplateName]);
    const names = Object.keys(CHAT_TEMPLATES);
    throw new ChatTemplateError("there is no chat template of this name", {
      expected: names.join(", "),
      got: JSON.stringify(name.slice(0, 80)),
      hint: `did you mean ${nearestName(name, names)}?`,
    });
  }

  /**
   * The template that a GGUF file brings; undefined where it has none.
   * @param lookup the value of a key of the file's metadata
   * @param name of one of several templates, such as "tool_use"
   */
  static fromGguf(lookup: (key: string) => unknown, name = MAIN): ChatTemplate | undefined {
    const value = lookup(name === MAIN ? "tokenizer.chat_template" : `tokenizer.chat_template.${name}`);
    return typeof value === "string" ? new ChatTemplate(value) : undefined;
  }

  /**
   * The template of tokenizer_config.json, a text or a list of named ones, or of a file chat_template.jinja beside it;
   * undefined where there is none.
   */
  static fromHuggingFace(
    files: { readonly config?: unknown; readonly jinja?: string },
    name = MAIN,
  ): ChatTemplate | undefined {
    if (files.jinja !== undefined && name === MAIN) return new ChatTemplate(files.jinja);
    const { config } = files;
    const value = typeof config === "object" && config !== null && "chat_template" in config && config.chat_template;
    if (typeof value === "string") return name === MAIN ? new ChatTemplate(value) : undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [];
    for (const entry of list) {
      if (typeof entry !== "object" || entry === null || !("name" in entry) || !("template" in entry)) continue;
      if (entry.name === name && typeof entry.template === "string") return new ChatTemplate(entry.template);
    }
    return undefined;
  }

  /**
   * The text of a conversation.
   * Throws `ChatTemplateError` when the template refuses it, fails, or takes more than its share of steps or memory.
   */
  render(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    const variables: Readonly<Record<string, unknown>> = {
      messages,
      tools: options.tools ?? null,
      documents: options.documents ?? null,
      add_generation_prompt: options.addGenerationPrompt ?? true,
      bos_token: options.bosToken ?? "",
      eos_token: options.eosToken ?? "",
      ...options.variables,
    };
    const characters = conversationLength(variables);
    const environment = new Environment();
    const interpreter = new BoundedInterpreter(environment, limitsFor(characters));
    for (const [name, value] of Object.entries(globals(interpreter, options.now))) environment.set(name, value);
    try {
      for (const [name, value] of Object.entries(variables)) environment.set(name, value);
      const { value } = interpreter.run(this.#program);
      return String(value);
    } catch (error) {
      throw this.#failure(error, interpreter.line);
    }
  }

  #failure(error: unknown, line: number): ChatTemplateError {
    const where = line > 0 ? `line ${line} of the chat template` : "the chat template";
    const code = this.source.split("\n")[line - 1]?.trim().slice(0, 120);
    if (error instanceof ChatTemplateError) {
      return new ChatTemplateError(error.summary, { ...error.details, where });
    }
    if (error instanceof Refusal) {
      return new ChatTemplateError(`the chat template refuses the conversation: ${error.message.slice(0, 500)}`, {
        where,
      });
    }
    const reason = error instanceof Error ? error.message : String(error);
    const isDeep = error instanceof RangeError;
    return new ChatTemplateError("the chat template fails", {
      where: code === undefined ? where : `${where}: ${code}`,
      expected: "a template for messages of these roles and fields",
      got: isDeep ? "values or calls nested too deeply, or a text that is too long" : reason.slice(0, 500),
      hint: "choose another template by name, or look at what the model's page says about its messages",
      cause: error,
    });
  }
}

/** What a template's `raise_exception` throws. */
class Refusal extends Error {}

/** What every template may use. */
function globals(interpreter: BoundedInterpreter, now: Date | undefined): Readonly<Record<string, unknown>> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception: (message: unknown) => {
      throw new Refusal(String(message));
    },
    range: (...bounds: readonly unknown[]) =>
      range(
        interpreter,
        bounds.filter((bound) => typeof bound === "number"),
      ),
    ...(now !== undefined && { strftime_now: (format: unknown) => formatTime(now, String(format)) }),
  };
}

/** Python's `range`, with as many numbers as the template's limits allow. */
function range(interpreter: BoundedInterpreter, bounds: readonly number[]): number[] {
  const [start, stop, step = 1] = bounds.length === 1 ? [0, bounds[0]] : bounds;
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!Number.isFinite(count)) throw new Error("range() needs finite numbers and a step that is not zero");
  interpreter.allowList(count);
  return Array.from({ length: count }, (_, index) => start + step * index);
}

const MONTHS = "January February March April May June July August September October November December".split(" ");

/** Python's `strftime`, as far as templates use it, in English whatever the machine's language. */
function formatTime(now: Date, format: string): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const parts: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    B: MONTHS[now.getMonth()],
    b: MONTHS[now.getMonth()].slice(0, 3),
    H: two(now.getHours()),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    "%": "%",
  };
  return format.replace(/%([YmdBbHMS%])/g, (_, letter: string) => parts[letter]);
}

/** Characters of all texts of the conversation. Throws `ChatTemplateError` for more than can be meant. */
function conversationLength(variables: Readonly<Record<string, unknown>>): number {
  let text: string;
  try {
    text = JSON.stringify(variables);
  } catch (cause) {
    throw new ChatTemplateError("the messages are not plain values", { expected: "what JSON can hold", cause });
  }
  if (text.length <= CHAT_LIMITS.conversationLength) return text.length;
  throw new ChatTemplateError("the conversation is too long", {
    expected: `at most ${CHAT_LIMITS.conversationLength} characters`,
    got: String(text.length),
  });
}

function parseTemplate(source: string): JinjaNode {
  checkSpaces(source);
  const tokens = lex(source);
  const marked = markLines(tokens, source);
  let last = 0;
  // The parser has no places either, but takes tokens in order: the last that it looked at is where it stopped.
  const watched = new Proxy(marked.tokens, {
    get(target, key) {
      const index = typeof key === "string" ? Number(key) : NaN;
      if (index >= last && index < target.length) last = index;
      return Reflect.get(target, key) as unknown;
    },
  });
  try {
    const program = parse(watched);
    guardTree(program);
    return program;
  } catch (cause) {
    throw unreadable(source, marked.lines[last] ?? 0, cause);
  }
}

/** The engine's lexer takes time with the square of a run of white space. */
function checkSpaces(source: string): void {
  let run = 0;
  for (const character of source) {
    run = /\s/.test(character) ? run + 1 : 0;
    if (run <= CHAT_LIMITS.spaces) continue;
    throw new ChatTemplateError("the chat template has too much white space in one place", {
      expected: `at most ${CHAT_LIMITS.spaces} characters of it in a row`,
      got: "more",
    });
  }
}

function lex(source: string): JinjaToken[] {
  const options = { lstrip_blocks: true, trim_blocks: true };
  try {
    return tokenize(source, options);
  } catch (cause) {
    // The lines that can be read alone end where the trouble is.
    const lines = source.split("\n");
    let [good, bad] = [0, lines.length];
    while (bad - good > 1) {
      const middle = (good + bad) >> 1;
      try {
        tokenize(lines.slice(0, middle).join("\n"), options);
        good = middle;
      } catch {
        bad = middle;
      }
    }
    throw unreadable(source, bad, cause);
  }
}

function unreadable(source: string, line: number, cause: unknown): ChatTemplateError {
  const code = source.split("\n")[line - 1]?.trim().slice(0, 120);
  return new ChatTemplateError("the chat template cannot be read", {
    where: line > 0 ? `line ${line} of the chat template: ${code}` : "the chat template",
    expected: "Jinja as chat templates use it",
    got:
      cause instanceof RangeError ? "tags nested too deeply" : cause instanceof Error ? cause.message : String(cause),
    hint: "the file may be damaged; choose another template by name",
    cause,
  });
}
