// A grammar as a network of automata over bytes, one a rule, that call one another (Woods' recursive transition
// networks, 1970; the automata are Thompson's, 1968). What can never come to an end is cut away here, so that whoever
// walks the network never meets a dead end. Left recursion is refused, as in llama.cpp: it would call for ever.

import { utf8Sequences } from "./code-points.ts";
import type { CodePoints } from "./code-points.ts";
import { GRAMMAR_LIMITS, GrammarError } from "./grammar.ts";
import type { Grammar, GrammarNode } from "./grammar.ts";

/** A state of a rule: where each class of bytes leads, where nothing leads, and what is called on the way. */
export interface State {
  readonly id: number;
  /** Bytes `first` to `last` lead to `to`. */
  readonly bytes: { readonly first: number; readonly last: number; readonly to: State }[];
  readonly free: State[];
  /** The rule is gone through, and then `back` follows. */
  readonly calls: { readonly rule: Rule; readonly back: State }[];
  /** Whether nothing but the end of the rule can follow. */
  isTail: boolean;
  /** The same place in an earlier copy of something repeated, which differs only `room` copies later. */
  twin: State | undefined;
  room: number;
}

export interface Rule {
  readonly name: string;
  readonly start: State;
  readonly end: State;
}

export interface Automaton {
  readonly root: Rule;
  /** The class of each byte [256]: bytes of one class lead to the same places everywhere. */
  readonly classes: Uint8Array;
  readonly classCount: number;
}

/** Compiles a grammar. Throws `GrammarError` for what it cannot mean. */
export function compileGrammar(grammar: Grammar): Automaton {
  const builder = new Builder(grammar);
  const { states, rules } = builder;
  const root = rules.get(grammar.root);
  if (root === undefined)
    throw new GrammarError(`the grammar has no rule ${grammar.root}`, { where: "its first rule" });
  prune(states, rules);
  if (reachesEnd(root, () => true).size === 0) {
    throw new GrammarError("no text can match", {
      where: `the rule ${root.name}`,
      expected: "at least one text that comes to an end",
      hint: "a rule that always needs itself, or a choice without options, has none",
    });
  }
  refuseLeftRecursion(rules);
  for (const rule of rules.values()) rule.end.isTail = true;
  for (let changed = true; changed;) {
    changed = false;
    for (const state of states) {
      if (state.isTail || state.bytes.length > 0 || state.calls.length > 0 || state.free.length !== 1) continue;
      if (state.free[0].isTail) changed = state.isTail = true;
    }
  }
  return { root, ...byteClasses(states) };
}

class Builder {
  readonly states: State[] = [];
  readonly rules = new Map<string, Rule>();

  constructor(grammar: Grammar) {
    for (const name of grammar.rules.keys()) this.rules.set(name, { name, start: this.#state(), end: this.#state() });
    for (const [name, node] of grammar.rules) {
      const { start, end } = this.rules.get(name)!;
      this.#build(node, start, end, name);
    }
  }

  #state(): State {
    if (this.states.length === GRAMMAR_LIMITS.states) {
      throw new GrammarError("the grammar is too large", {
        expected: `at most ${GRAMMAR_LIMITS.states} states`,
        hint: "repeat less, or without an upper limit",
      });
    }
    const state: State = {
      id: this.states.length,
      bytes: [],
      free: [],
      calls: [],
      isTail: false,
      twin: undefined,
      room: 0,
    };
    this.states.push(state);
    return state;
  }

  #build(node: GrammarNode, from: State, to: State, name: string): void {
    switch (node.type) {
      case "set":
        return this.#set(node.set, from, to);
      case "text":
        return this.#text(node.text, from, to);
      case "sequence": {
        let at = from;
        for (const [index, part] of node.parts.entries()) {
          const next = index === node.parts.length - 1 ? to : this.#state();
          this.#build(part, at, next, name);
          at = next;
        }
        if (node.parts.length === 0) from.free.push(to);
        return;
      }
      case "choice":
        // Options have beginnings and ends of their own, so that a loop at one is none of the others'.
        for (const option of node.options) this.#apart(option, from, to, name);
        return;
      case "repeat":
        return this.#repeat(node, from, to, name);
      case "rule": {
        const rule = this.rules.get(node.name);
        if (rule === undefined) {
          throw new GrammarError(`the grammar has no rule ${node.name}`, {
            where: `the rule ${name}`,
            expected: `one of ${[...this.rules.keys()].slice(0, 20).join(", ")}`,
            got: node.name,
          });
        }
        from.calls.push({ rule, back: to });
      }
    }
  }

