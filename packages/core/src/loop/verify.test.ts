// The verifier accepts what the builder makes and names what is wrong with everything else.

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildKernel } from "./builder.ts";
import type { KernelBuilder } from "./builder.ts";
import { F32, F64, I32, INDEX, loopType } from "./ir.ts";
import type { LoopInst, LoopValue } from "./ir.ts";
import { cosOf, erfOf, expOf, logOf, sigmoidOf, sinOf, tanhOf } from "./math.ts";
import type { BufferArgument, KernelCall, Program } from "./program.ts";
import { LoopVerifyError, verifyKernel } from "./verify.ts";
import { verifyProgram } from "./verify-program.ts";

const f32x4 = loopType("f32", 4);

function rejects(pattern: RegExp, generate: (k: KernelBuilder, buffers: readonly LoopValue[]) => void): void {
  assert.throws(
    () => verifyKernel(buildKernel("bad", 2, generate)),
    (error: unknown) => {
      assert.ok(error instanceof LoopVerifyError);
      assert.equal(error.kernel, "bad");
      assert.match(error.message, pattern);
      return true;
    },
  );
}

/** A kernel whose body is the one instruction that `make` gives for the buffer's address. */
function rejectsInst(pattern: RegExp, make: (a: LoopValue) => LoopInst): void {
  const kernel = buildKernel("bad", 1, () => {});
  const broken = { ...kernel, valueCount: 100, body: { ...kernel.body, insts: [make(kernel.body.args[2])] } };
  assert.throws(
    () => verifyKernel(broken),
    (error: unknown) => error instanceof LoopVerifyError && pattern.test(error.message),
  );
}

test("accepts loops, branches and every elementary function in all its types", () => {
  for (const type of [F32, F64, f32x4, loopType("f64", 2), loopType("f32", 8)]) {
    for (const apply of [expOf, logOf, tanhOf, erfOf, sigmoidOf, sinOf, cosOf]) {
      const kernel = buildKernel("good", 1, (k, [a]) => {
        k.loop(k.chunk, 10, 2, (i) => {
          const positive = k.compare("gt", i, k.index(3));
          const [value] = k.if(
            positive,
            () => [apply(k, k.load(type, a))],
            () => [k.constant(type, 1)],
          );
          k.store(value, k.offset(a, i, 8));
        });
      });
      verifyKernel(kernel);
    }
  }
});

test("rejects types that do not fit", () => {
  rejects(/wrong type/, (k, [a]) => k.store(k.fma(k.load(F32, a), k.load(F64, a), k.load(F32, a)), a));
  rejects(/rem is of integers/, (k, [a]) => k.store(k.rem(k.load(F32, a), k.load(F32, a)), a));
  rejects(/divide as scalars/, (k, [a]) => {
    const v = k.load(loopType("i32", 4), a);
    k.store(k.div(v, v), a);
  });
  rejects(/convert to i32 first/, (k, [a]) => k.store(k.add(k.load(loopType("i8"), a), k.load(loopType("i8"), a)), a));
  rejects(/no conversion/, (k, [a]) => k.store(k.convert(F32, a), a));
  rejects(/no bitcast/, (k, [a]) => k.store(k.bitcast(F64, k.load(F32, a)), a));
  rejects(/does not fit i32/, (k, [a]) => k.store(k.i32(0.5), a));
  rejects(/lane 4 is below 4/, (k, [a]) => k.store(k.extract(k.load(f32x4, a), 4), a));
  rejects(/not in memory/, (k, [a]) => k.store(k.compare("eq", a, a), a));
  rejects(/no cells of u8/, (k, [a]) => k.store(k.load(F32, a, 0, "u8"), a));
  rejects(/no cells of i16/, (k, [a]) => k.store(k.load(loopType("i16", 8), a), a, 0, "i16"));
  rejects(/offset -4/, (k, [a]) => k.store(k.load(F32, a, -4), a));
  rejects(
    /has the wrong type/,
    (k, [a]) =>
      void k.if(
        k.i32(1),
        () => [a],
        () => [a],
      ),
  );
  rejects(
    /has the wrong type/,
    (k, [a]) =>
      void k.if(
        k.compare("eq", a, a),
        () => [a],
        () => [k.i32(1)],
      ),
  );
  rejects(/yields 0 of 1/, (k, [a]) => void k.if(k.compare("eq", a, a), () => [a]));
});

