// The commands of a chat, as users of ollama know them.

import { readFileSync } from "node:fs";
import { toFileError, writeFileAtomic } from "@fidelity/barewire/node";
import { samplerOptions } from "@fidelity/models";
import type { ChatMessage, SamplerOptions } from "@fidelity/models";
import type { Chat } from "@fidelity/run";
import { FidelityError } from "@fidelity/units";
import { plural } from "../table.ts";

/** A chat's command is not known, or not so. */
export class ChatCommandError extends FidelityError {}

export const CHAT_HELP = `  /clear               forget the conversation, keep the system prompt
  /system [TEXT]       set the system prompt, or remove it
  /set NAME VALUE      set temperature, top_k, top_p, min_p, repetition_penalty or seed
  /show                show the model, the settings and how full the context is
  /save FILE           write the conversation to a file
  /load FILE           go on with a conversation from a file
  /help                this text
  /bye                 leave (Ctrl-D does so too)

  """                  begins and ends a message of several lines
  Ctrl-C               stops the answer; at the prompt, twice leaves`;

const SETTINGS: Readonly<Record<string, Exclude<keyof SamplerOptions, "logitBias">>> = {
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  repetition_penalty: "repetitionPenalty",
  repeat_penalty: "repetitionPenalty",
  seed: "seed",
};

/** What `/show` says of the model. */
export interface ChatSubject {
  readonly name: string;
  readonly facts: readonly string[];
}

/** Runs one command and gives what to show; undefined ends the chat. Throws `FidelityError`. */
export function runChatCommand(line: string, conversation: Chat, subject: ChatSubject): string | undefined {
  const [, name, rest] = /^\/(\S*)\s*(.*)$/s.exec(line)!;
  if (name === "bye" || name === "exit" || name === "quit") return undefined;
  if (name === "help" || name === "?") return CHAT_HELP;
  if (name === "clear") {
    conversation.messages = [];
    return "the conversation is forgotten";
  }
  if (name === "system") return setSystem(conversation, rest);
  if (name === "set") return set(conversation, rest);
  if (name === "show") return show(conversation, subject);
  if (name === "save") return save(conversation, subject, rest);
  if (name === "load") return load(conversation, rest);
  throw new ChatCommandError(`there is no command /${name}`, { hint: "/help shows them" });
}

function setSystem(conversation: Chat, text: string): string {
  conversation.system = text === "" ? undefined : text;
  return text === "" ? "there is no system prompt now" : "the system prompt is set";
}

function set(conversation: Chat, rest: string): string {
  const [name, ...values] = rest.replace(/^parameter\s+/, "").split(/\s+/);
  if (name === "system") return setSystem(conversation, rest.slice(rest.indexOf("system") + 6).trim());
  const value = Number(values[0]);
  const option = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
  if (option === undefined || values.length !== 1 || !Number.isFinite(value)) {
    const names = Object.keys(SETTINGS).join(", ");
    throw new ChatCommandError("nothing was set", { expected: `/set NAME VALUE, NAME one of ${names}`, got: rest });
  }
  samplerOptions({ ...conversation.options, [option]: value }); // refuses what cannot be
  conversation.options = { ...conversation.options, [option]: value };
  return `${name} is ${value}`;
}

function show(conversation: Chat, { name, facts }: ChatSubject): string {
  const { limit, tokenCount, options, system, messages } = conversation;
  const context = Number.isFinite(limit) ? `${tokenCount} of ${limit} tokens` : `${tokenCount} tokens, without limit`;
  const settings = Object.entries(SETTINGS)
    .filter(([setting]) => setting !== "repeat_penalty")
    .map(([setting, option]) => `${setting} ${String(options[option])}`);
  return [
    name,
    ...facts,
    `context: ${context}, ${plural(messages.filter(({ role }) => role === "user").length, "turn")}`,
    `settings: ${settings.join(", ")}`,
    `system prompt: ${system ?? "none"}`,
  ].join("\n");
}

function save(conversation: Chat, { name }: ChatSubject, path: string): string {
  if (path === "") throw new ChatCommandError("where to?", { expected: "/save FILE" });
  const { system, messages } = conversation;
  const text = JSON.stringify({ model: name, system: system ?? null, messages }, null, 2);
  writeFileAtomic(path, [new TextEncoder().encode(`${text}\n`)]);
  return `saved to ${path}`;
}

function load(conversation: Chat, path: string): string {
  if (path === "") throw new ChatCommandError("from where?", { expected: "/load FILE" });
  const { system, messages } = readConversation(path);
  conversation.system = system;
  conversation.messages = messages;
  return `${plural(messages.length, "message")} loaded`;
}

/** What `/save` wrote. Throws `FileError`, and `ChatCommandError` for something else. */
export function readConversation(path: string): { system: string | undefined; messages: ChatMessage[] } {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof SyntaxError) throw notConversation(path);
    throw toFileError(error, "read", path);
  }
  if (typeof value !== "object" || value === null || !("messages" in value)) throw notConversation(path);
  const system = "system" in value && typeof value.system === "string" ? value.system : undefined;
  const list: readonly unknown[] = Array.isArray(value.messages) ? value.messages : [undefined];
  const messages = list.map((message): ChatMessage => {
    if (typeof message !== "object" || message === null || !("role" in message) || !("content" in message)) {
      throw notConversation(path);
    }
    const { role, content } = message;
    if (typeof role !== "string" || typeof content !== "string") throw notConversation(path);
    return { role, content };
  });
  return { system, messages };
}

const notConversation = (path: string): ChatCommandError =>
  new ChatCommandError("this is not a saved conversation", { where: path, expected: "a file that /save wrote" });
