// The network of rules at work. A place is a state with the places to come back to, a list that shares its tail with
// others; a configuration is the set of places that the bytes so far may have led to. Configurations are made when
// they are first met and kept, with where each class of bytes leads from there, so that most steps are one look-up
// (lazy determinisation, as in Thompson 1968 and in the engines of Cox 2007, here with stacks).

import type { Automaton, State } from "./automaton.ts";
import { GrammarError } from "./grammar.ts";

/** A state, and the place to come back to at the end of its rule. */
interface Place {
  readonly id: number;
  readonly state: State;
  readonly back: Place | null;
  /** Places with this one to come back to, by their states. */
  readonly inner: Map<number, Place>;
}

/** All places that a text may have led to. */
export interface Configuration {
  readonly id: number;
  /** Those from which a byte can be read. */
  readonly places: readonly Place[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** By classes of bytes: null where none can follow, undefined where it was not asked for. */
  readonly next: (Configuration | null | undefined)[];
}

/** What is kept at most; then all but what is in use is forgotten. And how ambiguous a text may be. */
export const PUSHDOWN_LIMITS = { configurations: 1 << 14, places: 1 << 17, placesAtOnce: 1 << 12 } as const;

export class Pushdown {
  readonly start: Configuration;
  readonly #automaton: Automaton;
  readonly #known = new Map<string, Configuration>();
  /** Places without one to come back to. */
  readonly #outer = new Map<number, Place>();
  #placeCount = 0;
  #placesKept = 0;
  #configurationCount = 0;
  // What a step collects.
  readonly #seen = new Set<Place>();
  #isComplete = false;

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
    this.#begin();
    this.#enter(automaton.root.start, null);
    this.start = this.#end()!;
  }

  /** Where a byte leads; null where it cannot follow. */
  step(from: Configuration, byte: number): Configuration | null {
    const known = from.next[this.#automaton.classes[byte]];
    return known === undefined ? this.#explore(from, byte) : known;
  }

  #explore(from: Configuration, byte: number): Configuration | null {
    this.#begin();
    for (const { state, back } of from.places) {
      for (const { first, last, to } of state.bytes) if (byte >= first && byte <= last) this.#enter(to, back);
    }
    return (from.next[this.#automaton.classes[byte]] = this.#end());
  }

  #begin(): void {
    this.#seen.clear();
    this.#isComplete = false;
    if (this.#placesKept > PUSHDOWN_LIMITS.places || this.#known.size > PUSHDOWN_LIMITS.configurations) {
      this.#known.clear();
      this.#outer.clear();
      this.#placesKept = 0;
    }
  }

  /** Adds a state and all that is reached from it without a byte. */
  #enter(state: State, back: Place | null): void {
    const waiting: Place[] = [];
    const add = (next: State, nextBack: Place | null): void => {
      const place = this.#place(next, nextBack);
      if (this.#seen.has(place)) return;
      if (this.#seen.size === PUSHDOWN_LIMITS.placesAtOnce) throw tooAmbiguous();
      this.#seen.add(place);
      waiting.push(place);
    };
    add(state, back);
    for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
      if (place.state.isTail) {
        if (place.back === null) this.#isComplete = true;
        else add(place.back.state, place.back.back);
        continue;
      }
      for (const next of place.state.free) add(next, place.back);
      // At the end of a rule there is nothing to come back to but what it comes back to itself.
      for (const call of place.state.calls) {
        add(call.rule.start, call.back.isTail ? place.back : this.#place(call.back, place.back));
      }
    }
  }

  #place(state: State, back: Place | null): Place {
    const siblings = back === null ? this.#outer : back.inner;
    let place = siblings.get(state.id);
    if (place === undefined) {
      place = { id: this.#placeCount++, state, back, inner: new Map() };
      this.#placesKept++;
      siblings.set(state.id, place);
    }
    return place;
  }

  /** The configuration of what was collected; null where that is nothing. */
  #end(): Configuration | null {
    const places = [...this.#seen].filter(({ state }) => state.bytes.length > 0).sort((a, b) => a.id - b.id);
    if (places.length === 0 && !this.#isComplete) return null;
    const key = `${this.#isComplete} ${places.map(({ id }) => id).join(" ")}`;
    let found = this.#known.get(key);
    if (found === undefined) {
      const next = Array.from<undefined>({ length: this.#automaton.classCount });
      found = { id: this.#configurationCount++, places, isComplete: this.#isComplete, next };
      this.#known.set(key, found);
    }
    return found;
  }
}

/**
 * Equal for configurations that differ only in how often something has been repeated, where more than `length` bytes
 * must come before that matters: what may come within those is the same.
 */
export function signatureOf({ isComplete, places }: Configuration, length: number): string {
  const spelled = new Set<string>();
  for (const place of places) {
    let text = "";
    for (let at: Place | null = place; at !== null; at = at.back) {
      let { state } = at;
      while (state.twin !== undefined && state.room > length) state = state.twin;
      text += `${state.id} `;
    }
    spelled.add(text);
  }
  return `${isComplete}:${[...spelled].sort().join(":")}`;
}

function tooAmbiguous(): GrammarError {
  return new GrammarError("the text can be read in too many ways", {
    expected: `at most ${PUSHDOWN_LIMITS.placesAtOnce} places of the grammar at once`,
    hint: "rules that overlap, such as (a* a*)*, can be written without the overlap",
  });
}
