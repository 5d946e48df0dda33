// Graphs as text, in MLIR's generic syntax: a module with a func.func over tensors for the graph and for each function
// that it calls, ops of the dialect "fidelity".
// `mlir-opt --allow-unregistered-dialect` parses it. Packed dtypes are types of the dialect: !fidelity.q8<4x8>.
// Left out: reading the text back, and data that is attached to ops as plain objects, which prints as a label.

import { isPacked } from "./dtype.ts";
import type { AttrValue, Graph, Node, Tensor, TensorType } from "./graph.ts";
import { topologicalOrder } from "./graph.ts";
import { isGraph } from "./verify.ts";

/** Longest data array that is printed in full. */
const DATA_MAX = 4096;

/** The text of `graph` as an MLIR module. */
export function printGraph(graph: Graph): string {
  return [`"builtin.module"() ({`, ...new GraphPrinter().functions(graph), `}) : () -> ()`, ""].join("\n");
}

/** Numbers values through a whole module: a region may not reuse the name of a value around it. */
class GraphPrinter {
  readonly #names = new Map<Tensor, string>();
  #nextValue = 0;
  #nextArgument = 0;
  /** The graphs that are functions of the module, by name. */
  readonly #symbols = new Map<Graph, string>();

  /** The lines of a graph and of all that it calls, each once. */
  functions(graph: Graph): string[] {
    const lines: string[] = [];
    this.#symbol(graph);
    // Grows while it is walked.
    for (const [each, symbol] of this.#symbols) {
      this.#names.clear();
      const types = functionType(each.parameters, each.results);
      lines.push(`  "func.func"() <{function_type = ${types}, sym_name = ${quote(symbol)}}> ({`);
      lines.push(...this.block(each, "func.return", "  "), `  }) : () -> ()`);
    }
    return lines;
  }

  #symbol(graph: Graph): string {
    let symbol = this.#symbols.get(graph);
    if (symbol === undefined) {
      const taken = new Set(this.#symbols.values());
      symbol = graph.name;
      for (let i = 1; taken.has(symbol); i++) symbol = `${graph.name}_${i}`;
      this.#symbols.set(graph, symbol);
    }
    return symbol;
  }

