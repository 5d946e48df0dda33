// What a file says about its kernels: the functions handed to `kernel(...)`, and what they may refer to: constants,
// helper functions and type aliases of the same file. Everything else in the file is left alone.

import { ProblemError, refuse, SourceText } from "../diagnostics.ts";
import type { Problem, Span } from "../diagnostics.ts";
import type { Expression, FunctionSyntax, Parameter, TypeSyntax } from "./ast.ts";
import { child, children, identifierName, parseTypeScript, spanOf } from "./estree.ts";
import type { EstreeNode } from "./estree.ts";
import { describeNode, liftExpression } from "./lift_expression.ts";
import { liftStatements } from "./lift_statement.ts";
import { liftType } from "./lift_type.ts";

/** The module whose `kernel` marks a function, and whose types are those of kernels. */
export const KERNELS_MODULE = "@fidelity/alex/kernels";

/** A function of the source with what was wrong with it; that matters only when it is used. */
export interface ReadFunction {
  readonly syntax: FunctionSyntax;
  readonly problems: readonly Problem[];
  /** Where its text ends; the span of the syntax is that of its head. */
  readonly end: number;
}

/** One call of `kernel`. */
export interface KernelSite extends ReadFunction {
  readonly name: string;
  /** The types of the parameters as values, `kernel([t.vector(4)], (x) => ...)`, when given. */
  readonly types?: Expression;
  /** The whole call, and the function in it. */
  readonly callSpan: Span;
}

export interface KernelModule {
  readonly source: SourceText;
  readonly kernels: readonly KernelSite[];
  readonly constants: ReadonlyMap<string, Expression>;
  readonly helpers: ReadonlyMap<string, ReadFunction>;
  readonly aliases: ReadonlyMap<string, TypeSyntax>;
  /** What was wrong with the text as a whole; without it nothing else is known. */
  readonly problems: readonly Problem[];
  /** The ends of the statements and what the imports bind, for tools that change the text. */
  readonly importsEnd: number;
}

/** Reads a file. Never throws on any text. */
export function readModule(file: string, text: string): KernelModule {
  const source = new SourceText(file, text);
  const parsed = parseTypeScript(text);
  const constants = new Map<string, Expression>();
  const helpers = new Map<string, ReadFunction>();
  const aliases = new Map<string, TypeSyntax>();
  const kernels: KernelSite[] = [];
  const empty = { source, kernels, constants, helpers, aliases, importsEnd: 0 };
  if (parsed.program === undefined) return { ...empty, problems: parsed.problems };
  const body = children(parsed.program, "body");
  const mark = markName(body);
  const problems: Problem[] = [];
  let importsEnd = 0;
  for (const statement of body) {
    if (statement.type === "ImportDeclaration") importsEnd = statement.end;
    const node = child(statement, "declaration") ?? statement;
    if (node.type === "FunctionDeclaration") readHelper(node, helpers);
    else if (node.type === "TSTypeAliasDeclaration") readAlias(node, aliases);
    else if (node.type === "VariableDeclaration") {
      for (const declarator of children(node, "declarations")) {
        readDeclarator(declarator, node.kind === "const", mark, { constants, helpers, kernels });
      }
    } else if (node.type === "ExpressionStatement" || statement.type === "ExportDefaultDeclaration") {
      const site = readSite(child(node, "expression") ?? node, mark, undefined);
      if (site !== undefined) kernels.push(site);
    }
  }
  requireFreshNames(kernels, problems);
  return { source, kernels, constants, helpers, aliases, problems, importsEnd };
}

/** Reads the text of one function, as `toString()` gives it. */
export function readFunctionText(
  file: string,
  text: string,
): { readonly source: SourceText; readonly read?: ReadFunction; readonly problems: readonly Problem[] } {
  // A method or a class member is no expression; it is refused by the parser, with its place.
  const source = new SourceText(file, `(${text})`);
  const parsed = parseTypeScript(source.text);
  if (parsed.program === undefined) return { source, problems: parsed.problems };
  const statement = children(parsed.program, "body")[0];
  const node = statement === undefined ? undefined : child(statement, "expression");
  const read = node === undefined ? undefined : readFunction(node, "kernel");
  if (read !== undefined) return { source, read, problems: [] };
  const span = { start: 1, end: source.text.length - 1 };
  return { source, problems: [{ code: "FK021", span, message: "this is no function with a text of its own" }] };
}

/** What `kernel` is called in a file: its import may give it another name. */
function markName(body: readonly EstreeNode[]): string {
  for (const statement of body) {
    if (statement.type !== "ImportDeclaration") continue;
    const from = child(statement, "source")?.value;
    for (const specifier of children(statement, "specifiers")) {
      if (from === KERNELS_MODULE && identifierName(child(specifier, "imported")) === "kernel") {
        return identifierName(child(specifier, "local")) ?? "kernel";
      }
    }
  }
  return "kernel";
}

