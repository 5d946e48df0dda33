// Cutting a normalised text into words, each of which is spelled on its own (pre-tokenizers of huggingface/tokenizers).

import { toByteText } from "./byte-text.ts";
import { Pattern } from "./pattern.ts";
import type { SplitBehavior, WordStep } from "./pipeline-spec.ts";

/** The words of a text. `isStart` says whether the whole text begins here, so that no added token came before. */
export type WordSplitter = (text: string, isStart: boolean) => readonly string[];

/** All steps, each on every word of the one before. */
export function compileWordSplitter(steps: readonly WordStep[]): WordSplitter {
  const compiled = steps.map(compileStep);
  return (text, isStart) => {
    let words: readonly string[] = text === "" ? [] : [text];
    for (const step of compiled) {
      const cut: string[] = [];
      for (const word of words) step(word, isStart, cut);
      words = cut;
    }
    return words;
  };
}

/** Cuts a text before each run of "▁", but for those after one of `joiners`. */
export function cutAtSpaces(joiners: ReadonlySet<string>): WordSplitter {
  return (text) => {
    const words: string[] = [];
    let start = 0;
    for (let at = text.indexOf("▁", 1); at > 0; at = text.indexOf("▁", at + 1)) {
      if (text[at - 1] === "▁" || joiners.has(text[at - 1])) continue;
      words.push(text.slice(start, at));
      start = at;
    }
    if (start < text.length) words.push(text.slice(start));
    return words;
  };
}

type Step = (word: string, isStart: boolean, out: string[]) => void;

function compileStep(step: WordStep): Step {
  switch (step.type) {
    case "split": {
      const matches = step.literal ? literalMatches(step.pattern) : patternMatches(step.pattern);
      return (word, _isStart, out) => split(word, matches, step.behavior, step.invert, out);
    }
    case "prefix-space":
      return (word, _isStart, out) => out.push(word.startsWith(" ") ? word : ` ${word}`);
    case "bytes":
      return (word, _isStart, out) => out.push(toByteText(word));
    case "fixed-length":
      return (word, _isStart, out) => {
        const characters = Array.from(word);
        for (let at = 0; at < characters.length; at += step.length) {
          out.push(characters.slice(at, at + step.length).join(""));
        }
      };
    case "metaspace": {
      const { replacement } = step;
      const matches = literalMatches(replacement);
      return (word, isStart, out) => {
        let text = word.replaceAll(" ", () => replacement);
        const prepends = step.prepend === "always" || (step.prepend === "first" && isStart);
        if (prepends && !text.startsWith(replacement)) text = replacement + text;
        if (step.split) split(text, matches, "next", false, out);
        else out.push(text);
      };
    }
  }
}

type Matches = (text: string, found: (start: number, end: number) => void) => void;

function patternMatches(source: string): Matches {
  const pattern = new Pattern(source);
  return (text, found) => pattern.each(text, found);
}

function literalMatches(literal: string): Matches {
  return (text, found) => {
    if (literal === "") return;
    for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) {
      found(at, at + literal.length);
    }
  };
}

/** Cuts a text at the matches of a pattern; what lies between matches is a word too. `invert` swaps the two. */
function split(text: string, matches: Matches, behavior: SplitBehavior, invert: boolean, out: string[]): void {
  const first = out.length;
  let last = 0;
  let wasMatch = false;
  const pieces: [start: number, end: number][] = []; // for "next", which has to know what follows
  const add = (start: number, end: number, isMatch: boolean): void => {
    if (behavior === "next") pieces.push([start, isMatch ? -end : end]);
    else if (behavior !== "removed" || !isMatch) {
      const joins =
        (behavior === "previous" && isMatch && !wasMatch) || (behavior === "contiguous" && isMatch === wasMatch);
      if (joins && out.length > first) out[out.length - 1] += text.slice(start, end);
      else out.push(text.slice(start, end));
    }
    wasMatch = isMatch;
  };
  matches(text, (start, end) => {
    if (start > last) add(last, start, invert);
    add(start, end, !invert);
    last = end;
  });
  if (last < text.length) add(last, text.length, invert);
  if (behavior === "next") joinWithNext(text, pieces, out);
}

/** Joins each match (its end is negative) with the piece after it, unless that is a match as well. */
function joinWithNext(text: string, pieces: readonly [start: number, end: number][], out: string[]): void {
  for (let index = 0; index < pieces.length; index++) {
    const [start, end] = pieces[index];
    const joins = end < 0 && index + 1 < pieces.length && pieces[index + 1][1] > 0;
    if (joins) index++;
    out.push(text.slice(start, Math.abs(joins ? pieces[index][1] : end)));
  }
}
