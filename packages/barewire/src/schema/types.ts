// TypeScript source text of a schema's types, as the codec gives and takes them: 64-bit integers are bigint, lists of
// numbers are typed arrays, optional values may be undefined, unions are `{ kind, value }`. Text only: the codec itself
// is compiled from the schema when the program runs.

import { arrayKind, ARRAYS } from "../codec/arrays.ts";
import { resolveType } from "./ast.ts";
import type { BareSchema, BareType, TypeOfKind } from "./ast.ts";

/** Source text of a module that exports a type for each definition. */
export function generateTypes({ definitions }: BareSchema): string {
  const blocks = definitions.map(({ name, type, doc }) => {
    const head = docComment(doc, "");
    // An interface may refer to itself where a type alias may not, and reads better in errors.
    if (type.kind === "struct") return `${head}export interface ${safeName(name)} ${structText(type, "")}\n`;
    const text = isOptionalForEver(type) ? "undefined" : typeText(type, "");
    return `${head}export type ${safeName(name)} =${spaced(text)};\n`;
  });
  return `// Types of a BARE schema. Generated; make changes to the schema.\n\n${blocks.join("\n")}`;
}

// Names that would hide the types which the text itself uses.
const USED = new Set(["ReadonlyMap", ...Object.values(ARRAYS).map((constructor) => constructor.name)]);

// A space before it, unless it starts on the next line.
function spaced(text: string): string {
  return text.startsWith("\n") ? text : ` ${text}`;
}

// Whether a type is an optional of itself, as older drafts allow: it has one value, and TypeScript no name for it.
function isOptionalForEver(type: BareType): boolean {
  const seen = new Set<BareType>();
  let current = resolveType(type);
  for (; current.kind === "optional" && !seen.has(current); current = resolveType(current.type)) seen.add(current);
  return seen.has(current);
}

function safeName(name: string): string {
  return USED.has(name) ? `${name}_` : name;
}

function typeText(type: BareType, indent: string): string {
  switch (type.kind) {
    case "alias":
      return type.name === "" ? typeText(type.target(), indent) : safeName(type.name);
    case "uint":
    case "int":
    case "u64":
    case "i64":
      return type.safe === true ? "number" : "bigint";
    case "bool":
      return "boolean";
    case "str":
      return "string";
    case "void":
      return "undefined";
    case "data":
      return "Uint8Array";
    case "optional":
      return `${typeText(type.type, indent)} | undefined`;
    case "list": {
      const kind = arrayKind(type.type);
      return kind === undefined ? `readonly ${grouped(typeText(type.type, indent))}[]` : ARRAYS[kind].name;
    }
    case "map":
      return `ReadonlyMap<${typeText(type.key, indent)}, ${typeText(type.value, indent)}>`;
    case "struct":
      return structText(type, indent);
    case "enum":
      return type.members.map(({ name }) => JSON.stringify(name)).join(" | ");
    case "union":
      return unionText(type, indent);
    default:
      return "number";
  }
}

function structText({ fields }: TypeOfKind<"struct">, indent: string): string {
  const inner = `${indent}  `;
  const lines = fields.map(({ name, type, doc }) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    return `${docComment(doc, inner)}${inner}readonly ${key}: ${typeText(type, inner)};\n`;
  });
  return `{\n${lines.join("")}${indent}}`;
}

function unionText({ members }: TypeOfKind<"union">, indent: string): string {
  const inner = `${indent}  `;
  return members
    .map(({ name, type, doc }) => {
      const value = typeText(type, inner);
      const kind = JSON.stringify(name);
      return `\n${docComment(doc, inner)}${inner}| { readonly kind: ${kind}; readonly value: ${value} }`;
    })
    .join("");
}

// An array of anything but a name or an object needs brackets.
function grouped(text: string): string {
  return /^[\w$]+$/.test(text) || (text.startsWith("{") && text.endsWith("}")) ? text : `(${text})`;
}

function docComment(doc: string | undefined, indent: string): string {
  if (doc === undefined) return "";
  const lines = doc.replaceAll("*/", "* /").split("\n");
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd() + "\n").join("")}${indent} */\n`;
}
