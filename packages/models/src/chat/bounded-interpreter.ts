// Jinja's interpreter with limits. A template comes from a model file, so from anyone: it may loop for ever, double a
// text until memory ends, or nest a list in itself a hundred times. Every node that is evaluated costs a step, and more
// the longer the text is that it gives; every value has a weight, what it would be written out, and none may pass a
// limit.

import { ChatTemplateError } from "./errors.ts";
import { Interpreter } from "./jinja.ts";
import type { JinjaEnvironment, JinjaNode, JinjaValue } from "./jinja.ts";
import { markedLine } from "./template-lines.ts";

export interface TemplateLimits {
  /** Nodes to evaluate, and one more for every 64 characters of a text that one gives. */
  readonly steps: number;
  /** Characters of a text, or of all texts of a list together. */
  readonly weight: number;
}

/** What a conversation of `characters` may take: room for templates that write it out some times over. */
export function limitsFor(characters: number): TemplateLimits {
  return { steps: 2 ** 19 + 64 * characters, weight: 2 ** 20 + 8 * characters };
}

/** Texts that are put in many places at once: between the items of a list, before lines, for what is replaced. */
const REPEATED_LENGTH_MAX = 256;
const CHARACTERS_PER_STEP = 64;

export class BoundedInterpreter extends Interpreter {
  /** The line of the tag that is evaluated; 0 before the first. */
  line = 0;
  #stepsLeft: number;
  readonly #limits: TemplateLimits;
  readonly #weights = new WeakMap<object, number>();

  constructor(environment: JinjaEnvironment, limits: TemplateLimits) {
    super(environment);
    this.#limits = limits;
    this.#stepsLeft = limits.steps;
  }

  override evaluate(node: JinjaNode | undefined, environment: JinjaEnvironment): JinjaValue {
    if (node !== undefined && isText(node)) {
      const line = markedLine(node.value);
      if (line !== undefined) {
        this.line = line;
        return super.evaluate(emptyText, environment);
      }
    }
    this.#spend(1);
    const value = super.evaluate(node !== undefined && isGuarded(node) ? node.argument : node, environment);
    this.#check(value, node?.type);
    if (node?.type === "Guarded") guard(value.value);
    return value;
  }

  /** Throws when a list of `count` numbers would be too much: for `range`, which makes one at once. */
  allowList(count: number): void {
    this.#spend(count);
    this.#allow(8 * count);
  }

  #allow(weight: number): void {
    this.#spend(Math.ceil(weight / CHARACTERS_PER_STEP));
    if (weight <= this.#limits.weight) return;
    throw tooMuch(`values of at most ${this.#limits.weight} characters`, `one of ${weight}`);
  }

  #spend(steps: number): void {
    this.#stepsLeft -= steps;
    if (this.#stepsLeft < 0) throw tooMuch(`at most ${this.#limits.steps} steps`, "more");
  }

  #check(value: JinjaValue, type = ""): void {
    const { value: inner } = value;
    if (typeof inner === "string") this.#allow(inner.length);
    else if (Array.isArray(inner)) {
      // A list that is only named costs little; one that is made, or gone through, costs a step for each of its items.
      const isNamed = type === "Identifier" || type === "MemberExpression";
      this.#spend(isNamed ? inner.length >> 4 : inner.length);
      this.#weigh(value, 0);
    } else if (inner instanceof Map) this.#weigh(value, 0);
  }

  /** What a value weighs: its texts, each as often as it occurs. Namespaces change, and are weighed anew each time. */
  #weigh(value: JinjaValue, depth: number): number {
    const inner: unknown = value.value;
    if (typeof inner === "string") return inner.length + 2;
    const isList = Array.isArray(inner);
    if (!isList && !(inner instanceof Map)) return 8;
    const known = this.#weights.get(value);
    if (known !== undefined) return known;
    if (depth > 200) throw tooMuch("lists in one another up to 200 times", "more");
    this.#spend(1);
    let weight = 2;
    for (const item of (isList ? inner : inner.values()) as Iterable<JinjaValue>)
      weight += this.#weigh(item, depth + 1);
    if (!isList) for (const key of inner.keys()) weight += String(key).length + 4;
    if (weight > this.#limits.weight) this.#allow(weight);
    if (value.type !== "NamespaceValue") this.#weights.set(value, weight);
    return weight;
  }
}

function isText(node: JinjaNode): node is { readonly type: string; readonly value: string } {
  return node.type === "StringLiteral" && "value" in node && typeof node.value === "string";
}

const emptyText: JinjaNode & { readonly value: string } = { type: "StringLiteral", value: "" };

function tooMuch(expected: string, got: string): ChatTemplateError {
  return new ChatTemplateError("the chat template takes too much", {
    expected,
    got,
    hint: "the file may be damaged or made to stop you; choose another template by name",
  });
}

/** An argument that is looked at before it is used, or a list that a loop goes through. */
interface Guarded extends JinjaNode {
  readonly type: "Guarded" | "Counted";
  readonly argument: JinjaNode;
}

function isGuarded(node: JinjaNode): node is Guarded {
  return node.type === "Guarded" || node.type === "Counted";
}

/** Throws for a text or a number that would be repeated in many places and is large. */
function guard(value: unknown): void {
  const size = typeof value === "string" ? value.length : typeof value === "number" ? Math.abs(value) : 0;
  if (size <= REPEATED_LENGTH_MAX) return;
  throw tooMuch(`texts of at most ${REPEATED_LENGTH_MAX} characters where they are repeated`, `one of ${size}`);
}

/** Lets a loop pay for the items that it goes through, since one with an empty body evaluates nothing. */
function countLoop(node: object): void {
  if (!("type" in node && node.type === "For" && "iterable" in node && isNode(node.iterable))) return;
  const { iterable } = node;
  // `for x in list if test` keeps its list on the left of a node of its own.
  if (iterable.type === "SelectExpression" && "lhs" in iterable && isNode(iterable.lhs)) {
    iterable.lhs = { type: "Counted", argument: iterable.lhs } satisfies Guarded;
  } else {
    node.iterable = { type: "Counted", argument: iterable } satisfies Guarded;
  }
}

/**
 * Guards the operations that make much of little in one step, in the tree of a template: what `replace`, `join`,
 * `indent` and `tojson` repeat is looked at first.
 */
export function guardTree(node: unknown): void {
  if (typeof node !== "object" || node === null) return;
  const children: Iterable<unknown> = node instanceof Map ? [...node].flat() : Object.values(node);
  for (const child of children) guardTree(child);
  countLoop(node);
  if (!("args" in node) || !Array.isArray(node.args) || !("callee" in node) || !isRepeating(node.callee)) return;
  node.args = node.args.map((argument: unknown): unknown => {
    if (!isNode(argument) || argument.type.endsWith("SpreadExpression")) return argument;
    if (argument.type !== "KeywordArgumentExpression") return { type: "Guarded", argument } satisfies Guarded;
    return "value" in argument && isNode(argument.value)
      ? { ...argument, value: { type: "Guarded", argument: argument.value } satisfies Guarded }
      : argument;
  });
}

function isNode(value: unknown): value is JinjaNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** A filter or a method that repeats its arguments. */
function isRepeating(callee: unknown): boolean {
  if (!isNode(callee)) return false;
  const name = callee.type === "MemberExpression" && "property" in callee ? callee.property : callee;
  return isNode(name) && "value" in name && ["replace", "join", "indent", "tojson"].includes(String(name.value));
}
