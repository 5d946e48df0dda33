// Recurrences over states, compiled, against the reference's plain loops: sequences of many spans, forwards and
// backwards, one token after another in place, and decays that leave nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { OPS, hostValues, interpret } from "@fidelity/core";
import type { HostTensor, LoopInst, OpDef, Program, TensorType } from "@fidelity/core";
import { graphOf, randomHost, randomInputs, relativeError, seededRandom } from "@fidelity/core/testing";
import { buildDerivatives } from "@fidelity/core/testing/derivatives";
import { compileGraph, emitAfter } from "./compile.ts";
import { alignmentOf, alignmentsOf } from "./targets/alignment.ts";
import { runGraphs, runnableMachines, whyNoNative } from "./targets/native/testing.node.ts";
import { runCompiled } from "./testing.ts";
import type { ConformanceCase } from "./testing-conformance.node.ts";
import { assertConforms } from "./testing-conformance.node.ts";

type Ranges = readonly (readonly [low: number, high: number] | undefined)[];

/** One recurrence to test: its inputs over `time` steps. */
interface Recurrence {
  readonly name: string;
  readonly op: OpDef;
  /** Which input is the state; the result that is the state is the second. */
  readonly state: number;
  readonly ranges: Ranges;
  inputs(time: number): readonly TensorType[];
}

const f32 = (...shape: number[]): TensorType => ({ dtype: "f32", shape });

const selectiveScan: Recurrence = {
  name: "selective_scan",
  op: OPS.selective_scan,
  state: 5,
  ranges: [[0, 1], [-2, 0], undefined, undefined, undefined, undefined],
  inputs: (time) => [f32(1, time, 33), f32(33, 5), f32(1, time, 5), f32(1, time, 5), f32(1, time, 33), f32(1, 33, 5)],
};

/** Over four tokens and over ten, which are more than some sequences have. */
function convolution(size: number): Recurrence {
  return {
    name: `a convolution over ${size}`,
    op: OPS.causal_convolution,
    state: 2,
    ranges: [],
    inputs: (time) => [f32(1, time, 33), f32(33, size), f32(1, size - 1, 33)],
  };
}

/** Two heads, with keys of their own or the same; `decays` is 1 or the size of keys. */
function deltaRule(name: string, groups: number, keySize: number, decays: number, erases: boolean): Recurrence {
  const small = [-0.3, 0.3] as const;
  return {
    name,
    op: OPS.generalized_delta_rule,
    state: 4,
    ranges: [undefined, small, undefined, [-0.5, 0], undefined, small, small],
    inputs: (time) => {
      const keys = f32(1, time, groups, keySize);
      const pair = f32(1, time, 2, keySize);
      const own = [keys, keys, f32(1, time, 2, 17), f32(1, time, 2, decays), f32(1, 2, 17, keySize)];
      return erases ? [...own, pair, pair] : own;
    },
  };
}

const RECURRENCES: readonly Recurrence[] = [
  selectiveScan,
  deltaRule("one decay a head", 2, 16, 1, false),
  deltaRule("a decay for each key", 1, 18, 18, false),
  deltaRule("one decay, erasing", 1, 18, 1, true),
  deltaRule("a decay for each key, erasing", 2, 16, 16, true),
  convolution(4),
  convolution(10),
];

/** Several spans, and a part of one. */
const STEPS = 300;

/** The values and the backward pass of a recurrence over many spans. */
function longCases({ name, op, ranges, inputs }: Recurrence): ConformanceCase[] {
  const opCase = { inputs: inputs(STEPS), attrs: {}, ranges };
  const random = seededRandom(3);
  const given = randomInputs(opCase, random);
  const { backward } = buildDerivatives(op, opCase);
  const cotangents = backward.parameters.slice(given.length).map(({ type }) => randomHost(type, random, [-1, 1]));
  return [
    { name, graph: graphOf(op, opCase.inputs, {}), inputs: given, tolerance: 2e-5 },
    { name: `${name}, gradient`, graph: backward, inputs: [...given, ...cotangents], tolerance: 1e-4 },
  ];
}

test("many steps on wasm are those of the reference, and so are their gradients", () => {
  for (const each of RECURRENCES.flatMap(longCases)) assertConforms(each, runCompiled(each.graph, each.inputs));
});