function readHelper(node: EstreeNode, helpers: Map<string, ReadFunction>): void {
  const name = identifierName(child(node, "id"));
  const read = name === undefined ? undefined : readFunction(node, name);
  if (name !== undefined && read !== undefined) helpers.set(name, read);
}

function readAlias(node: EstreeNode, aliases: Map<string, TypeSyntax>): void {
  const name = identifierName(child(node, "id"));
  const type = child(node, "typeAnnotation");
  if (name !== undefined && type !== undefined && child(node, "typeParameters") === undefined) {
    aliases.set(name, liftType(type));
  }
}

interface ModuleTables {
  readonly constants: Map<string, Expression>;
  readonly helpers: Map<string, ReadFunction>;
  readonly kernels: KernelSite[];
}

function readDeclarator(declarator: EstreeNode, constant: boolean, mark: string, tables: ModuleTables): void {
  const name = identifierName(child(declarator, "id"));
  const init = child(declarator, "init");
  if (name === undefined || init === undefined) return;
  const site = readSite(init, mark, name);
  if (site !== undefined) {
    tables.kernels.push(site);
    return;
  }
  if (!constant) return;
  const read = readFunction(init, name);
  if (read !== undefined) {
    tables.helpers.set(name, read);
    return;
  }
  try {
    tables.constants.set(name, liftExpression(init));
  } catch (error) {
    // A constant that kernels cannot use is no mistake; a kernel that uses it says that it does not know the name.
    if (!(error instanceof ProblemError)) throw error;
  }
}

/** `kernel(function name(...) {...})` or `kernel([types], (...) => {...}, captures)`. */
function readSite(node: EstreeNode, mark: string, variable: string | undefined): KernelSite | undefined {
  if (node.type !== "CallExpression" || identifierName(child(node, "callee")) !== mark) return undefined;
  const args = children(node, "arguments");
  const typed = args[0]?.type === "ArrayExpression";
  const fn = args[typed ? 1 : 0];
  if (fn === undefined) return undefined;
  const own = identifierName(child(fn, "id"));
  // The name of the function is what a program has in hand when it asks for the compiled kernel.
  const name = own ?? variable ?? "kernel";
  const read = readFunction(fn, name);
  if (read === undefined) return undefined;
  const site = { ...read, name, callSpan: spanOf(node) };
  if (!typed) return site;
  try {
    return { ...site, types: liftExpression(args[0]!) };
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    return { ...site, problems: [...site.problems, error.problem] };
  }
}

/** A function declaration, expression or arrow; undefined for anything else. */
function readFunction(node: EstreeNode, name: string): ReadFunction | undefined {
  if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) return undefined;
  const problems: Problem[] = [];
  const collect = <T>(read: () => T, otherwise: T): T => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      problems.push(error.problem);
      return otherwise;
    }
  };
  const body = child(node, "body");
  const head = { start: node.start, end: body?.start ?? node.end };
  if (node.async === true || node.generator === true) {
    problems.push({ code: "FK002", span: head, message: "kernels are neither async nor generators" });
  }
  const parameters = children(node, "params").map((param) =>
    collect(() => readParameter(param), { name: "", span: spanOf(param) }),
  );
  const returns = child(node, "returnType");
  const isBlock = body?.type === "BlockStatement";
  const statements =
    body === undefined || isBlock
      ? liftStatements(body === undefined ? [] : children(body, "body"), problems)
      : collect(() => [{ kind: "return" as const, value: liftExpression(body), span: spanOf(body) }], []);
  const syntax: FunctionSyntax = {
    name,
    parameters,
    ...(returns !== undefined && { returns: liftType(returns) }),
    body: statements,
    span: head,
  };
  return { syntax, problems, end: node.end };
}

function readParameter(node: EstreeNode): Parameter {
  const name = identifierName(node);
  if (name === undefined) {
    refuse("FK005", spanOf(node), `${describeNode(node)} cannot be a parameter of a kernel`, {
      hint: "name each parameter, without patterns, defaults or rest",
    });
  }
  const annotation = child(node, "typeAnnotation");
  return { name, ...(annotation !== undefined && { annotation: liftType(annotation) }), span: spanOf(node) };
}

function requireFreshNames(kernels: readonly KernelSite[], problems: Problem[]): void {
  const seen = new Set<string>();
  for (const { name, syntax } of kernels) {
    if (seen.has(name)) {
      problems.push({
        code: "FK026",
        span: syntax.span,
        message: `there are two kernels called ${name}`,
        hint: "give them different names: kernels are found by name",
      });
    }
    seen.add(name);
  }
}
