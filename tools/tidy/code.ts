// Rules about the code itself: sizes of files and functions, calls that make a run irreproducible or unsafe, marks of
// unfinished work, escapes from the type system, and the comment that opens a file.

import { countLines, isNode, lineAt, walk } from "./repo.ts";
import type { Finding, Repo, SourceFile, SyntaxNode } from "./repo.ts";

export const FILE_LINES_MAX = 800;
export const FILE_LINES_P90_MAX = 500;
export const FUNCTION_LINES_MAX = 70;
export const COLUMNS_MAX = 120;

// A call that is banned, and the files that may make it because that is their subject.
interface Ban {
  readonly call: string;
  readonly except: RegExp;
  readonly advice: string;
}

// Those who wait spin for a time before they sleep, a compiler says how long its tools and kernels take, and whoever
// generates says how fast; nothing that they compute depends on the clock.
const CLOCK_READERS =
  "cli|train|run|alex/src/(explain|runtime|targets/(cuda|native)|tune)|barewire/src/channel|[^/]+/examples";
const CLOCK_EXCEPT = new RegExp(`^(packages/(${CLOCK_READERS})/|bench/|tools/)`);
const CLOCK_ADVICE =
  "only cli, train, run, bench, tools, examples, barewire/channel and alex/{explain,runtime,targets/{cuda,native}," +
  "tune} read a clock";
const NOWHERE = /^$/;

export const BANS: readonly Ban[] = [
  { call: "eval", except: NOWHERE, advice: "write the code, or build a table of functions" },
  { call: "Function", except: NOWHERE, advice: "write the code, or build a table of functions" },
  { call: "Math.random", except: NOWHERE, advice: "take a seeded generator as an argument" },
  { call: "Date", except: CLOCK_EXCEPT, advice: CLOCK_ADVICE },
  { call: "Date.now", except: CLOCK_EXCEPT, advice: CLOCK_ADVICE },
  { call: "performance.now", except: CLOCK_EXCEPT, advice: CLOCK_ADVICE },
  { call: "process.hrtime.bigint", except: CLOCK_EXCEPT, advice: CLOCK_ADVICE },
  {
    call: "process.exit",
    except: /^(packages\/cli\/|bench\/|tools\/)/,
    advice: "throw a FidelityError; only the command decides to end the process",
  },
  { call: "test.only", except: NOWHERE, advice: "remove .only; it silences the other tests" },
  { call: "it.only", except: NOWHERE, advice: "remove .only; it silences the other tests" },
  { call: "describe.only", except: NOWHERE, advice: "remove .only; it silences the other tests" },
];

/** Calls and constructions that BANS lists. `new Date(value)` reads no clock and is fine. */
export function bannedCalls(repo: Repo): Finding[] {
  const findings: Finding[] = [];
  for (const file of repo.sources) {
    walk(file.program, (node) => {
      if (node.type !== "CallExpression" && node.type !== "NewExpression") return;
      const call = dottedName(node.callee);
      if (call === "Date" && Array.isArray(node.arguments) && node.arguments.length > 0) return;
      const ban = BANS.find((candidate) => candidate.call === call && !candidate.except.test(file.path));
      if (ban !== undefined) findings.push(at(file, node.start, "banned-call", `calls ${call}`, ban.advice));
    });
  }
  return findings;
}

function dottedName(node: unknown): string {
  if (!isNode(node)) return "";
  if (node.type === "Identifier") return String(node.name);
  if (node.type !== "MemberExpression" || node.computed === true) return "";
  return `${dottedName(node.object)}.${dottedName(node.property)}`;
}