test("many steps on native are those of the reference", { skip: whyNoNative() }, async () => {
  // The largest of each kind: making native code takes most of the time.
  const cases = [0, 4, 5].map((i) => RECURRENCES[i]!).flatMap(longCases);
  const results = await runGraphs(cases, runnableMachines()[0]!);
  cases.forEach((each, i) => assertConforms(each, results[i]!));
});

test("token by token, the state in place, is the whole sequence", () => {
  for (const { name, op, state, ranges, inputs } of RECURRENCES) {
    const time = 7;
    const whole = randomInputs({ inputs: inputs(time), attrs: {}, ranges }, seededRandom(4));
    const [outputs, last] = interpret(graphOf(op, inputs(time), {}), whole).map(hostValues);
    const step = graphOf(op, inputs(1), {});
    const donations = [{ parameter: state, result: 1 }];
    const target = { lanes: 4, joinsVectors: false };
    assert.match(emitAfter(step, "layout", { target, donations }), /^results in place: 1$/m, name);
    const found: number[] = [];
    let held = whole[state]!;
    for (let t = 0; t < time; t++) {
      const token = whole.map((input, i): HostTensor => {
        if (i === state) return held;
        const type = step.parameters[i]!.type;
        const size = input.data.length / time;
        return input.type.shape[1] === time ? { type, data: input.data.slice(t * size, (t + 1) * size) } : input;
      });
      const [output, next] = runCompiled(step, token, { donations });
      found.push(...output!.data);
      held = next!;
    }
    assert.ok(relativeError(found, outputs!) < 1e-5, name);
    assert.ok(relativeError(held.data, last!) < 1e-5, name);
  }
});

test("decays to nothing leave numbers, forwards and backwards", () => {
  const extremes: Record<string, Ranges> = {
    causal_convolution: [],
    selective_scan: [[50, 1e4], [-1e4, -1], ...Array<undefined>(4)],
    generalized_delta_rule: [undefined, undefined, undefined, [-1e3, -60], undefined, [-0.3, 0.3], [-0.3, 0.3]],
  };
  for (const recurrence of RECURRENCES) {
    for (const each of longCases({ ...recurrence, ranges: extremes[recurrence.op.name]! })) {
      const results = runCompiled(each.graph, each.inputs);
      assert.ok(
        results.every(({ data }) => data.every(Number.isFinite)),
        each.name,
      );
      assertConforms(each, results);
    }
  }
});

test("only what is too large for the caches is written past them, at multiples of the vector", () => {
  const lanes = 16;
  const rule = (time: number, op: OpDef): Program => {
    const [rows, state] = [f32(1, time, 3, 32), f32(1, 3, 32, 32)];
    const inputs = [
      rows,
      rows,
      rows,
      rows,
      state,
      rows,
      rows,
      ...(op === OPS.generalized_delta_rule ? [] : [rows, state]),
    ];
    return compileGraph(graphOf(op, inputs, {}), { target: { lanes, joinsVectors: false }, verify: true });
  };
  for (const op of [OPS.generalized_delta_rule, OPS.generalized_delta_rule_grad]) {
    const places = (time: number): number[] =>
      rule(time, op).kernels.flatMap((kernel) => {
        const known = alignmentsOf(kernel, Array<number>(kernel.bufferCount).fill(lanes * 4));
        return storesPastCaches(kernel.body.insts).map(({ address, offset }) =>
          Math.min(known[address.id]!, alignmentOf(offset)),
        );
      });
    assert.deepEqual(places(1024), [], op.name);
    const large = places(65536);
    assert.ok(large.length > 0 && large.every((bytes) => bytes >= lanes * 4), `${op.name}: ${large.join(" ")}`);
  }
});

/** The stores past the caches of a block and of those inside. */
function storesPastCaches(insts: readonly LoopInst[]): Extract<LoopInst, { readonly op: "store" }>[] {
  return insts.flatMap((inst) => {
    if (inst.op === "for") return storesPastCaches(inst.body.insts);
    if (inst.op === "if") return [inst.then, inst.else].flatMap(({ insts: inside }) => storesPastCaches(inside));
    return inst.op === "store" && inst.nontemporal === true ? [inst] : [];
  });
}
