// Structured control flow: break, continue and early return become flags and branches, so that every statement is
// reached by nesting alone, as the loop IR wants it. `if (c) { A; continue; } B` becomes `if (c) { A } else { B }` with
// no flag at all. A loop that may break runs its remaining iterations with an empty body: it has a bound, and keeps it.

import { refuse } from "../diagnostics.ts";
import type { Span } from "../diagnostics.ts";
import type { Expression, Statement } from "../syntax/ast.ts";

/** Flags have names that no program can have. */
interface Flags {
  readonly count: { value: number };
  readonly continueFlag?: string;
  readonly breakFlag?: string;
  readonly returnFlag: string;
  /** Inside a switch of the innermost loop or function, where `break` means the switch. */
  readonly inSwitch: boolean;
  /** What comes after an exit nests one deeper. */
  readonly depth: number;
}

const DEPTH_MAX = 200;

interface Rewritten {
  readonly body: Statement[];
  /** Flags that the body may set. */
  readonly sets: ReadonlySet<string>;
}

/** A kernel's body without exits. A `return` with a value may stand at its end only, and stays there. */
export function withoutExits(body: readonly Statement[]): Statement[] {
  const flags: Flags = { count: { value: 0 }, returnFlag: "return 0", inSwitch: false, depth: 0 };
  const last = body.at(-1);
  const value = last?.kind === "return" && last.value !== undefined ? last : undefined;
  const rewritten = rewrite(value === undefined ? body : body.slice(0, -1), flags, value === undefined);
  const isFlagged = rewritten.sets.has(flags.returnFlag);
  if (value !== undefined && isFlagged) {
    refuse("FK023", value.span, "a kernel that returns a number returns it once, at its end", {
      hint: "assign the number to a variable and return that",
    });
  }
  const start = isFlagged ? [declareFlag(flags.returnFlag, body[0]!.span)] : [];
  return [...start, ...rewritten.body, ...(value === undefined ? [] : [value])];
}

/** `tail`: nothing of the loop's iteration (or of the function) comes after this list. */
function rewrite(statements: readonly Statement[], around: Flags, tail: boolean): Rewritten {
  const flags = { ...around, depth: around.depth + 1 };
  const [first] = statements;
  if (flags.depth > DEPTH_MAX && first !== undefined) {
    refuse("FK020", first.span, "there are too many early exits one after the other", { hint: "split the kernel" });
  }
  const body: Statement[] = [];
  const sets = new Set<string>();
  for (const [i, statement] of statements.entries()) {
    const rest = statements.slice(i + 1);
    const joined = tail && statement.kind === "if" ? joinRest(statement, rest, flags) : undefined;
    const one = rewriteOne(joined ?? statement, flags, tail && (joined !== undefined || rest.length === 0));
    body.push(...one.body);
    one.sets.forEach((flag) => sets.add(flag));
    if (joined !== undefined || isExit(statement)) return { body, sets };
    if (one.sets.size > 0 && rest.length > 0) {
      const after = rewrite(rest, flags, tail);
      after.sets.forEach((flag) => sets.add(flag));
      body.push({
        kind: "if",
        condition: noneOf(one.sets, statement.span),
        then: after.body,
        else: [],
        span: statement.span,
      });
      return { body, sets };
    }
  }
  return { body, sets };
}

function isExit(statement: Statement): boolean {
  return statement.kind === "break" || statement.kind === "continue" || statement.kind === "return";
}

/** `if (c) { ...; continue; } rest` with the rest moved to the other branch, when the exit then ends what is left. */
function joinRest(
  statement: Statement & { readonly kind: "if" },
  rest: readonly Statement[],
  flags: Flags,
): (Statement & { readonly kind: "if" }) | undefined {
  const ends = (branch: readonly Statement[]): boolean => {
    const last = branch.at(-1);
    if (last?.kind === "return") return flags.continueFlag === undefined && last.value === undefined;
    return last?.kind === "continue" && flags.continueFlag !== undefined;
  };
  if (rest.length === 0) return undefined;
  if (ends(statement.then)) {
    return { ...statement, then: statement.then.slice(0, -1), else: [...scoped(statement.else), ...rest] };
  }
  if (ends(statement.else)) {
    return { ...statement, then: [...scoped(statement.then), ...rest], else: statement.else.slice(0, -1) };
  }
  return undefined;
}

