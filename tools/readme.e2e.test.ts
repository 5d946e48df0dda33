// The TypeScript blocks of every README and of docs/ are run as they stand, each in a folder of its own with a small
// text in it. A block that is only a fragment says so behind its fence: ```ts fragment. One that shows a program of the
// repository names it there, and must be its text: ```ts packages/barewire/examples/view.ts. Such programs are run by
// the tests of their room.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

const ROOT = resolve(import.meta.dirname, "..");

interface CodeBlock {
  readonly file: string;
  /** The program that the block shows. */
  readonly shown?: string;
  /** Line of the fence, counted from 1. */
  readonly line: number;
  readonly code: string;
}

function blocksOf(file: string): CodeBlock[] {
  const lines = readFileSync(join(ROOT, file), "utf8").split("\n");
  return lines.flatMap((text, i): CodeBlock[] => {
    const fence = /^```ts(?: (\S+\.ts))?$/.exec(text);
    if (fence === null) return [];
    const end = lines.indexOf("```", i);
    return [{ file, line: i + 1, code: lines.slice(i + 1, end).join("\n"), shown: fence[1] }];
  });
}

function run({ code }: CodeBlock): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), "fidelity-readme-"));
  try {
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    mkdirSync(join(folder, "texts"));
    writeFileSync(join(folder, "texts", "example.txt"), "The quick brown fox jumps over the lazy dog.\n".repeat(200));
    writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
    writeFileSync(join(folder, "example.ts"), code);
    const { status, stdout, stderr } = spawnSync(process.execPath, ["example.ts"], { cwd: folder, encoding: "utf8" });
    return { status, output: `${stdout}${stderr}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const file of globSync(["README.md", "docs/**/*.md", "bench/README.md", "packages/*/README.md"], {
  cwd: ROOT,
}).sort()) {
  for (const block of blocksOf(file)) {
    const { shown } = block;
    if (shown !== undefined) {
      test(`${block.file}:${block.line} is ${shown}`, () => {
        assert.equal(`${block.code}\n`, readFileSync(join(ROOT, shown), "utf8"));
      });
      continue;
    }
    test(`${block.file}:${block.line} runs`, () => {
      const { status, output } = run(block);
      assert.equal(status, 0, output);
    });
  }
}