test("wide floats are computed with in registers, and that alone", () => {
  const [wide, f64] = [loopType("f128"), loopType("f64")];
  const generate = (k: KernelBuilder, [a]: readonly LoopValue[]): void => {
    const x = k.convert(wide, k.load(f64, a));
    const [sum] = k.for(0, 4, 1, [x], (_i, [before]) => [k.add(k.unary("neg", before), k.div(x, x))]);
    k.store(k.convert(f64, k.select(k.compare("lt", x, sum), x, sum)), a);
  };
  verifyKernel(buildKernel("wide", 1, generate));
  const loaded = (k: KernelBuilder, a: LoopValue): LoopValue => k.convert(wide, k.load(f64, a));
  rejects(/f128 is not in memory/, (k, [a]) => k.store(k.load(wide, a), a));
  rejects(/constants of f80 are converted/, (k, [a]) => k.store(k.convert(f64, k.constant(loopType("f80"), 1)), a));
  rejects(/sqrt is not defined for f128/, (k, [a]) => k.store(k.convert(f64, k.unary("sqrt", loaded(k, a))), a));
  rejects(/min is not defined for f128/, (k, [a]) => k.store(k.convert(f64, k.min(loaded(k, a), loaded(k, a))), a));
  rejects(/no conversion/, (k, [a]) => k.store(k.convert(F32, loaded(k, a)), a));
  rejects(/f128 is scalar/, (k, [a]) => void k.splat(loaded(k, a), 2));
});

test("rejects loops that would not end and loops whose carried values change type", () => {
  rejects(/step 0/, (k) => k.loop(0, 4, 0, () => {}));
  rejects(/wrong type/, (k) => void k.for(0, 4, 1, [k.i32(1)], () => [k.constant(F32, 1)]));
});

test("rejects uses before definition, outside the block, and double definitions", () => {
  rejects(/outside the block/, (k, [a]) => {
    let leaked = a;
    k.loop(0, 4, 1, (i) => void (leaked = k.add(i, a)));
    k.store(k.load(F32, leaked), a);
  });
  rejectsInst(/used before it is defined/, (a) => ({
    op: "store",
    address: a,
    offset: 0,
    value: { type: I32, id: 50 },
  }));
  rejectsInst(/defined twice/, (a) => ({ op: "const", value: 1, result: { type: INDEX, id: a.id } }));
  rejectsInst(/out of range/, () => ({ op: "const", value: 1, result: { type: INDEX, id: 100 } }));
});

function programWith(change: Partial<Program>, call: Partial<KernelCall> = {}): Program {
  const kernel = buildKernel("copy", 1, (k, [a]) => {
    k.store(k.load(F32, a), k.allocateScratch(128));
  });
  const calls = [{ kernel: 0, chunks: 2, label: "copy", args: [{ buffer: 0, offsetBytes: 0 }], ...call }];
  return {
    name: "program",
    kernels: [kernel],
    buffers: [
      { name: "a", sizeBytes: 64, placement: { kind: "arena", offsetBytes: 0 } },
      { name: "b", sizeBytes: 64, placement: { kind: "binding", slot: 0 } },
    ],
    bindingCount: 1,
    arenaBytes: 64,
    scratchBytes: 128,
    schedule: [{ kind: "loop", count: 3, items: [{ kind: "parallel", calls }] }],
    constants: [],
    ...change,
  };
}

/** A program whose loop looks there for its limit. */
function limitedBy(cell: BufferArgument): Program {
  return programWith({ schedule: [{ kind: "loop", count: 3, limit: { keeps: "first", cell }, items: [] }] });
}

test("accepts a program and rejects what does not fit together", () => {
  verifyProgram(programWith({}, { args: [{ buffer: 0, offsetBytes: 0, strideBytes: [31] }] }));
  verifyProgram(limitedBy({ buffer: 0, offsetBytes: 60 }));
  const bad: readonly [RegExp, Program][] = [
    [/outside the buffer/, programWith({}, { args: [{ buffer: 0, offsetBytes: 0, strideBytes: [32] }] })],
    [/outside the buffer/, programWith({}, { args: [{ buffer: 0, offsetBytes: 8, strideBytes: [-8] }] })],
    [/strides without loops/, programWith({}, { args: [{ buffer: 0, offsetBytes: 0, strideBytes: [1, 1] }] })],
    [/offset outside/, programWith({}, { args: [{ buffer: 0, offsetBytes: 64 }] })],
    [/no buffer 7/, programWith({}, { args: [{ buffer: 7, offsetBytes: 0 }] })],
    [/wrong argument count/, programWith({}, { args: [] })],
    [/no kernel 3/, programWith({}, { kernel: 3 })],
    [/has chunks/, programWith({}, { chunks: 0 })],
    [/not inside the arena/, programWith({ arenaBytes: 63 })],
    [/no such binding slot/, programWith({ bindingCount: 0 })],
    [/too little scratch/, programWith({ scratchBytes: 64 })],
    [/fills a bound buffer/, programWith({ constants: [{ buffer: 0, bytes: new Uint8Array(4) }] })],
    [/1 or more times/, programWith({ schedule: [{ kind: "loop", count: 0, items: [] }] })],
    [/outside the buffer[^]*limit of a loop/, limitedBy({ buffer: 0, offsetBytes: 61 })],
    [/strides without loops[^]*limit of a loop/, limitedBy({ buffer: 0, offsetBytes: 0, strideBytes: [4] })],
  ];
  for (const [pattern, program] of bad) {
    assert.throws(
      () => verifyProgram(program),
      (error: unknown) => error instanceof LoopVerifyError && pattern.test(error.message),
    );
  }
});