  /** The lines of a block: its arguments, its nodes and the op that ends it. */
  block(graph: Graph, terminator: string, indent: string): string[] {
    const args = graph.parameters.map((parameter) => {
      const name = `%arg${this.#nextArgument++}`;
      this.#names.set(parameter, name);
      return `${name}: ${printType(parameter.type)}`;
    });
    const lines = [`${indent}^bb0${args.length > 0 ? `(${args.join(", ")})` : ""}:`];
    for (const node of topologicalOrder(graph.results)) {
      if (node.results.every((result) => this.#names.has(result))) continue;
      lines.push(...this.#node(node, `${indent}  `));
    }
    const results = graph.results.map((result) => this.#name(result)).join(", ");
    lines.push(`${indent}  "${terminator}"(${results}) : ${typeList(graph.results)} -> ()`);
    return lines;
  }

  #name(tensor: Tensor): string {
    return this.#names.get(tensor) ?? `%undefined_${tensor.node.id}_${tensor.index}`;
  }

  #node(node: Node, indent: string): string[] {
    const operands = node.inputs.map((input) => this.#name(input)).join(", ");
    const value = `%${this.#nextValue++}`;
    const many = node.results.length > 1;
    node.results.forEach((result, i) => this.#names.set(result, many ? `${value}#${i}` : value));
    const bind = `${value}${many ? `:${node.results.length}` : ""} = `;
    const attributes: string[] = [];
    const regions: string[] = [];
    for (const [key, attribute] of Object.entries(node.attrs)) {
      if (isGraph(attribute) && node.op.name === "call") {
        attributes.push(`callee = @${quote(this.#symbol(attribute))}`);
      } else if (isGraph(attribute)) {
        const body = this.#body(attribute, indent);
        regions.push([`{`, ...body, `${indent}}`].join("\n"));
      } else {
        attributes.push(`${key} = ${printAttribute(attribute)}`);
      }
    }
    const region = regions.length > 0 ? ` (${regions.join(", ")})` : "";
    const dictionary = attributes.length > 0 ? ` {${attributes.join(", ")}}` : "";
    const types = functionType(node.inputs, node.results);
    return [`${indent}${bind}"fidelity.${node.op.name}"(${operands})${region}${dictionary} : ${types}`];
  }

  /** A body may be printed more than once; each time its values get names of their own. */
  #body(graph: Graph, indent: string): string[] {
    const inner = topologicalOrder([...graph.parameters, ...graph.results]).flatMap((node) => node.results);
    const outer = inner.map((tensor) => [tensor, this.#names.get(tensor)] as const);
    for (const tensor of inner) this.#names.delete(tensor);
    const lines = this.block(graph, "fidelity.yield", indent);
    for (const [tensor, name] of outer) {
      if (name === undefined) this.#names.delete(tensor);
      else this.#names.set(tensor, name);
    }
    return lines;
  }
}

/** `tensor<2x3xf32>`, or a type of the dialect for a packed dtype. */
function printType({ dtype, shape }: TensorType): string {
  if (isPacked(dtype)) return `!fidelity.${dtype}<${shape.join("x")}>`;
  return `tensor<${[...shape, dtype === "bool" ? "i1" : dtype].join("x")}>`;
}

function typeList(tensors: readonly Tensor[]): string {
  return `(${tensors.map((tensor) => printType(tensor.type)).join(", ")})`;
}

function functionType(inputs: readonly Tensor[], results: readonly Tensor[]): string {
  const [only] = results;
  return `${typeList(inputs)} -> ${results.length === 1 ? printType(only!.type) : typeList(results)}`;
}

function printAttribute(value: Exclude<AttrValue, Graph>): string {
  if (typeof value === "number") return printNumber(value);
  if (typeof value === "boolean") return String(value);
  if (typeof value === "string") return quote(value);
  if (value instanceof Float64Array) return printData(value);
  if (!Array.isArray(value)) return quote(printLabel(value));
  const items: readonly unknown[] = value;
  const kind = items.some((item) => typeof item === "boolean") ? "i1" : items.every(Number.isInteger) ? "i64" : "f64";
  if (items.length === 0) return "array<i64>";
  const text = items.map((item) => (typeof item === "number" && kind === "f64" ? printFloat(item) : String(item)));
  return `array<${kind}: ${text.join(", ")}>`;
}

/** Integers are i64, other numbers f64. */
function printNumber(value: number): string {
  return Number.isSafeInteger(value) && !Object.is(value, -0) ? `${value} : i64` : `${printFloat(value)} : f64`;
}

/** A float as MLIR reads it: with a point, or as its bits where it is not finite. */
function printFloat(value: number): string {
  if (Number.isFinite(value)) {
    const text = Object.is(value, -0) ? "-0" : String(value);
    const [digits = "0", exponent] = text.split("e");
    const pointed = digits.includes(".") ? digits : `${digits}.0`;
    return exponent === undefined ? pointed : `${pointed}e${exponent}`;
  }
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, value);
  return `0x${bits.getBigUint64(0).toString(16).toUpperCase().padStart(16, "0")}`;
}

function printData(data: Float64Array): string {
  if (data.length > DATA_MAX) return quote(`${data.length} numbers`);
  return `dense<[${Array.from(data, printFloat).join(", ")}]> : tensor<${data.length}xf64>`;
}

/** What a plain object calls itself. */
function printLabel(value: object): string {
  return "name" in value && typeof value.name === "string" ? value.name : value.constructor.name;
}

function quote(text: string): string {
  const escaped = Array.from(new TextEncoder().encode(text), (byte) => {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    return plain ? String.fromCharCode(byte) : `\\${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  });
  return `"${escaped.join("")}"`;
}