/** A branch as a block, so that its names do not meet those of what is put behind it. */
function scoped(branch: readonly Statement[]): Statement[] {
  const [first] = branch;
  return first === undefined ? [] : [{ kind: "block", body: branch, span: first.span }];
}

function rewriteOne(statement: Statement, flags: Flags, tail: boolean): Rewritten {
  switch (statement.kind) {
    case "declare":
    case "assign":
      return { body: [statement], sets: new Set() };
    case "block": {
      const inner = rewrite(statement.body, flags, tail);
      return { body: [{ ...statement, body: inner.body }], sets: inner.sets };
    }
    case "if": {
      const [then, otherwise] = [rewrite(statement.then, flags, tail), rewrite(statement.else, flags, tail)];
      return {
        body: [{ ...statement, then: then.body, else: otherwise.body }],
        sets: new Set([...then.sets, ...otherwise.sets]),
      };
    }
    case "switch": {
      const cases = statement.cases.map((one) => rewrite(one.body, { ...flags, inSwitch: true }, tail));
      return {
        body: [{ ...statement, cases: statement.cases.map((one, i) => ({ ...one, body: cases[i]!.body })) }],
        sets: new Set(cases.flatMap((one) => [...one.sets])),
      };
    }
    case "for":
      return rewriteLoop(statement, flags);
    case "continue":
    case "break":
    case "return":
      return rewriteExit(statement, flags, tail);
  }
}

function rewriteExit(
  statement: Statement & { readonly kind: "break" | "continue" | "return" },
  flags: Flags,
  tail: boolean,
): Rewritten {
  const { span, kind } = statement;
  if (kind === "return" && statement.value !== undefined) {
    refuse("FK023", span, "a kernel that returns a number returns it once, at its end", {
      hint: "assign the number to a variable and return that",
    });
  }
  if (kind === "break" && flags.inSwitch) {
    refuse("FK017", span, "a break inside a case stands at its end", { hint: "use if and else inside the case" });
  }
  const flag = kind === "return" ? flags.returnFlag : kind === "break" ? flags.breakFlag : flags.continueFlag;
  if (flag === undefined) refuse("FK002", span, `${kind} stands in a loop`);
  // Leaving what ends here anyway needs no flag.
  if (tail && (kind === "continue" || (kind === "return" && flags.continueFlag === undefined))) {
    return { body: [], sets: new Set() };
  }
  return { body: [setFlag(flag, span)], sets: new Set([flag]) };
}

function rewriteLoop(loop: Statement & { readonly kind: "for" }, flags: Flags): Rewritten {
  const number = ++flags.count.value;
  const inner: Flags = {
    ...flags,
    continueFlag: `continue ${number}`,
    breakFlag: `break ${number}`,
    inSwitch: false,
  };
  const { condition, ...plain } = loop;
  const body =
    condition === undefined
      ? loop.body
      : [{ kind: "if" as const, condition, then: loop.body, else: [exitOf(loop)], span: condition.span }];
  const rewritten = rewrite(body, inner, true);
  const { span } = loop;
  const start = rewritten.sets.has(inner.continueFlag!) ? [declareFlag(inner.continueFlag!, span)] : [];
  const leaves = [inner.breakFlag!, flags.returnFlag].filter((flag) => rewritten.sets.has(flag));
  let newBody: Statement[] = [...start, ...rewritten.body];
  if (leaves.length > 0)
    newBody = [{ kind: "if", condition: noneOf(new Set(leaves), span), then: newBody, else: [], span }];
  const before = rewritten.sets.has(inner.breakFlag!) ? [declareFlag(inner.breakFlag!, span)] : [];
  const sets = new Set([flags.returnFlag].filter((flag) => rewritten.sets.has(flag)));
  return { body: [...before, { ...plain, body: newBody }], sets };
}

function exitOf(loop: Statement): Statement {
  return { kind: "break", span: loop.span };
}

function declareFlag(name: string, span: Span): Statement {
  return { kind: "declare", name, constant: false, value: { kind: "boolean", value: false, span }, span };
}

function setFlag(name: string, span: Span): Statement {
  return { kind: "assign", target: { kind: "name", name, span }, value: { kind: "boolean", value: true, span }, span };
}

function noneOf(flags: ReadonlySet<string>, span: Span): Expression {
  const none = [...flags].map((name): Expression => {
    return { kind: "unary", operator: "!", a: { kind: "name", name, span }, span };
  });
  return none.reduce((a, b) => ({ kind: "binary", operator: "&&", a, b, span }));
}
