// Linearisation: from a graph to the graph of its derivative, which is linear in the tangents of the inputs. This is
// forward mode over the graph; reverse mode transposes what it builds (transpose.ts). The split is that of
// "You Only Linearize Once" (Radul, Paszke, Frostig, Johnson, Maclaurin, POPL 2023) and of Dex and JAX.
//
// It lives in core and not in furnace because two op rules need the derivative of a whole graph: that of `scan` (its
// body) and that of `custom_vjp`. Furnace adds what users call.
//
// Zeros are symbolic: the tangent of what does not depend on the inputs is `undefined`, and nothing is built for it.

import { invariant } from "@fidelity/units";
import { DTYPES } from "../dtype.ts";
import type { Node, Tensor, TensorType } from "../graph.ts";
import { formatType, sameType, topologicalOrder } from "../graph.ts";
import type { MaybeTensor } from "../op.ts";
import { NotDifferentiableError, trailTo } from "./errors.ts";

/** The type of tangents and cotangents of a tensor of this type, or nothing for integers and truth values. */
export function tangentType(type: TensorType): TensorType | undefined {
  const dtype = DTYPES[type.dtype].tangent;
  return dtype === null ? undefined : { dtype, shape: type.shape };
}

/**
 * The tangents of `roots` when the tensors `wrt` have the given tangents, one for each. The result is built in the open
 * trace and is linear in `tangents`. `wrt` must be parameters made for this purpose: two derivatives with respect to
 * the same tensor would otherwise be taken for one (perturbation confusion).
 */
export function linearize(
  roots: readonly Tensor[],
  wrt: readonly Tensor[],
  tangents: readonly MaybeTensor[],
): MaybeTensor[] {
  const known = new Map<Tensor, MaybeTensor>();
  const done = new Set<Node>();
  wrt.forEach((tensor, i) => {
    known.set(tensor, tangents[i]);
    done.add(tensor.node);
  });

  // The recursion is as deep as one op's expansion: the inputs of every node in the order below are done before it.
  const visit = (node: Node): void => {
    if (done.has(node)) return;
    done.add(node);
    const { derivative } = node.op;
    if (derivative.kind === "zero") return;
    for (const input of node.inputs) visit(input.node);
    const inputTangents = node.inputs.map((input) => known.get(input));
    if (inputTangents.every((tangent) => tangent === undefined)) return;
    if (derivative.kind === "expand") {
      const expansion = expandNode(node);
      for (const part of expansion) visit(part.node);
      node.results.forEach((result, i) => known.set(result, known.get(expansion[i]!)));
      return;
    }
    if (derivative.kind === "none") {
      const { name } = node.op;
      const where = trailTo(node, roots);
      throw new NotDifferentiableError(`${name} has no derivative`, { op: name, where, hint: derivative.hint });
    }
    const resultTangents = derivative.jvp(node, inputTangents, node.attrs);
    node.results.forEach((result, i) => known.set(result, checkTangent(node, result, resultTangents[i])));
  };
  // Nobody needs tangents of what only ops read whose derivative is zero.
  for (const node of topologicalOrder(roots, isDifferentiated)) visit(node);
  return roots.map((root) => known.get(root));
}

function isDifferentiated({ op }: Node): boolean {
  return op.derivative.kind !== "zero";
}

/** What an op whose derivative is that of its expansion expands to. */
export function expandNode(node: Node, inputs: readonly Tensor[] = node.inputs): readonly Tensor[] {
  const { derivative, lowering, name } = node.op;
  const own = derivative.kind === "expand" ? derivative.expand : undefined;
  const expand = own ?? (lowering.kind === "expand" ? lowering.expand : undefined);
  invariant(expand !== undefined, `${name}: its derivative is that of an expansion that it does not have`);
  return expand(inputs, node.attrs);
}

/** The nodes among `order` (inputs before users) that depend on the tensors, those of the tensors included. */
export function dependents(order: readonly Node[], tensors: readonly Tensor[]): Set<Node> {
  const found = new Set(tensors.map((tensor) => tensor.node));
  for (const node of order) {
    if (node.inputs.some((input) => found.has(input.node))) found.add(node);
  }
  return found;
}

function checkTangent(node: Node, result: Tensor, tangent: MaybeTensor): MaybeTensor {
  if (tangent === undefined) return undefined;
  const expected = tangentType(result.type);
  if (expected !== undefined && sameType(expected, tangent.type)) return tangent;
  const got = formatType(tangent.type);
  return invariant(false, `${node.op.name}: the tangent of ${formatType(result.type)} came out as ${got}`) as never;
}
