// The derivative of scan. Forward mode runs the loop once more over tangents; reverse mode runs that loop backwards.
//
// Both need the carries that the primal loop had at every step. `keepCarries` therefore rewrites the loops of a
// function that is about to be differentiated so that they give those as further stacked outputs: T times the size of
// the carry is kept, and everything else that a step computed is computed again in the derivative's body (the trade of
// checkpointing every step). A function that is not differentiated keeps nothing.
//
// The tangent loop is linear in its tangents: its carries and its tangent inputs. Its transpose runs the other way,
// carries the cotangents of the carries, and adds up those of the loop's constants. Both take as many steps as the
// primal loop did: the first result of a `limited` loop is that number, and their limit.

import { dependents, linearize, tangentType } from "../derive/linearize.ts";
import { transpose } from "../derive/transpose.ts";
import type { Graph, Node, Substitution, Tensor } from "../graph.ts";
import { emit, substitute, topologicalOrder } from "../graph.ts";
import type { MaybeTensor } from "../op.ts";
import { parameter } from "../trace.ts";
import { add } from "./add.ts";
import { emitLoop, scanOp } from "./scan.ts";
import type { LoopCarry, ScanAttrs } from "./scan.ts";
import { zerosLike } from "./splat.ts";

/** Whether this is a loop, with its attributes. */
function scanAttrs(node: Node): ScanAttrs | undefined {
  return (node.op as unknown) === scanOp ? (node.attrs as ScanAttrs) : undefined;
}

/** For each carry the index of the result that stacks it, or -1. */
function historyIndices({ body, constants, carries }: ScanAttrs): number[] {
  return Array.from({ length: carries }, (_none, i) => body.results.indexOf(body.parameters[constants + i]!, carries));
}

/** Results of the same loop, with every carry (as it comes into a step) among its stacked outputs. */
function stackCarries(node: Node, attrs: ScanAttrs): readonly Tensor[] {
  const { body, constants } = attrs;
  const missing = historyIndices(attrs).flatMap((at, i) => (at < 0 ? [body.parameters[constants + i]!] : []));
  if (missing.length === 0) return node.results;
  const stacked: Graph = { ...body, results: [...body.results, ...missing] };
  return emit(scanOp, node.inputs, { ...attrs, body: stacked });
}

/**
 * The same roots, with the loops that depend on `wrt` giving their carries as further outputs. Call it before
 * `linearize`: otherwise the derivative of a loop has to run it a second time to get them.
 */
export function keepCarries(roots: readonly Tensor[], wrt: readonly Tensor[]): readonly Tensor[] {
  const order = topologicalOrder(roots);
  if (!order.some(scanAttrs)) return roots;
  const active = dependents(order, wrt);
  const map: Substitution = new Map();
  for (const node of order) {
    if (!active.has(node)) continue;
    const inputs = node.inputs.map((input) => map.get(input) ?? input);
    const changed = inputs.some((input, i) => input !== node.inputs[i]);
    let results = changed ? emit(node.op, inputs, node.attrs) : node.results;
    const loop = results[0] && scanAttrs(results[0].node);
    if (loop !== undefined) results = stackCarries(results[0]!.node, loop);
    node.results.forEach((result, i) => {
      if (results[i] !== result) map.set(result, results[i]!);
    });
  }
  return roots.map((root) => map.get(root) ?? root);
}

/** A loop over tangents: `linear` in them, with the primal values of each step read from what was kept. */
export function scanJvp(node: Node, tangents: readonly MaybeTensor[], attrs: ScanAttrs): readonly MaybeTensor[] {
  const { body, constants, carries, length, reverse } = attrs;
  const full = stackCarries(node, attrs);
  const history = historyIndices(full[0]!.node.attrs as ScanAttrs);
  const { placeholders, derivatives } = linearizeBody(attrs, tangents);

  // Outside values in place of the loop's constants: closing the new body finds which of them it still needs.
  const map: Substitution = new Map();
  for (let i = 0; i < constants; i++) {
    map.set(body.parameters[i]!, node.inputs[i]!);
    if (placeholders[i] !== undefined) map.set(placeholders[i]!, tangents[i]!);
  }
  const isActive = (result: number): boolean => result < carries && placeholders[constants + result] !== undefined;
  const live = body.results.flatMap((_result, i) => (derivatives[i] !== undefined || isActive(i) ? [i] : []));
  const next = substitute(
    live.map((i) => derivatives[i] ?? tangentZeros(body.results[i]!)),
    map,
  );
  const carried = live.filter((i) => i < carries);
  const loop = emitLoop({
    name: `${body.name}_jvp`,
    limit: sameSteps(attrs, full[0]!),
    carries: carried.map((i, at) => ({
      parameter: placeholders[constants + i]!,
      init: tangents[constants + i] ?? tangentZeros(body.results[i]!),
      next: next[at]!,
    })),
    slices: body.parameters.slice(constants).flatMap((parameter, i) => {
      if (i < carries) return [{ parameter, stack: full[history[i]!]! }];
      const tangent = placeholders[constants + i];
      const primal = { parameter, stack: node.inputs[constants + i]! };
      return tangent === undefined ? [primal] : [primal, { parameter: tangent, stack: tangents[constants + i]! }];
    }),
    outputs: next.slice(carried.length),
    length,
    reverse,
  });
  const emitted = [...loop.carries, ...loop.stacks];
  return body.results.map((_result, i) => (live.includes(i) ? emitted[live.indexOf(i)] : undefined));
}

