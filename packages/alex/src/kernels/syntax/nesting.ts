// A guard before the parser: how deep the tree of a text can be at most. A parser that descends into what nests uses
// the stack for it, and a stack that overflows in native code ends the process; so texts that could nest too deep are
// refused by a scan that needs no stack. The bound is generous: it counts everything that could nest.

import type { Problem } from "../diagnostics.ts";

const BRACKETS_MAX = 256;
/** Tokens that can nest, in all statements that are open at one place. The parser takes several times as many. */
const TOKENS_MAX = 1500;

/** Words that can stand in front of what they contain. */
const WORDS: ReadonlySet<string> = new Set([
  ...["new", "typeof", "void", "delete", "await", "yield", "keyof", "infer", "unique", "readonly", "asserts"],
  ...["if", "else", "for", "while", "do", "with", "extends", "as", "satisfies", "in", "of", "instanceof", "is"],
]);

/** Comments and strings, numbers with their sign, words, or one character. */
const TOKEN = new RegExp(
  [
    String.raw`\/\/[^\n]*`,
    String.raw`\/\*[^]*?(?:\*\/|$)`,
    String.raw`"(?:[^"\\\n]|\\[^])*"?`,
    String.raw`'(?:[^'\\\n]|\\[^])*'?`,
    String.raw`-?\d[\w.]*`,
    String.raw`[\p{L}$_][\p{L}\p{N}$_]*`,
    String.raw`\S`,
  ].join("|"),
  "gu",
);

/** A problem where a text may nest too deep for a parser. */
export function nestingProblem(text: string): Problem | undefined {
  // Tokens of the open statement at each depth of brackets, and their sum.
  const open = [0];
  let sum = 0;
  let ended = false;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const first = token[0]!;
    const isComment = token.startsWith("//") || token.startsWith("/*");
    if (isComment || first === '"' || first === "'" || first === "," || first === ".") continue;
    // `;` and `}` end a statement, unless it goes on with else or while.
    if (ended && token !== "else" && token !== "while") {
      sum -= open.at(-1)!;
      open[open.length - 1] = 0;
    }
    ended = first === ";";
    if (first === "(" || first === "[" || first === "{") open.push(0);
    if (first === ")" || first === "]" || first === "}") {
      if (open.length > 1) sum -= open.pop()!;
      ended = first === "}";
    }
    const isWord = /[\p{L}\p{N}$_]/u.test(first) || token.length > 1;
    if (isWord && !WORDS.has(token)) continue;
    open[open.length - 1]!++;
    sum++;
    if (open.length <= BRACKETS_MAX && sum <= TOKENS_MAX) continue;
    return {
      code: "FK020",
      span: { start: index, end: index + token.length },
      message: "the text nests too deep for a parser",
      hint: "give parts of it names, or move kernels to a file of their own",
    };
  }
  return undefined;
}
