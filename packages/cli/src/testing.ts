// What the command's tests share: the real command in a child process, folders that vanish, and tiny models to feed it.

import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeLlama2c } from "@fidelity/formats";
import { writeVocabularyFile } from "@fidelity/models";

export const LAUNCHER = fileURLToPath(new URL("../bin/fidelity.js", import.meta.url));

/** A command that hangs must not outlive its test; none comes near this. */
const CHILD_MS_MAX = 120_000;

/** How a command ended, and all that it said. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that is running. */
export interface Running {
  readonly child: ChildProcess;
  /** Resolves once standard output or error has shown the text; rejects when the command ends without it. */
  shows(text: string): Promise<void>;
  readonly ended: Promise<Ended>;
}

/** Starts a program and collects what it says. */
export function start(program: string, args: readonly string[], options: SpawnOptions = {}, input = ""): Running {
  const child = spawn(program, args, { ...options, stdio: "pipe", timeout: CHILD_MS_MAX, killSignal: "SIGKILL" });
  const said = { stdout: "", stderr: "" };
  const listeners = new Set<() => void>();
  for (const name of ["stdout", "stderr"] as const) {
    child[name]!.setEncoding("utf8").on("data", (piece: string) => {
      said[name] += piece;
      for (const listener of listeners) listener();
    });
  }
  child.stdin!.on("error", () => undefined).end(input); // a command that reads nothing closes the pipe
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...said }));
  });
  const shows = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (said.stdout.includes(text) || said.stderr.includes(text)) resolve();
      };
      listeners.add(check);
      check();
      ended.then(() => reject(new Error(`ended before "${text}":\n${said.stdout}\n${said.stderr}`)), reject);
    });
  return { child, shows, ended };
}

/** Starts the command. */
export function startFidelity(args: readonly string[], options?: SpawnOptions, input?: string): Running {
  return start(process.execPath, [LAUNCHER, ...args], options, input);
}

/** Runs the command to its end. */
export function fidelity(...args: readonly string[]): Promise<Ended> {
  return startFidelity(args).ended;
}

/** A folder in which tests may do as they like. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "fidelity-cli-"));

  /** A path in the folder. */
  at(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** Writes a file and gives its path. */
  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.at(name), content);
    return this.at(name);
  }

  /** A copy of a folder or file under another name. */
  copy(from: string, name: string): string {
    cpSync(from, this.at(name), { recursive: true });
    return this.at(name);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** English of sorts: enough of it for a split into training and validation. */
export const SMALL_TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\n".repeat(20);

/** Options of a run that takes a moment: a model of one narrow layer. */
export const TINY = ["--layers", "1", "--width", "16", "--context", "8", "--batch", "2", "--threads", "1"] as const;

/** A llama2.c model whose vocabulary is the bytes, and its tokenizer, both in the scratch folder. */
export function writeTinyLlama2c(scratch: Scratch): { model: string; tokenizer: string } {
  const pieces = [
    { text: "<unk>", score: 0 },
    { text: "\n<s>\n", score: 0 },
    { text: "\n</s>\n", score: 0 },
    ...Array.from({ length: 256 }, (_, byte) => ({
      text: `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
      score: 0,
    })),
    ...Array.from(" abcdefghijklmnopqrstuvwxyz", (text, rank) => ({ text, score: -rank })),
  ].map(({ text, score }) => ({ bytes: new TextEncoder().encode(text), score }));
  const header = {
    dim: 8,
    hiddenDim: 12,
    layerCount: 2,
    headCount: 4,
    keyValueHeadCount: 2,
    vocabSize: pieces.length,
    contextLength: 24,
    tiedEmbeddings: true,
  };
  // Any weights will do; a linear congruence (Lehmer) keeps them the same everywhere.
  let state = 1;
  const next = (): number => {
    state = (state * 48271) % 0x7fffffff;
    return state / 0x7fffffff - 0.5;
  };
  const keyValueDim = (header.dim / header.headCount) * header.keyValueHeadCount;
  const elements = (name: string): number => {
    if (name.startsWith("embedding")) return header.vocabSize * header.dim;
    if (name.includes("Norm")) return header.dim;
    if (/\.(key|value)\./.test(name)) return keyValueDim * header.dim;
    return (name.includes("feedForward") ? header.hiddenDim : header.dim) * header.dim;
  };
  const bytes = writeLlama2c(header, (name) => Float32Array.from({ length: elements(name) }, next));
  return {
    model: scratch.write("tiny.bin", bytes),
    tokenizer: scratch.write(`tok${pieces.length}.bin`, writeVocabularyFile(pieces)),
  };
}
