// Batching of ops that hold graphs or rules of their author's: what is inside is batched, and the op stays.

import type { Node, Tensor } from "../graph.ts";
import { emit } from "../graph.ts";
import type { CheckpointAttrs } from "../ops/checkpoint.ts";
import { checkpointOp } from "../ops/checkpoint.ts";
import type { CustomRule, CustomVjpAttrs } from "../ops/custom_vjp.ts";
import { customVjpOp } from "../ops/custom_vjp.ts";
import { reduceSum } from "../ops/reduce_sum.ts";
import type { ScanAttrs } from "../ops/scan.ts";
import { scanOp } from "../ops/scan.ts";
import { isTensor, parameter } from "../trace.ts";
import { flattenTree, mapTree } from "../tree.ts";
import type { Batched } from "./batch.ts";
import { asBatched, batchGraph, batchTensors, everyExample, moveAxis } from "./batch.ts";

/** One loop over the steps of all examples. A carry holds examples if any step gives it some. */
export function batchScan(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const attrs = node.attrs as ScanAttrs;
  const { constants, carries } = attrs;
  const isBatched = inputs.map(({ batched }) => batched);
  let body = batchGraph(attrs.body, isBatched, size, (i) => i < carries && isBatched[constants + i]!);
  for (;;) {
    // A carry that turns batched may turn others batched; there are at most as many rounds as carries.
    const grown = body.isBatched.flatMap((batched, i) =>
      i < carries && batched && !isBatched[constants + i] ? [i] : [],
    );
    if (grown.length === 0) break;
    for (const i of grown) isBatched[constants + i] = true;
    body = batchGraph(attrs.body, isBatched, size, (i) => i < carries && isBatched[constants + i]!);
  }
  const operands = inputs.map((input, i) => {
    if (!isBatched[i]) return input.value;
    const value = everyExample([input], size)[0]!;
    return i < constants + carries ? value : moveAxis(value, 0, 1);
  });
  return emit(scanOp, operands, { ...attrs, body: body.graph }).map((value, i) => {
    const batched = body.isBatched[i]!;
    return { value: batched && i >= carries ? moveAxis(value, 1, 0) : value, batched };
  });
}

/** A checkpoint of the body over all examples. */
export function batchCheckpoint(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const attrs = node.attrs as CheckpointAttrs;
  const body = batchGraph(
    attrs.body,
    inputs.map(({ batched }) => batched),
    size,
    () => false,
  );
  const operands = inputs.map(({ value }) => value);
  const results = emit(checkpointOp, operands, { ...attrs, body: body.graph });
  return results.map((value, i) => ({ value, batched: body.isBatched[i]! }));
}

/** The tree with its leaves, in order, replaced. */
function refill(tree: unknown, leaves: readonly Tensor[]): unknown {
  let next = 0;
  return mapTree(tree, isTensor, () => leaves[next++]!);
}

function leavesOf(tree: unknown): Tensor[] {
  return flattenTree(tree, isTensor).map(({ leaf }) => leaf);
}

function withExamples(leaf: Tensor, size: number): Tensor {
  return parameter("examples", { dtype: leaf.dtype, shape: [size, ...leaf.shape] });
}

function oneExample(leaf: Tensor): Tensor {
  return parameter("example", { dtype: leaf.dtype, shape: leaf.shape.slice(1) });
}

/** The function over all examples, with the author's rules over all examples. */
export function batchCustomVjp(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const { body, rule } = node.attrs as CustomVjpAttrs;
  const isBatched = inputs.map(({ batched }) => batched);
  const { graph } = batchGraph(body, isBatched, size, () => true);
  const attrs: CustomVjpAttrs = { body: graph, rule: batchRule(rule, isBatched, size) };
  const operands = inputs.map(({ value }) => value);
  return asBatched(emit(customVjpOp, operands, attrs));
}

function batchRule(rule: CustomRule, isBatched: readonly boolean[], size: number): CustomRule {
  const argLeaves = leavesOf(rule.args);
  const many = argLeaves.map((leaf, i) => (isBatched[i] ? withExamples(leaf, size) : leaf));
  return {
    name: rule.name,
    args: refill(rule.args, many) as readonly unknown[],
    value: refill(
      rule.value,
      leavesOf(rule.value).map((leaf) => withExamples(leaf, size)),
    ),
    forward(...args) {
      const examples = new Map<Tensor, Tensor>();
      const given = leavesOf(args).map((leaf, i) => {
        if (!isBatched[i]) return leaf;
        const one = oneExample(leaf);
        examples.set(one, leaf);
        return one;
      });
      const { value, residuals } = rule.forward(...(refill(rule.args, given) as readonly unknown[]));
      const all = everyExample(batchTensors([...leavesOf(value), ...leavesOf(residuals)], examples, size), size);
      const count = leavesOf(value).length;
      return { value: refill(value, all.slice(0, count)), residuals: refill(residuals, all.slice(count)) };
    },
    backward(residuals, cotangents) {
      const examples = new Map<Tensor, Tensor>();
      const open = (tree: unknown): unknown =>
        mapTree(tree, isTensor, (leaf) => {
          const one = oneExample(leaf);
          examples.set(one, leaf);
          return one;
        });
      const answer = rule.backward(open(residuals), open(cotangents));
      if (!Array.isArray(answer)) return answer;
      let next = 0;
      return answer.map((tree: unknown, i) => {
        const marks = leavesOf(rule.args[i]).map(() => isBatched[next++]!);
        if (tree === undefined) return undefined;
        const all = everyExample(batchTensors(leavesOf(tree), examples, size), size);
        // What all examples share gets the sum of their cotangents.
        return refill(
          tree,
          all.map((leaf, at) => (marks[at] ? leaf : reduceSum(leaf, [0]))),
        );
      });
    },
  };
}
