// cond: one of two functions, by a truth value that is known at run time.
//
// Inputs [predicate, operands...]; both branches are closed graphs over the operands, with results of the same types.
// The reference runs the branch that is taken. Compiled programs run both and select: a schedule has no branches, and
// what a branch costs is known when it is written. The derivative is a cond of derivatives, in which cotangents pass
// through the branch that was taken only, so that an infinite slope of the other one does no harm.

import { closeTogether } from "../derive/close.ts";
import { linearize, tangentType } from "../derive/linearize.ts";
import { transpose } from "../derive/transpose.ts";
import { isPacked, isStorageOnly } from "../dtype.ts";
import type { Graph, Node, Tensor, TensorType } from "../graph.ts";
import { emit, emitOne, formatType, inline, sameType } from "../graph.ts";
import { interpret } from "../interpreter.ts";
import type { MaybeTensor, OpDef } from "../op.ts";
import { requireShape } from "../op.ts";
import { isTensor, parameter, trace } from "../trace.ts";
import { flattenTree, mapTree, TreeMismatchError } from "../tree.ts";
import { broadcastTo } from "./broadcast.ts";
import { mul } from "./mul.ts";
import { keepCarries } from "./scan_derivative.ts";
import { selectOp } from "./select.ts";
import { sin } from "./sin.ts";
import { zerosLike } from "./splat.ts";

export type CondAttrs = { readonly onTrue: Graph; readonly onFalse: Graph };

export const condOp: OpDef<CondAttrs> = {
  name: "cond",
  summary: "y = onTrue(x) if predicate, else onFalse(x)",
  infer(inputs, { onTrue, onFalse }) {
    const [predicate, ...operands] = inputs;
    const isTruth = predicate?.dtype === "bool" && predicate.shape.length === 0;
    requireShape(isTruth, "cond", "the predicate is not a bool scalar", inputs);
    for (const { parameters, name } of [onTrue, onFalse]) {
      const fits =
        operands.length === parameters.length && operands.every((type, i) => sameType(type, parameters[i]!.type));
      requireShape(fits, "cond", `${name} takes ${parameters.map(({ type }) => formatType(type)).join(", ")}`, inputs);
    }
    onTrue.results.forEach(({ type }, i) => {
      const other = onFalse.results[i]?.type;
      const fits = onTrue.results.length === onFalse.results.length && other !== undefined && sameType(type, other);
      requireShape(fits, "cond", `the branches give ${formatType(type)} and ${other && formatType(other)}`, inputs);
      const selects = !isPacked(type.dtype) && !isStorageOnly(type.dtype);
      requireShape(selects, "cond", `cannot give ${type.dtype}`, inputs, "cast it after the cond");
    });
    return onTrue.results.map(({ type }) => type);
  },
  evaluate: ([predicate, ...operands], { onTrue, onFalse }) =>
    interpret(predicate!.data[0] === 0 ? onFalse : onTrue, operands),
  derivative: { kind: "rules", jvp: condJvp, transpose: condTranspose },
  lowering: {
    kind: "expand",
    expand([predicate, ...operands], { onTrue, onFalse }) {
      const no = inline(onFalse, operands);
      return inline(onTrue, operands).map((yes, i) => {
        return emitOne(selectOp, [broadcastTo(predicate!, yes.shape), yes, no[i]!], {});
      });
    },
  },
  sample(draw) {
    const type: TensorType = { dtype: "f32", shape: [draw.int(1, 5)] };
    const { graph: onTrue } = trace("on_true", (x: Tensor, y: Tensor) => [mul(x, sin(y)), y], [type, type]);
    const { graph: onFalse } = trace("on_false", (x: Tensor, y: Tensor) => [mul(y, y), x], [type, type]);
    return { inputs: [{ dtype: "bool", shape: [] }, type, type], attrs: { onTrue, onFalse } };
  },
};

function condJvp(node: Node, tangents: readonly MaybeTensor[], { onTrue, onFalse }: CondAttrs): readonly MaybeTensor[] {
  const active = tangents.flatMap((tangent, i) => (tangent === undefined ? [] : [i]));
  const sides = [onTrue, onFalse].map((branch) => {
    const given = active.map((i) => parameter("tangent", tangents[i]!.type));
    const wrt = branch.parameters.map((_operand, i) => given[active.indexOf(i + 1)]);
    const roots = keepCarries(branch.results, branch.parameters);
    return { branch, given, derivatives: linearize(roots, branch.parameters, wrt) };
  });
  const live = onTrue.results.flatMap((_result, i) => (sides.some(({ derivatives }) => derivatives[i]) ? [i] : []));
  const [yes, no] = sides.map(({ branch, given, derivatives }): Graph => ({
    name: `${branch.name}_jvp`,
    parameters: [...branch.parameters, ...given],
    results: live.map((i) => derivatives[i] ?? tangentZeros(branch.results[i]!)),
  }));
  const operands = [...node.inputs, ...active.map((i) => tangents[i]!)];
  const emitted = live.length === 0 ? [] : emit(condOp, operands, { onTrue: yes!, onFalse: no! });
  return node.results.map((_result, i) => (live.includes(i) ? emitted[live.indexOf(i)] : undefined));
}

