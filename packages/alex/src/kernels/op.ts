// A kernel as an op of the graph IR: one node whose reference is the evaluator of the kernel's IR and whose lowering is
// the kernel's loops. So it compiles for every target and runs on every device that takes graphs, alone or inside a
// model.

import {
  elementCount,
  emit,
  formatType,
  NotDifferentiableError,
  sameType,
  ShapeMismatchError,
  trace,
} from "@fidelity/core";
import type { Graph, HostTensor, OpDef, Tensor, TensorType } from "@fidelity/core";
import { InternalError } from "@fidelity/units";
import type { KernelAnalysis } from "./analysis/analyse.ts";
import { evaluateKernelIr } from "./ir/evaluate.ts";
import type { ArrayValues } from "./ir/evaluate.ts";
import type { KernelArray } from "./ir/kernel_ir.ts";
import { kernelText } from "./ir/text.ts";
import { lowerKernel } from "./lower/lower.ts";
import type { Binding, Positions } from "./lower/lower.ts";

/** Which arrays of a kernel are inputs and results of its op, and which pairs share memory. */
export interface KernelSignature {
  readonly inputs: readonly KernelArray[];
  readonly results: readonly KernelArray[];
  /** Positions in `inputs` and `results` of the arrays that keep what they held. */
  readonly donations: readonly { readonly parameter: number; readonly result: number }[];
}

/** What is handed in and what comes out. An array that keeps what it held is both, and the first of the results. */
export function signatureOf({ ir, accesses }: KernelAnalysis): KernelSignature {
  const outer = ir.arrays.filter(({ role }) => role !== "local");
  const inputs = outer.filter((array) => accesses.get(array) !== "out");
  const results = [
    ...outer.filter((array) => accesses.get(array) === "inout"),
    ...outer.filter((array) => accesses.get(array) === "out"),
  ];
  const donations = results.flatMap((array, result) => {
    const parameter = inputs.indexOf(array);
    return parameter < 0 ? [] : [{ parameter, result }];
  });
  return { inputs, results, donations };
}

/** The tensor type of an array. */
export function tensorTypeOf(array: KernelArray): TensorType {
  return { dtype: array.element, shape: array.shape };
}

/** The op of a kernel, one for all its calls. `positions` is filled when the op is lowered. */
export function kernelOp(analysis: KernelAnalysis, positions: Positions): OpDef {
  const { ir } = analysis;
  const { inputs, results, donations } = signatureOf(analysis);
  const bindings = new Map<KernelArray, Binding>();
  inputs.forEach((array, input) => bindings.set(array, { input }));
  results.forEach((array, result) => bindings.set(array, { ...bindings.get(array), result }));
  // The first result can be computed in the memory of its input; other arrays that keep what they held are copied.
  const first = donations[0]?.parameter;
  return {
    name: `kernel.${ir.name}`,
    summary: `the kernel ${ir.name}, written in TypeScript`,
    identity: () => `kernel strictSums=${analysis.strictSums} ${kernelText(ir)}`,
    infer: () => results.map(tensorTypeOf),
    evaluate: (values) => evaluate(analysis, bindings, values),
    derivative: { kind: "rules", jvp: () => refuseDerivative(ir.name) },
    lowering: {
      kind: "kernel",
      ...(first !== undefined && { inPlace: first }),
      lower: (context) => lowerKernel(analysis, bindings, context, positions),
    },
    sample() {
      throw new InternalError("kernels are not in the registry of ops, which samples are for");
    },
  };
}

function refuseDerivative(name: string): never {
  throw new NotDifferentiableError(`the kernel ${name} has no derivative`, {
    op: name,
    hint: "wrap it in customVjp with a backward rule",
  });
}

function evaluate(
  { ir }: KernelAnalysis,
  bindings: ReadonlyMap<KernelArray, Binding>,
  inputs: readonly HostTensor[],
): HostTensor[] {
  const values = ir.arrays.map((array): ArrayValues => {
    const { input, result } = bindings.get(array) ?? {};
    const given = input === undefined ? undefined : inputs[input];
    if (given === undefined) return { data: new Float64Array(elementCount(array.shape)) };
    const scale = given.scales?.[0];
    return { data: result === undefined ? given.data : given.data.slice(), ...(scale !== undefined && { scale }) };
  });
  evaluateKernelIr(ir, values);
  const written = [...bindings].filter(([, { result }]) => result !== undefined);
  return written
    .sort(([, a], [, b]) => a.result! - b.result!)
    .map(([array]) => ({ type: tensorTypeOf(array), data: values[array.id]!.data }));
}

/** Calls a kernel inside a trace: its results for tensors of the types of its inputs. */
export function emitKernel(op: OpDef, analysis: KernelAnalysis, tensors: readonly Tensor[]): readonly Tensor[] {
  const { inputs } = signatureOf(analysis);
  const types = tensors.map(({ type }) => type);
  const fits = types.length === inputs.length && inputs.every((array, i) => sameType(tensorTypeOf(array), types[i]!));
  if (!fits) {
    const expected = inputs.map((array) => `${array.name}: ${formatType(tensorTypeOf(array))}`).join(", ");
    throw new ShapeMismatchError(`kernel.${analysis.ir.name}`, `takes ${expected}`, types);
  }
  return emit(op, tensors, { kernel: analysis.ir });
}

/** The graph that is one call of a kernel. */
export function graphOfKernel(op: OpDef, analysis: KernelAnalysis): Graph {
  const types = signatureOf(analysis).inputs.map(tensorTypeOf);
  const call = (...tensors: readonly unknown[]): readonly Tensor[] =>
    emitKernel(op, analysis, tensors as readonly Tensor[]);
  return trace<readonly TensorType[], readonly Tensor[]>(analysis.ir.name, call, types).graph;
}
