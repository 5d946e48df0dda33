// A switch as ifs. Its cases are constants, each once; a ternary switch is where the intent "ternary accumulation" is
// recognised later, from the comparisons that are left here.

import { refuse } from "../diagnostics.ts";
import type { Expression, Statement } from "../syntax/ast.ts";

/** The statements that a switch stands for. Throws `ProblemError`. */
export function desugarSwitch(statement: Statement & { readonly kind: "switch" }): Statement[] {
  const { value, cases, span } = statement;
  requireDistinct(cases.flatMap((one) => one.values));
  // The value is read once, under a name that no program can have.
  const name = `switch ${span.start}`;
  const read: Statement = { kind: "declare", name, constant: true, value, span };
  const defaults = cases.find((one) => one.isDefault);
  let otherwise: readonly Statement[] = defaults?.body ?? [];
  for (const one of cases.toReversed()) {
    if (one.isDefault) continue;
    const tests = one.values.map((test): Expression => {
      const subject: Expression = { kind: "name", name, span: test.span };
      return { kind: "binary", operator: "===", a: subject, b: test, span: test.span };
    });
    const condition = tests.reduce((a, b) => ({ kind: "binary", operator: "||", a, b, span: one.span }));
    otherwise = [{ kind: "if", condition, then: one.body, else: otherwise, span: one.span }];
  }
  return [read, ...otherwise];
}

function requireDistinct(tests: readonly Expression[]): void {
  const seen = new Set<number>();
  for (const test of tests) {
    if (test.kind === "name") continue;
    if (test.kind !== "number") {
      refuse("FK017", test.span, "a case is a number or the name of a constant", {
        hint: "use if and else for other conditions",
      });
    }
    if (seen.has(test.value)) refuse("FK017", test.span, `the case ${test.value} occurs twice`);
    seen.add(test.value);
  }
}