/** Files of more than 800 lines, and a ninetieth percentile of more than 500 among those that are no tests. */
export function fileSizes(repo: Repo): Finding[] {
  const findings: Finding[] = [];
  const sized = repo.sources.map((file) => ({ file, lines: countLines(file.text) }));
  for (const { file, lines } of sized) {
    if (lines <= FILE_LINES_MAX) continue;
    findings.push(at(file, 0, "file-size", `${lines} lines, at most ${FILE_LINES_MAX}`, "split it by subject"));
  }
  const code = sized.filter(({ file }) => !file.isTest).sort((a, b) => a.lines - b.lines);
  const ninetieth = code[Math.ceil(code.length * 0.9) - 1];
  if (ninetieth !== undefined && ninetieth.lines > FILE_LINES_P90_MAX) {
    const message = `a tenth of all files has ${ninetieth.lines} lines or more, at most ${FILE_LINES_P90_MAX}`;
    findings.push(at(ninetieth.file, 0, "file-size", message, "split the longest files by subject"));
  }
  return findings;
}

const FUNCTIONS = ["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"];

/**
 * Functions of more than 70 lines. Lines of functions nested inside count for those alone, so that a closure of many
 * small functions is judged by its own lines. Tests are data more than code and are left out.
 */
export function functionSizes(repo: Repo): Finding[] {
  const findings: Finding[] = [];
  for (const file of repo.sources.filter((candidate) => !candidate.isTest)) {
    const own = new Map<SyntaxNode, number>();
    walk(file.program, (node, ancestors) => {
      if (!FUNCTIONS.includes(node.type)) return;
      const lines = lineAt(file.text, node.end) - lineAt(file.text, node.start);
      own.set(node, (own.get(node) ?? 0) + lines + 1);
      const outer = ancestors.findLast((ancestor) => FUNCTIONS.includes(ancestor.type));
      if (outer !== undefined) own.set(outer, (own.get(outer) ?? 0) - lines);
    });
    for (const [node, lines] of own) {
      if (lines <= FUNCTION_LINES_MAX) continue;
      const name = isNode(node.id) ? String(node.id.name) : "a function";
      const message = `${name} has ${lines} lines, at most ${FUNCTION_LINES_MAX}`;
      findings.push(at(file, node.start, "function-size", message, "name its parts and call them"));
    }
  }
  return findings;
}

// Spelled with a character class, so that this file does not find itself.
const MARKS = /\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b/;
const ESCAPES = /@ts-(ignor[e]|nochec[k])|\bas an[y]\b/;

/** Marks of unfinished work and escapes from the type system. */
export function marks(repo: Repo): Finding[] {
  return eachLine(repo.sources, (line) => {
    const mark = MARKS.exec(line);
    if (mark !== null) return ["mark", `${mark[0]} in the code`, "do it now, or say plainly what is left out and why"];
    const escape = ESCAPES.exec(line);
    if (escape !== null) return ["type-escape", escape[0], "give it its real type; @ts-expect-error is for type tests"];
    return undefined;
  });
}

/** Lines of more than 120 columns, where no formatter can break them. Tests may hold longer goldens. */
export function lineLengths(repo: Repo): Finding[] {
  const code = repo.sources.filter((file) => !file.isTest);
  return eachLine(code, (line) => {
    if (line.length <= COLUMNS_MAX || line.includes("https://")) return undefined;
    return ["line-length", `${line.length} columns, at most ${COLUMNS_MAX}`, "break the comment or the string"];
  });
}

/** A file opens with a comment: what it is, where the idea comes from, what it leaves out. */
export function headers(repo: Repo): Finding[] {
  return repo.sources
    .filter((file) => !file.isTest && !/^(#!.*\n)?\s*\/[/*]/.test(file.text))
    .map((file) => at(file, 0, "header", "opens without a comment", "say what the file is and what it leaves out"));
}

function eachLine(
  files: readonly SourceFile[],
  check: (line: string) => [rule: string, message: string, advice: string] | undefined,
): Finding[] {
  const findings: Finding[] = [];
  for (const { path, text } of files) {
    for (const [index, line] of text.split("\n").entries()) {
      const found = check(line);
      if (found === undefined) continue;
      findings.push({ rule: found[0], path, line: index + 1, message: found[1], advice: found[2] });
    }
  }
  return findings;
}

function at(file: SourceFile, offset: number, rule: string, message: string, advice: string): Finding {
  return { rule, path: file.path, line: lineAt(file.text, offset), message, advice };
}
