// The terminal's side of a chat: lines that are edited, with a history that is kept, messages of several lines between
// """, and Ctrl-C, which stops an answer and leaves the chat only when it comes twice at the prompt.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { createInterface } from "node:readline";
import { makeFolder, writeFileAtomic } from "@fidelity/barewire/node";
import { FidelityError } from "@fidelity/units";
import { remark } from "../output.ts";

const HISTORY_LINES_MAX = 1000;

/** What people typed before, the newest first, as readline wants it. */
export class ChatHistory {
  readonly #path: string;
  lines: string[];

  /** @param path of the file that keeps it */
  constructor(path = historyPath()) {
    this.#path = path;
    this.lines = read(path);
  }

  add(line: string): void {
    if (line.trim() === "" || line === this.lines[0]) return;
    this.lines = [line, ...this.lines].slice(0, HISTORY_LINES_MAX);
  }

  /** Keeps it. A place that cannot be written to loses the history and nothing else. */
  save(): void {
    try {
      makeFolder(dirname(this.#path), 0o700);
      writeFileAtomic(this.#path, [new TextEncoder().encode(this.lines.toReversed().join("\n"))]);
    } catch (error) {
      if (!(error instanceof FidelityError)) remark(`the history is not kept: ${String(error)}`);
      else remark(`the history is not kept: ${error.summary}`);
    }
  }
}

function read(path: string): string[] {
  try {
    const lines = readFileSync(path, "utf8").split("\n");
    return lines.filter((line) => line !== "").toReversed();
  } catch {
    return []; // the first chat
  }
}

function historyPath(environment: NodeJS.ProcessEnv = process.env): string {
  const state = environment.XDG_STATE_HOME;
  const base = state !== undefined && isAbsolute(state) ? state : join(homedir(), ".local", "state");
  return join(base, "fidelity", "chat-history");
}

/** A line that was typed, or why there is none. */
type Typed = { readonly line: string } | "interrupted" | "ended";

/** Asks for one line. The terminal is the process's own again afterwards, so that Ctrl-C is a signal. */
function askLine(prompt: string, history: readonly string[]): Promise<Typed> {
  const { promise, resolve } = Promise.withResolvers<Typed>();
  const lines = createInterface({
    input: process.stdin,
    output: process.stderr,
    prompt,
    history: [...history],
    historySize: HISTORY_LINES_MAX,
    terminal: true,
  });
  const finish = (typed: Typed): void => {
    resolve(typed);
    lines.close();
  };
  lines.on("line", (line) => finish({ line }));
  lines.on("SIGINT", () => finish("interrupted"));
  lines.on("close", () => finish("ended"));
  lines.prompt();
  return promise;
}

/** Asks a question that is answered with yes (the default) or no. */
export async function confirm(question: string): Promise<boolean> {
  const typed = await askLine(`${question} [Y/n] `, []);
  return typeof typed === "object" && /^(y|yes|)$/i.test(typed.line.trim());
}

/** The next message; undefined when the chat is over. Lines between """ are one message. */
export async function askMessage(history: ChatHistory): Promise<string | undefined> {
  let wasInterrupted = false;
  let collected: string[] | undefined;
  for (;;) {
    const typed = await askLine(collected === undefined ? ">>> " : "... ", history.lines);
    if (typed === "ended" || (typed === "interrupted" && wasInterrupted)) return undefined;
    wasInterrupted = typed === "interrupted";
    if (typed === "interrupted") {
      collected = undefined;
      remark("\n(Ctrl-C once more, Ctrl-D or /bye leaves)");
      continue;
    }
    history.add(typed.line);
    collected = collectLine(collected, typed.line);
    const message = collected === undefined ? typed.line : wholeMessage(collected);
    if (message !== undefined) return message;
  }
}

const FENCE = '"""';

function collectLine(collected: string[] | undefined, line: string): string[] | undefined {
  if (collected !== undefined) return [...collected, line];
  return line.trimStart().startsWith(FENCE) ? [line.trimStart().slice(FENCE.length)] : undefined;
}

/** The message between """; undefined until the second one has come. */
export function wholeMessage(lines: readonly string[]): string | undefined {
  const text = lines.join("\n");
  return text.trimEnd().endsWith(FENCE) ? text.trimEnd().slice(0, -FENCE.length).trim() : undefined;
}
