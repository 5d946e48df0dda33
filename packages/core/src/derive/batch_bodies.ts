// Batching of ops that hold graphs or rules of their author's: what is inside is batched, and the op stays.

import type { Graph, Node, Tensor } from "../graph.ts";
import { emit, emitOne, inline } from "../graph.ts";
import { broadcastTo } from "../ops/broadcast.ts";
import { cast } from "../ops/cast.ts";
import type { CheckpointAttrs } from "../ops/checkpoint.ts";
import { checkpointOp } from "../ops/checkpoint.ts";
import type { CondAttrs } from "../ops/cond.ts";
import { condOp } from "../ops/cond.ts";
import type { CustomJvpAttrs } from "../ops/custom_jvp.ts";
import { customJvpOp } from "../ops/custom_jvp.ts";
import type { CustomRule, CustomVjpAttrs, JvpRule } from "../ops/custom_vjp.ts";
import { customVjpOp } from "../ops/custom_vjp.ts";
import { lt } from "../ops/lt.ts";
import { reduceMax } from "../ops/reduce_max.ts";
import { reduceSum } from "../ops/reduce_sum.ts";
import { reshape } from "../ops/reshape.ts";
import type { ScanAttrs } from "../ops/scan.ts";
import { scanOp, withoutLimit } from "../ops/scan.ts";
import { selectOp } from "../ops/select.ts";
import type { WhileLoopAttrs } from "../ops/while_loop.ts";
import { whileLoopOp } from "../ops/while_loop.ts";
import { isTensor, parameter } from "../trace.ts";
import { flattenTree, mapTree } from "../tree.ts";
import type { Batched, BatchedGraph } from "./batch.ts";
import { asBatched, batchGraph, batchTensors, everyExample, moveAxis } from "./batch.ts";
import { expandNode } from "./linearize.ts";

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
  // Examples that stop after different numbers of steps all take the most, and keep their carries.
  if (attrs.limited && isBatched[constants]) {
    const all = withoutLimit(attrs);
    const open = emit(scanOp, [...node.inputs, all.indices], all.attrs)[0]!.node;
    return batchScan([...inputs, { value: all.indices, batched: false }], size, open);
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

/** With one predicate for all examples both branches are batched; with one an example, results are selected. */
export function batchCond(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const attrs = node.attrs as CondAttrs;
  const isBatched = inputs.map(({ batched }) => batched);
  const values = inputs.map(({ value }) => value);
  if (isBatched[0]) {
    const parameters = node.inputs.map(({ type }) => parameter("operand", type));
    const expansion: Graph = { name: "cond", parameters, results: expandNode(node, parameters) };
    return asBatched(inline(batchGraph(expansion, isBatched, size, () => true).graph, values));
  }
  const marks = isBatched.slice(1);
  const [yes, no] = [attrs.onTrue, attrs.onFalse].map((branch) => batchGraph(branch, marks, size, () => true).graph);
  return asBatched(emit(condOp, values, { onTrue: yes!, onFalse: no! }));
}

/** Steps for all examples while the condition holds for one; an example whose condition fails keeps its carry. */
export function batchWhile(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const attrs = node.attrs as WhileLoopAttrs;
  const { constants } = attrs;
  const isBatched = inputs.map(({ batched }) => batched);
  const over = (graph: Graph): BatchedGraph => batchGraph(graph, isBatched, size, () => false);
  let [test, body] = [over(attrs.condition), over(attrs.body)];
  for (;;) {
    // A carry that turns batched may turn others batched; there are at most as many rounds as carries.
    const grown = body.isBatched.flatMap((batched, i) => {
      return (batched || test.isBatched[0]!) && !isBatched[constants + i] ? [i] : [];
    });
    if (grown.length === 0) break;
    for (const i of grown) isBatched[constants + i] = true;
    [test, body] = [over(attrs.condition), over(attrs.body)];
  }
  const step = batchGraph(attrs.body, isBatched, size, (i) => isBatched[constants + i]!).graph;
  const operands = inputs.map((input, i) => (isBatched[i] ? everyExample([input], size)[0]! : input.value));
  const graphs = test.isBatched[0] ? whileAnyHolds(test.graph, step, constants) : { condition: test.graph, body: step };
  return emit(whileLoopOp, operands, { ...attrs, ...graphs }).map((value, i) => ({
    value,
    batched: isBatched[constants + i]!,
  }));
}

/** Every carry holds examples here, since the condition does. */
function whileAnyHolds(test: Graph, step: Graph, constants: number): { condition: Graph; body: Graph } {
  const holds = inline(test, step.parameters)[0]!;
  const results = step.results.map((next, i) => {
    const mask = broadcastTo(reshape(holds, [...holds.shape, ...Array<number>(next.rank - 1).fill(1)]), next.shape);
    return emitOne(selectOp, [mask, next, step.parameters[constants + i]!], {});
  });
  const any = lt(0, reduceMax(cast(test.results[0]!, "f32")) as never) as Tensor;
  return { condition: { ...test, results: [any] }, body: { ...step, results } };
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

/** The function over all examples, with the author's forward rule over all examples. */
export function batchCustomJvp(inputs: readonly Batched[], size: number, node: Node): readonly Batched[] {
  const { body, rule } = node.attrs as CustomJvpAttrs;
  const isBatched = inputs.map(({ batched }) => batched);
  const { graph } = batchGraph(body, isBatched, size, () => true);
  const attrs: CustomJvpAttrs = {
    body: graph,
    rule: { ...batchCall(rule, isBatched, size), name: rule.name, jvp: batchJvpRule(rule.jvp, isBatched, size) },
  };
  return asBatched(
    emit(
      customJvpOp,
      inputs.map(({ value }) => value),
      attrs,
    ),
  );
}

/** Arguments and value of a call over all examples. */
function batchCall(
  { args, value }: { readonly args: readonly unknown[]; readonly value: unknown },
  isBatched: readonly boolean[],
  size: number,
): { args: readonly unknown[]; value: unknown } {
  const many = leavesOf(args).map((leaf, i) => (isBatched[i] ? withExamples(leaf, size) : leaf));
  const values = leavesOf(value).map((leaf) => withExamples(leaf, size));
  return { args: refill(args, many) as readonly unknown[], value: refill(value, values) };
}

/** A tree with one example in place of each marked leaf; `examples` learns what they stand for. */
function openExamples(tree: unknown, isMarked: (leaf: number) => boolean, examples: Map<Tensor, Tensor>): unknown {
  const opened = leavesOf(tree).map((leaf, i) => {
    if (!isMarked(i)) return leaf;
    const one = oneExample(leaf);
    examples.set(one, leaf);
    return one;
  });
  return refill(tree, opened);
}

/** A tree that was computed for one example, for all of them. */
function closeExamples(tree: unknown, examples: ReadonlyMap<Tensor, Tensor>, size: number): unknown {
  return refill(tree, everyExample(batchTensors(leavesOf(tree), examples, size), size));
}

function batchJvpRule(jvp: JvpRule, isBatched: readonly boolean[], size: number): JvpRule {
  return (args, tangents) => {
    const examples = new Map<Tensor, Tensor>();
    const open = (tree: readonly unknown[]): readonly unknown[] =>
      openExamples(tree, (i) => isBatched[i]!, examples) as readonly unknown[];
    return closeExamples(jvp(open(args), open(tangents)), examples, size);
  };
}

function batchRule(rule: CustomRule, isBatched: readonly boolean[], size: number): CustomRule {
  return {
    name: rule.name,
    ...batchCall(rule, isBatched, size),
    forward(...args) {
      const examples = new Map<Tensor, Tensor>();
      const one = openExamples(args, (i) => isBatched[i]!, examples) as readonly unknown[];
      const { value, residuals } = rule.forward(...one);
      return {
        value: closeExamples(value, examples, size),
        residuals: closeExamples(residuals, examples, size),
      };
    },
    backward(residuals, cotangents) {
      const examples = new Map<Tensor, Tensor>();
      const open = (tree: unknown): unknown => openExamples(tree, () => true, examples);
      const answer = rule.backward(open(residuals), open(cotangents));
      if (!Array.isArray(answer)) return answer;
      let next = 0;
      return answer.map((tree: unknown, i) => {
        const marks = leavesOf(rule.args[i]).map(() => isBatched[next++]!);
        if (tree === undefined) return undefined;
        // What all examples share gets the sum of their cotangents.
        const all = leavesOf(closeExamples(tree, examples, size));
        return refill(
          tree,
          all.map((leaf, at) => (marks[at] ? leaf : reduceSum(leaf, [0]))),
        );
      });
    },
    ...(rule.jvp !== undefined && { jvp: batchJvpRule(rule.jvp, isBatched, size) }),
  };
}
