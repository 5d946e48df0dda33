// The two ways to say what merges: a list in order, as tokenizer.json has it, and a score for each token, as
// SentencePiece and GGUF have it. Of a vocabulary that SentencePiece trained both say the same: the list then has every
// pair of tokens whose union is a token, the highest score first (SentencePieceExtractor of huggingface/tokenizers).

import { namedByte } from "./byte-text.ts";
import type { BpeSpec, ScoredSpec } from "./pipeline-spec.ts";

/** Merges in order, left and right in turn, of a vocabulary with scores. */
export function mergesOfScores({ tokens, scores, added }: ScoredSpec): string[] {
  const special = new Set(added.filter((entry) => entry.special).map(({ token }) => token));
  const known = new Map<string, number>();
  for (const [token, text] of tokens.entries()) {
    if (text !== null && !special.has(token) && !known.has(text)) known.set(text, token);
  }
  const merged = [...known].filter(([text]) => text.length > 1 && namedByte(text) < 0);
  merged.sort(([, a], [, b]) => scores[b] - scores[a] || a - b);
  return merged.flatMap(([text]) => {
    const pairs: [left: number, right: number, leftText: string, rightText: string][] = [];
    for (let at = 1; at < text.length; at++) {
      if ((text.charCodeAt(at) & 0xfc00) === 0xdc00) continue; // the middle of a character
      const [left, right] = [text.slice(0, at), text.slice(at)];
      const tokensOfPair = [known.get(left), known.get(right)];
      if (tokensOfPair[0] === undefined || tokensOfPair[1] === undefined) continue;
      pairs.push([tokensOfPair[0], tokensOfPair[1], left, right]);
    }
    return pairs.sort((a, b) => a[0] - b[0] || a[1] - b[1]).flatMap(([, , left, right]) => [left, right]);
  });
}

/** A score for each token of a vocabulary with merges in order: the earlier a token can be made, the higher. */
export function scoresOfMerges({ tokens, merges }: BpeSpec): number[] {
  const rank = new Map<string, number>();
  for (let at = 0; at < merges.length; at += 2) {
    const text = merges[at] + merges[at + 1];
    if (!rank.has(text)) rank.set(text, at / 2 + 1);
  }
  return tokens.map((text) => -(rank.get(text ?? "") ?? 0) || 0);
}