function tangentZeros(of: Tensor): Tensor {
  return zerosLike(of, tangentType(of.type)!.dtype);
}

function condTranspose(
  node: Node,
  cotangents: readonly MaybeTensor[],
  linear: readonly boolean[],
  { onTrue, onFalse }: CondAttrs,
): readonly MaybeTensor[] {
  const operands = node.inputs.slice(1);
  const indices = operands.flatMap((_operand, i) => (linear[i + 1] ? [i] : []));
  const fixed = operands.flatMap((_operand, i) => (linear[i + 1] ? [] : [i]));
  const received = cotangents.flatMap((cotangent, i) => (cotangent === undefined ? [] : [i]));
  const sides = [onTrue, onFalse].map((branch) => {
    const given = received.map((i) => parameter("cotangent", cotangents[i]!.type));
    const wrt = indices.map((i) => branch.parameters[i]!);
    const handed = transpose(
      branch.results,
      wrt,
      branch.results.map((_result, i) => given[received.indexOf(i)]),
    );
    return { branch, given, handed };
  });
  const live = indices.flatMap((_index, at) => (sides.some(({ handed }) => handed[at]) ? [at] : []));
  const [yes, no] = sides.map(({ branch, given, handed }): Graph => ({
    name: `${branch.name}_transpose`,
    parameters: [...fixed.map((i) => branch.parameters[i]!), ...given],
    results: live.map((at) => handed[at] ?? zerosLike(operands[indices[at]!]!)),
  }));
  const inputs = [node.inputs[0]!, ...fixed.map((i) => operands[i]!), ...received.map((i) => cotangents[i]!)];
  const emitted = live.length === 0 ? [] : emit(condOp, inputs, { onTrue: yes!, onFalse: no! });
  return node.inputs.map((_input, i) => {
    const at = live.indexOf(indices.indexOf(i - 1));
    return at < 0 || i === 0 ? undefined : emitted[at];
  });
}

/**
 * `onTrue(...args)` where the bool scalar `predicate` holds, else `onFalse(...args)`. Both give trees of the same
 * structure and types. They may use tensors from outside; what they compute without `args` is computed in any case, and
 * compiled programs compute all of both. Throws `TreeMismatchError`, naming the leaf, where the results differ.
 */
export function cond<A extends readonly unknown[], R>(
  predicate: Tensor<readonly [], "bool">,
  onTrue: (...args: A) => R,
  onFalse: (...args: A) => R,
  ...args: A
): R {
  const operands = flattenTree(args, isTensor).map(({ leaf }) => leaf);
  const sides = [onTrue, onFalse].map((branch, i) => {
    const parameters = operands.map(({ type }) => parameter("operand", type));
    let next = 0;
    const tree = branch(...(mapTree(args, isTensor, () => parameters[next++]!) as unknown as A));
    const leaves = flattenTree(tree, isTensor);
    return {
      name: i === 0 ? "on_true" : "on_false",
      parameters,
      tree,
      leaves,
      results: leaves.map(({ leaf }) => leaf),
    };
  });
  const [yes, no] = sides;
  for (let i = 0; i < Math.max(yes!.leaves.length, no!.leaves.length); i++) {
    const [a, b] = [yes!.leaves[i], no!.leaves[i]];
    if (a !== undefined && b !== undefined && a.path === b.path && sameType(a.leaf.type, b.leaf.type)) continue;
    throw new TreeMismatchError("cond: the branches give different results", {
      where: (a ?? b)!.path || "the result",
      expected: a === undefined ? "no leaf" : `${a.path} ${formatType(a.leaf.type)}`.trim(),
      got: b === undefined ? "no leaf" : `${b.path} ${formatType(b.leaf.type)}`.trim(),
    });
  }
  const { graphs, constants } = closeTogether(sides);
  const attrs: CondAttrs = { onTrue: graphs[0]!, onFalse: graphs[1]! };
  const emitted = emit(condOp, [predicate, ...constants, ...operands], attrs);
  let next = 0;
  return mapTree(yes!.tree, isTensor, () => emitted[next++]!) as R;
}
