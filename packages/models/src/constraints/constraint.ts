// Which tokens may come next, so that the text stays within a grammar. A walk through the vocabulary's tree follows the
// pushdown automaton and leaves every branch that the grammar cannot follow; what it found is kept by configuration,
// since texts come back to the same ones: inside of a string, after a comma.

import { FidelityError, invariant } from "@fidelity/units";
import { compileGrammar } from "./automaton.ts";
import type { Grammar } from "./grammar.ts";
import { Pushdown, signatureOf } from "./pushdown.ts";
import type { Configuration } from "./pushdown.ts";
import type { TokenVocabulary } from "./token-vocabulary.ts";

/** Bytes of masks that a constraint and its clones keep. */
const MASKS_BYTES_MAX = 32 << 20;

/** What a generated text must be, token by token. */
export interface Constraint {
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** Whether the text is complete and nothing but a token that ends it may follow. */
  readonly isFinished: boolean;
  /**
   * Sets the bits of the tokens that may come next, and clears all others: token t is bit t % 32 of word t / 32.
   * Tokens that end a text are among them only where it is complete. Throws `ConstraintError` where none may come:
   * the vocabulary cannot spell what the grammar asks for, or the text is finished and no token ends it.
   */
  allowed(mask: Uint32Array): void;
  /** Takes the next token. Throws `ConstraintError` for one that may not come. */
  accept(token: number): void;
  /** Back to the start of a text. */
  reset(): void;
  /** Another one at the same place, which goes on by itself. */
  clone(): Constraint;
}

/** A token that the grammar forbids, or a place where the vocabulary has none that it allows. */
export class ConstraintError extends FidelityError {}

/** Compiles a grammar for a vocabulary. Throws `GrammarError`. */
export function createConstraint(grammar: Grammar, vocabulary: TokenVocabulary): Constraint {
  const masks = new Masks(vocabulary, new Pushdown(compileGrammar(grammar)));
  return new GrammarConstraint(masks, masks.pushdown.start);
}

class GrammarConstraint implements Constraint {
  readonly #masks: Masks;
  #at: Configuration;
  #isEnded = false;

  constructor(masks: Masks, at: Configuration) {
    this.#masks = masks;
    this.#at = at;
  }

  get isComplete(): boolean {
    return this.#at.isComplete;
  }

  get isFinished(): boolean {
    return this.#isEnded || (this.#at.isComplete && this.#at.places.length === 0);
  }

  allowed(mask: Uint32Array): void {
    const found = this.#isEnded ? undefined : this.#masks.of(this.#at);
    if (found === undefined) {
      throw new ConstraintError("no token may come next", {
        where: this.isFinished ? "the end of a text that is finished" : "a text within a grammar",
        expected: this.isFinished ? "the text to end here" : "a vocabulary that can spell what the grammar asks for",
        hint: this.isFinished
          ? "ask isFinished before"
          : "a vocabulary with a token for every byte spells every text; one of characters only those it was made from",
      });
    }
    invariant(mask.length >= found.length, `a mask of ${mask.length} words for a vocabulary of ${found.length}`);
    mask.fill(0);
    mask.set(found);
  }

  accept(token: number): void {
    const { vocabulary, pushdown } = this.#masks;
    let next: Configuration | null = this.#isEnded ? null : this.#at;
    if (vocabulary.stopTokens.includes(token)) {
      if (next !== null && next.isComplete) {
        this.#isEnded = true;
        return;
      }
      next = null;
    }
    const bytes = vocabulary.bytesOf(token);
    if (bytes.length === 0) next = null;
    for (const byte of bytes) next = next === null ? null : pushdown.step(next, byte);
    if (next !== null) {
      this.#at = next;
      return;
    }
    throw new ConstraintError(`token ${token} may not come here`, {
      where: "a text within a grammar",
      expected: "a token of the mask that `allowed` gives",
      got: bytes.length === 0 ? "a token without a text" : JSON.stringify(new TextDecoder().decode(bytes)),
    });
  }

  reset(): void {
    this.#at = this.#masks.pushdown.start;
    this.#isEnded = false;
  }

  clone(): Constraint {
    const copy = new GrammarConstraint(this.#masks, this.#at);
    copy.#isEnded = this.#isEnded;
    return copy;
  }
}

/** The masks of configurations, as long as there is room: those that were used last. */
class Masks {
  readonly vocabulary: TokenVocabulary;
  readonly pushdown: Pushdown;
  readonly #known = new Map<Configuration, Uint32Array>();
  /** Those of configurations that are alike as far as a token reaches. */
  readonly #alike = new Map<string, Uint32Array>();
  readonly #capacity: number;
  readonly #path: Configuration[];

  constructor(vocabulary: TokenVocabulary, pushdown: Pushdown) {
    this.vocabulary = vocabulary;
    this.pushdown = pushdown;
    this.#capacity = Math.max(16, Math.floor(MASKS_BYTES_MAX / (vocabulary.size / 8)));
    this.#path = new Array<Configuration>(vocabulary.depth + 1);
  }

  /** The mask of a configuration; undefined where no token may come. */
  of(at: Configuration): Uint32Array | undefined {
    let mask = this.#known.get(at);
    if (mask === undefined) {
      mask = this.#explore(at);
      if (this.#known.size >= this.#capacity) this.#known.delete(this.#known.keys().next().value!);
    } else {
      this.#known.delete(at); // and comes back as the youngest
    }
    this.#known.set(at, mask);
    return mask.length === 0 ? undefined : mask;
  }

  #explore(at: Configuration): Uint32Array {
    const signature = signatureOf(at, this.vocabulary.depth);
    const known = this.#alike.get(signature);
    if (known !== undefined) return known;
    if (this.#alike.size >= this.#capacity) this.#alike.clear();
    const mask = this.#walk(at);
    this.#alike.set(signature, mask);
    return mask;
  }

  /** Follows the tree of the vocabulary; an empty result where nothing was found. */
  #walk(start: Configuration): Uint32Array {
    const { bytes, depths, after, tokens, twins, size, stopTokens } = this.vocabulary;
    const mask = new Uint32Array((size + 31) >>> 5);
    const path = this.#path;
    path[0] = start;
    let isEmpty = true;
    for (let node = 0; node < bytes.length;) {
      const depth = depths[node];
      const next = this.pushdown.step(path[depth], bytes[node]);
      if (next === null) {
        node = after[node];
        continue;
      }
      path[depth + 1] = next;
      for (let token = tokens[node]; token >= 0; token = twins[token]) {
        mask[token >>> 5] |= 1 << (token & 31);
        isEmpty = false;
      }
      node++;
    }
    if (start.isComplete) {
      for (const token of stopTokens) {
        mask[token >>> 5] |= 1 << (token & 31);
        isEmpty = false;
      }
    }
    return isEmpty ? new Uint32Array(0) : mask;
  }
}
