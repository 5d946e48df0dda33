// The derivatives of one op as graphs of their own, for suites over the op table: forward to be compared with central
// differences, backward with forward, and both between devices.

import { linearize, tangentType } from "./derive/linearize.ts";
import { transpose } from "./derive/transpose.ts";
import type { Graph, Tensor } from "./graph.ts";
import { emit, inTrace } from "./graph.ts";
import type { MaybeTensor, OpCase, OpDef } from "./op.ts";
import { zerosLike } from "./ops/splat.ts";
import { parameter } from "./trace.ts";

/** Results and tangents of one op; or, with `cotangents`, the cotangents of its float inputs. */
export interface DerivativeGraphs {
  /** (inputs, tangents) to tangents of the float results. */
  readonly forward: Graph;
  /** (inputs, cotangents) to cotangents of the float inputs; absent where an op has no reverse mode. */
  readonly backward: Graph;
  readonly floatInputs: readonly number[];
  readonly floatResults: readonly number[];
}

/** Traces the derivatives of a case; results that do not depend on an input have zeros for it. */
export function buildDerivatives(op: OpDef, { inputs, attrs }: OpCase): DerivativeGraphs {
  return inTrace(() => {
    const primals = inputs.map((type, i) => parameter(`x${i}`, type));
    const results = emit(op, primals, attrs);
    const floats = (tensors: readonly Tensor[]): number[] =>
      tensors.flatMap((x, i) => (tangentType(x.type) ? [i] : []));
    const floatInputs = floats(primals);
    const floatResults = floats(results);
    const tangents = floatInputs.map((i) => parameter(`dx${i}`, tangentType(primals[i]!.type)!));
    const given: MaybeTensor[] = primals.map((_x, i) => tangents[floatInputs.indexOf(i)]);
    const roots = floatResults.map((i) => results[i]!);
    const derivatives = linearize(roots, primals, given);
    const cotangents = roots.map((root, i) => parameter(`ct${i}`, tangentType(root.type)!));
    const handed = transpose(derivatives, tangents, cotangents);
    const filled = (values: readonly MaybeTensor[], like: readonly Tensor[]): Tensor[] =>
      values.map((value, i) => value ?? zerosLike(like[i]!, tangentType(like[i]!.type)!.dtype));
    return {
      forward: { name: `${op.name}_jvp`, parameters: [...primals, ...tangents], results: filled(derivatives, roots) },
      backward: {
        name: `${op.name}_vjp`,
        parameters: [...primals, ...cotangents],
        results: filled(
          handed,
          floatInputs.map((i) => primals[i]!),
        ),
      },
      floatInputs,
      floatResults,
    };
  });
}