  #apart(node: GrammarNode, from: State, to: State, name: string): void {
    const start = this.#state();
    from.free.push(start);
    this.#build(node, start, to, name);
  }

  #repeat({ body, min, max }: Extract<GrammarNode, { type: "repeat" }>, from: State, to: State, name: string): void {
    if (min > max) return;
    let at = from;
    const copies = max === Infinity ? min : max;
    let first = this.states.length;
    for (let count = 0; count < copies; count++) {
      if (count >= min) at.free.push(to);
      if (count === min) first = this.states.length;
      const start = this.states.length;
      const next = this.#state();
      this.#apart(body, at, next, name);
      at = next;
      // Copies that must come are alike until the last of them, and so are those that may.
      const room = (count < min ? min : copies) - count - 1;
      if (start > first) this.#pair(start, first, room);
    }
    if (max === Infinity) {
      const loop = this.#state();
      at.free.push(loop);
      this.#apart(body, loop, loop, name);
      at = loop;
    }
    at.free.push(to);
  }

  /** Makes the states from `start` on twins of as many from `first` on, but for those that have nearer ones. */
  #pair(start: number, first: number, room: number): void {
    for (const [offset, state] of this.states.slice(start).entries()) {
      if (state.twin !== undefined) continue;
      state.twin = this.states[first + offset];
      state.room = room;
    }
  }

  #text(value: string, from: State, to: State): void {
    const bytes = new TextEncoder().encode(value);
    let at = from;
    for (const [index, byte] of bytes.entries()) {
      const next = index === bytes.length - 1 ? to : this.#state();
      at.bytes.push({ first: byte, last: byte, to: next });
      at = next;
    }
    if (bytes.length === 0) from.free.push(to);
  }

  /** Byte sequences that end alike share the states of their ends. */
  #set(value: CodePoints, from: State, to: State): void {
    const ends = new Map<string, State>([["", to]]);
    for (const bytes of utf8Sequences(value)) {
      let [next, key] = [to, ""];
      for (let at = bytes.length - 1; at > 0; at--) {
        const [first, last] = bytes[at];
        key += `${first}-${last},`;
        let state = ends.get(key);
        if (state === undefined) {
          state = this.#state();
          state.bytes.push({ first, last, to: next });
          ends.set(key, state);
        }
        next = state;
      }
      from.bytes.push({ first: bytes[0][0], last: bytes[0][1], to: next });
    }
  }
}

/** States of a rule from which its end is reached, by calls of rules that `isUsable` only. */
function reachesEnd(rule: Rule, isUsable: (rule: Rule) => boolean): Set<State> {
  const before = new Map<State, State[]>();
  const seen = new Set([rule.start]);
  for (const state of seen) {
    const follow = (next: State): void => {
      seen.add(next);
      const list = before.get(next);
      if (list === undefined) before.set(next, [state]);
      else list.push(state);
    };
    for (const { to } of state.bytes) follow(to);
    for (const next of state.free) follow(next);
    for (const call of state.calls) if (isUsable(call.rule)) follow(call.back);
  }
  if (!seen.has(rule.end)) return new Set();
  const useful = new Set([rule.end]);
  for (const state of useful) for (const earlier of before.get(state) ?? []) useful.add(earlier);
  return useful;
}

/** Cuts what leads to no end: rules that derive no text, and steps to states from which the rule's end is far. */
function prune(states: readonly State[], rules: ReadonlyMap<string, Rule>): void {
  const productive = new Set<Rule>();
  for (let before = -1; before < productive.size;) {
    before = productive.size;
    for (const rule of rules.values()) {
      if (!productive.has(rule) && reachesEnd(rule, (called) => productive.has(called)).size > 0) productive.add(rule);
    }
  }
  const useful = new Set<State>();
  for (const rule of productive) {
    for (const state of reachesEnd(rule, (called) => productive.has(called))) useful.add(state);
  }
  for (const state of states) {
    keep(state.bytes, ({ to }) => useful.has(to));
    keep(state.free, (next) => useful.has(next));
    keep(state.calls, ({ rule, back }) => productive.has(rule) && useful.has(back));
  }
}

function keep<T>(list: T[], isKept: (item: T) => boolean): void {
  let count = 0;
  for (const item of list) if (isKept(item)) list[count++] = item;
  list.length = count;
}

/** Throws `GrammarError` where a rule can come to call itself before it has read a byte. */
function refuseLeftRecursion(rules: ReadonlyMap<string, Rule>): void {
  const nullable = new Set<Rule>();
  const firstStates = (rule: Rule): Set<State> => {
    const seen = new Set([rule.start]);
    for (const state of seen) {
      for (const next of state.free) seen.add(next);
      for (const call of state.calls) if (nullable.has(call.rule)) seen.add(call.back);
    }
    return seen;
  };
  for (let before = -1; before < nullable.size;) {
    before = nullable.size;
    for (const rule of rules.values()) if (!nullable.has(rule) && firstStates(rule).has(rule.end)) nullable.add(rule);
  }
  const done = new Set<Rule>();
  const path = new Set<Rule>();
  const visit = (rule: Rule): void => {
    if (done.has(rule)) return;
    if (path.has(rule)) {
      throw new GrammarError("a rule of the grammar begins with itself", {
        where: [...path, rule].map(({ name }) => name).join(" -> "),
        expected: "rules that read a character before they come to themselves again",
        hint: `write repetition as (...)* or with ${rule.name} at the end`,
      });
    }
    path.add(rule);
    for (const state of firstStates(rule)) for (const call of state.calls) visit(call.rule);
    path.delete(rule);
    done.add(rule);
  };
  for (const rule of rules.values()) visit(rule);
}

/** Bytes between the borders of all ranges are one class. */
function byteClasses(states: readonly State[]): { classes: Uint8Array; classCount: number } {
  const borders = new Uint8Array(257);
  for (const { bytes } of states) {
    for (const { first, last } of bytes) borders[first] = borders[last + 1] = 1;
  }
  const classes = new Uint8Array(256);
  for (let byte = 1; byte < 256; byte++) classes[byte] = classes[byte - 1] + borders[byte];
  return { classes, classCount: classes[255] + 1 };
}