/** The body's derivative with respect to the inputs that have tangents and the carries that get some on the way. */
function linearizeBody(
  { body, constants, carries }: ScanAttrs,
  tangents: readonly MaybeTensor[],
): { placeholders: MaybeTensor[]; derivatives: MaybeTensor[] } {
  const fresh = (i: number): Tensor => parameter("tangent", tangentType(body.parameters[i]!.type)!);
  const placeholders = tangents.map((tangent, i) => (tangent === undefined ? undefined : fresh(i)));
  for (;;) {
    // A carry that turns active may turn others active; there are at most as many rounds as carries.
    const derivatives = linearize(keepCarries(body.results, body.parameters), body.parameters, placeholders);
    let grew = false;
    for (let i = 0; i < carries; i++) {
      if (derivatives[i] === undefined || placeholders[constants + i] !== undefined) continue;
      placeholders[constants + i] = fresh(constants + i);
      grew = true;
    }
    if (!grew) return { placeholders, derivatives };
  }
}

/** The limit of a loop that takes as many steps as one that left `steps`; nothing for a loop without. */
function sameSteps(attrs: ScanAttrs, steps: Tensor): LoopCarry | undefined {
  if (!attrs.limited) return undefined;
  const limit = parameter("limit", steps.type);
  return { parameter: limit, init: steps, next: limit };
}

function tangentZeros(of: Tensor): Tensor {
  return zerosLike(of, tangentType(of.type)!.dtype);
}

/**
 * The loop that takes cotangents of a linear loop's results to those of its inputs, from the last step to the first.
 * All carries of a loop that comes here are tangents, but for a limit: `scanJvp` leaves no others.
 */
export function scanTranspose(
  node: Node,
  cotangents: readonly MaybeTensor[],
  linear: readonly boolean[],
  attrs: ScanAttrs,
): readonly MaybeTensor[] {
  const { body, constants, carries, length, reverse } = attrs;
  const firstTangent = constants + (attrs.limited ? 1 : 0);
  const isLinear = body.parameters.map((_parameter, i) => linear[i]! || (i >= firstTangent && i < constants + carries));
  const indices = isLinear.flatMap((flag, i) => (flag ? [i] : []));
  const received = body.results.map(({ type }, i) => {
    if (i < firstTangent - constants) return undefined;
    return i < carries || cotangents[i] !== undefined ? parameter("cotangent", type) : undefined;
  });
  const transposed = transpose(
    body.results,
    indices.map((i) => body.parameters[i]!),
    received,
  );
  const handed = new Map(indices.map((i, at) => [i, transposed[at]]));

  const sums = indices.filter((i) => i < constants && handed.get(i) !== undefined);
  const sliced = indices.filter((i) => i >= constants + carries && handed.get(i) !== undefined);
  const totals = sums.map((i) => parameter("sum", body.parameters[i]!.type));
  const map: Substitution = new Map();
  for (let i = 0; i < constants; i++) if (!isLinear[i]) map.set(body.parameters[i]!, node.inputs[i]!);
  const tangents = body.results.slice(firstTangent - constants, carries);
  const carryResults = tangents.map((result, i) => handed.get(firstTangent + i) ?? zerosLike(result));
  const sumResults = sums.map((i, at) => add(totals[at]!, handed.get(i)!));
  const next = substitute([...carryResults, ...sumResults, ...sliced.map((i) => handed.get(i)!)], map);

  const loop = emitLoop({
    name: `${body.name}_transpose`,
    limit: sameSteps(attrs, node.inputs[constants]!),
    carries: [
      ...carryResults.map((result, i) => ({
        parameter: received[firstTangent - constants + i]!,
        init: cotangents[firstTangent - constants + i] ?? zerosLike(result),
        next: next[i]!,
      })),
      ...totals.map((total, at) => ({ parameter: total, init: zerosLike(total), next: next[tangents.length + at]! })),
    ],
    slices: [
      ...body.parameters.flatMap((slice, i) => {
        return i < constants + carries || isLinear[i] ? [] : [{ parameter: slice, stack: node.inputs[i]! }];
      }),
      ...received.flatMap((slice, i) =>
        i < carries || slice === undefined ? [] : [{ parameter: slice, stack: cotangents[i]! }],
      ),
    ],
    outputs: next.slice(tangents.length + sums.length),
    length,
    reverse: !reverse,
  });
  return node.inputs.map((_input, i) => {
    if (i >= firstTangent && i < constants + carries) return loop.carries[i - firstTangent];
    if (sums.includes(i)) return loop.carries[tangents.length + sums.indexOf(i)];
    return sliced.includes(i) ? loop.stacks[sliced.indexOf(i)] : undefined;
  });
}
