// oxc-parser behind one file: text to an ESTree program or the problem that the parser found. Nodes are read field by
// field, so that the shape of the tree is trusted only where it is looked at.

import { parseSync } from "oxc-parser";
import type { Problem, Span } from "../diagnostics.ts";
import { nestingProblem } from "./nesting.ts";

/** A node of the parser's tree. */
export interface EstreeNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

/** Longer texts are refused before they are parsed. */
export const SOURCE_CHARACTERS_MAX = 2 ** 20;

export type ParsedText =
  | { readonly program: EstreeNode; readonly problems?: undefined }
  | { readonly program?: undefined; readonly problems: readonly Problem[] };

/** Parses TypeScript. Never throws on any text. */
export function parseTypeScript(text: string): ParsedText {
  const whole = { start: 0, end: Math.min(text.length, 1) };
  if (text.length > SOURCE_CHARACTERS_MAX) {
    const message = `the text has ${text.length} characters, at most ${SOURCE_CHARACTERS_MAX}`;
    return { problems: [{ code: "FK020", span: whole, message, hint: "move kernels to a file of their own" }] };
  }
  const tooDeep = nestingProblem(text);
  if (tooDeep !== undefined) return { problems: [tooDeep] };
  const { program, errors } = parseSync("kernel.ts", text, { lang: "ts", preserveParens: false, sourceType: "module" });
  if (errors.length === 0) return { program: program as unknown as EstreeNode };
  return {
    problems: errors.slice(0, 20).map(({ message, labels, helpMessage }) => {
      const span = labels[0] === undefined ? whole : { start: labels[0].start, end: labels[0].end };
      return { code: "FK001", span, message, ...(helpMessage !== null && { hint: helpMessage }) };
    }),
  };
}

/** Whether a field of a node is itself a node. */
export function isEstreeNode(value: unknown): value is EstreeNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** A field that holds a node, or nothing. */
export function child(node: EstreeNode, field: string): EstreeNode | undefined {
  const value = node[field];
  return isEstreeNode(value) ? value : undefined;
}

/** A field that holds a list of nodes; holes are left out. */
export function children(node: EstreeNode, field: string): EstreeNode[] {
  const value = node[field];
  return Array.isArray(value) ? value.filter(isEstreeNode) : [];
}

/** The name of an identifier, or undefined for any other node. */
export function identifierName(node: EstreeNode | undefined): string | undefined {
  return node?.type === "Identifier" && typeof node.name === "string" ? node.name : undefined;
}

export function spanOf(node: EstreeNode): Span {
  return { start: node.start, end: node.end };
}
