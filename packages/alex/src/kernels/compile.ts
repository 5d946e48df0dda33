// From the text of a file to compiled kernels: the road that the command, the build plugin and the run-time door share.
//
//   text -> syntax -> typed IR -> analysis -> graph -> program of the loop IR
//
// Each stage is kept, so that tools can show it beside the source.

import type { Graph, Program, Tensor, VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";

import { analyseKernel } from "./analysis/analyse.ts";
import type { KernelAnalysis } from "./analysis/analyse.ts";
import type { Intent } from "./analysis/intents.ts";
import { checkKernel } from "./check/check.ts";
import { typeOfSpec } from "./check/parameter_types.ts";
import type { ParameterType, TypeNames } from "./check/parameter_types.ts";
import { KernelError, ProblemError } from "./diagnostics.ts";
import type { Diagnostic, Problem, SourceText, Span } from "./diagnostics.ts";
import type { Arithmetic, KernelIr } from "./ir/kernel_ir.ts";
import type { Positions } from "./lower/lower.ts";
import { emitKernel, graphOfKernel, kernelOp, signatureOf } from "./op.ts";
import type { KernelSignature } from "./op.ts";
import type { Expression, FunctionSyntax } from "./syntax/ast.ts";
import type { KernelModule, ReadFunction } from "./syntax/module.ts";
import { readFunctionText, readModule } from "./syntax/module.ts";
import { tokensOf } from "./syntax/tokens.ts";
import type { Token } from "./syntax/tokens.ts";

/** How kernels are compiled. */
export interface KernelOptions {
  /**
   * `"f32"`, the default: arithmetic is float32 where no type says f64, as fast as the machine can. `"f64"`: arithmetic
   * is float64 and rounded where it is stored, which gives the bits that TypeScript gives.
   */
  readonly arithmetic?: Arithmetic;
  /** Sums in the order that is written: the same result as one by one, without vectors in reductions. */
  readonly strictSums?: boolean;
  /** Resolves types that cannot be read from the text; see `resolveTypes` in the Node door. */
  readonly resolveType?: (span: Span) => ParameterType | undefined;
}

/** One kernel, compiled as far as a device's own compiler takes over. */
export interface CompiledKernel {
  readonly name: string;
  readonly source: SourceText;
  /** The words of the kernel's text. */
  readonly tokens: readonly Token[];
  readonly ast: FunctionSyntax;
  readonly ir: KernelIr;
  readonly analysis: KernelAnalysis;
  readonly intents: readonly Intent[];
  readonly signature: KernelSignature;
  readonly graph: Graph;
  /** A call inside a traced model: `signature.results` for tensors of `signature.inputs`. It has no derivative. */
  apply(...tensors: readonly Tensor[]): readonly Tensor[];
  /** The program for a target with these vectors. */
  program(target?: VectorTarget): Program;
  /** Where the values of the program's kernels came from, by the name of the kernel and the id of the value. */
  readonly positions: Positions;
}

/** All kernels of a text, and what is wrong with those that are missing. */
export interface KernelCompilation {
  readonly module: KernelModule;
  readonly kernels: readonly CompiledKernel[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Compiles every kernel of a file. Never throws on any text: what is wrong is in `diagnostics`. */
export function compileKernelSource(
  text: string,
  options: KernelOptions & { readonly file?: string } = {},
): KernelCompilation {
  const module = readModule(options.file ?? "kernels.ts", text);
  const { source } = module;
  const diagnostics: Diagnostic[] = module.problems.map((problem) => source.place(problem));
  const kernels: CompiledKernel[] = [];
  const names = typeNames(module, options);
  for (const site of module.kernels) {
    const types = typesOfSpecs(site.types, names, diagnostics, source);
    const compiled =
      types === "refused" ? [] : compileOne({ read: site, module, names, types, options, name: site.name });
    if (Array.isArray(compiled)) diagnostics.push(...compiled);
    else kernels.push(compiled);
  }
  return { module, kernels, diagnostics };
}

/** What a kernel of a run-time door is compiled from. */
export interface FunctionInput {
  readonly name: string;
  readonly text: string;
  readonly types: readonly ParameterType[];
  /** Numbers and functions from outside that the kernel uses. */
  readonly constants: ReadonlyMap<string, number | boolean>;
  readonly helpers: ReadonlyMap<string, string>;
}

/** Compiles one function from its own text. Throws `KernelError`. */
export function compileFunction(input: FunctionInput, options: KernelOptions = {}): CompiledKernel {
  const file = `${input.name} (at run time)`;
  const { source, read, problems } = readFunctionText(file, input.text);
  if (read === undefined) throw new KernelError(problems.map((problem) => source.place(problem)));
  const span = read.syntax.span;
  const constants = new Map<string, Expression>();
  for (const [name, value] of input.constants) {
    constants.set(name, typeof value === "number" ? { kind: "number", value, span } : { kind: "boolean", value, span });
  }
  const helpers = new Map<string, ReadFunction>();
  for (const [name, text] of input.helpers) helpers.set(name, helperOf(name, text, span));
  const module = { source, constants, helpers, aliases: new Map<string, never>() };
  const names = typeNames(module, options);
  if (input.types.length !== read.syntax.parameters.length) {
    const problem: Problem = {
      code: "FK016",
      span,
      message: `${input.name} takes ${read.syntax.parameters.length} parameters`,
      got: `${input.types.length} types`,
    };
    throw new KernelError([source.place(problem)]);
  }
  const named = { ...read, syntax: { ...read.syntax, name: input.name } };
  const compiled = compileOne({ read: named, module, names, types: input.types, options, name: input.name });
  if (Array.isArray(compiled)) throw new KernelError(compiled);
  return compiled;
}

/** A helper's text is another text than the kernel's, so its places are those of the kernel. */
function helperOf(name: string, text: string, span: Span): ReadFunction {
  const { read, problems } = readFunctionText(name, text);
  const moved = (problem: Problem): Problem => ({ ...problem, span });
  if (read !== undefined)
    return { ...read, syntax: { ...read.syntax, name, span }, problems: read.problems.map(moved) };
  return { syntax: { name, parameters: [], body: [], span }, problems: problems.map(moved), end: span.end };
}

type ModuleTables = Pick<KernelModule, "source" | "constants" | "helpers" | "aliases">;

function typeNames(
  { constants, aliases }: Pick<ModuleTables, "constants" | "aliases">,
  options: KernelOptions,
): TypeNames {
  const { resolveType } = options;
  return {
    alias: (name) => aliases.get(name),
    constant: (name) => wholeValue(name, constants, 0),
    ...(resolveType !== undefined && { resolve: resolveType }),
  };
}

const CONSTANT_DEPTH_MAX = 16;

/** The value of a constant of the file: a number, or products and sums of such constants. */
function wholeValue(name: string, constants: ReadonlyMap<string, Expression>, depth: number): number | undefined {
  const evaluate = (expr: Expression | undefined, level: number): number | undefined => {
    if (expr === undefined || level > CONSTANT_DEPTH_MAX) return undefined;
    if (expr.kind === "number") return expr.value;
    if (expr.kind === "name") return evaluate(constants.get(expr.name), level + 1);
    if (expr.kind !== "binary") return undefined;
    const [a, b] = [evaluate(expr.a, level + 1), evaluate(expr.b, level + 1)];
    if (a === undefined || b === undefined) return undefined;
    if (expr.operator === "+") return a + b;
    if (expr.operator === "-") return a - b;
    if (expr.operator === "*") return a * b;
    return expr.operator === "/" ? a / b : undefined;
  };
  return evaluate(constants.get(name), depth);
}

function typesOfSpecs(
  specs: Expression | undefined,
  names: TypeNames,
  diagnostics: Diagnostic[],
  source: SourceText,
): readonly ParameterType[] | undefined | "refused" {
  if (specs?.kind !== "list") return undefined;
  try {
    return specs.items.map((item) => typeOfSpec(item, names));
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    diagnostics.push(source.place(error.problem));
    return "refused";
  }
}

interface OneInput {
  readonly name: string;
  readonly read: ReadFunction;
  readonly module: ModuleTables;
  readonly names: TypeNames;
  readonly types: readonly ParameterType[] | undefined;
  readonly options: KernelOptions;
}

/** One kernel, or what is wrong with it. */
function compileOne({ name, read, module, names, types, options }: OneInput): CompiledKernel | Diagnostic[] {
  const { source, constants, helpers } = module;
  const place = (problems: readonly Problem[]): Diagnostic[] => problems.map((problem) => source.place(problem));
  const { arithmetic = "f32", strictSums = false } = options;
  const checked = checkKernel({ read, constants, helpers, names, arithmetic, ...(types !== undefined && { types }) });
  if (checked.ir === undefined) return place(checked.problems);
  const ir: KernelIr = { ...checked.ir, name };
  const analysis = analyseKernel(ir, { strictSums });
  if (analysis.problems.length > 0) return place(analysis.problems);
  const positions: Positions = new Map();
  const op = kernelOp(analysis, positions);
  const graph = graphOfKernel(op, analysis);
  const signature = signatureOf(analysis);
  return {
    name,
    source,
    tokens: tokensOf(source.text, wholeSpan(read)),
    ast: read.syntax,
    ir,
    analysis,
    intents: analysis.intents,
    signature,
    graph,
    positions,
    apply: (...tensors) => emitKernel(op, analysis, tensors),
    program: (target = { lanes: 4, joinsVectors: false }) =>
      compileGraph(graph, { target, name, donations: signature.donations, verify: true }),
  };
}

/** The text of a whole function. */
function wholeSpan({ syntax, end }: ReadFunction): Span {
  return { start: syntax.span.start, end };
}
