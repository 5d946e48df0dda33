// The encodings of numbers against the worked examples of the specification, and a module that an engine accepts.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteSink, ModuleBuilder, VALUE } from "./encoder.ts";

function encoded(write: (sink: ByteSink) => void): number[] {
  const sink = new ByteSink();
  write(sink);
  return [...sink.view()];
}

test("LEB128 as in the DWARF and WebAssembly specifications", () => {
  assert.deepEqual(
    encoded((sink) => sink.u32(624485)),
    [0xe5, 0x8e, 0x26],
  );
  assert.deepEqual(
    encoded((sink) => sink.u32(2 ** 32 - 1)),
    [0xff, 0xff, 0xff, 0xff, 0x0f],
  );
  assert.deepEqual(
    encoded((sink) => sink.i32(-123456)),
    [0xc0, 0xbb, 0x78],
  );
  assert.deepEqual(
    encoded((sink) => sink.i32(64)),
    [0xc0, 0x00],
  );
  assert.deepEqual(
    encoded((sink) => sink.i32(-64)),
    [0x40],
  );
});

test("numbers outside 32 bits are refused", () => {
  assert.throws(() => new ByteSink().u32(-1));
  assert.throws(() => new ByteSink().u32(2 ** 32));
  assert.throws(() => new ByteSink().i32(0.5));
});

test("an engine reads back every constant", () => {
  fc.assert(
    fc.property(fc.integer(), fc.double(), fc.float(), (integer, double, float) => {
      const module = new ModuleBuilder(1);
      const constants = [VALUE.i32, VALUE.f64, VALUE.f32].map((type) => module.function("constant", [], [type]));
      constants[0].body.i32(integer);
      constants[1].body.f64(double);
      constants[2].body.f32(float);
      constants.forEach(({ index }, i) => module.export(`get${i}`, index));
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const { exports } = new WebAssembly.Instance(compile(module), { env: { memory } });
      const read = [0, 1, 2].map((i) => (exports[`get${i}`] as () => number)());
      assert.deepEqual(read, [integer, double, float]);
    }),
    { numRuns: 50 },
  );
});

test("locals of several types keep their numbers, and the name section names functions", () => {
  const module = new ModuleBuilder(1);
  const { index, body } = module.function("kernel of note", [VALUE.i32], [VALUE.f64]);
  const locals = [VALUE.f64, VALUE.f64, VALUE.i32, VALUE.f64].map((type) => body.local(type));
  assert.deepEqual(locals, [1, 2, 3, 4]);
  body.f64(2.5).set(4).f64(1).set(2).get(4);
  module.export("run", index);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const compiled = compile(module);
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
  assert.equal((exports.run as (x: number) => number)(0), 2.5);
  const [names] = WebAssembly.Module.customSections(compiled, "name");
  assert.match(new TextDecoder().decode(names), /kernel of note/);
});

const bytesOf = (module: ModuleBuilder): Uint8Array<ArrayBuffer> => module.encode() as Uint8Array<ArrayBuffer>;
const compile = (module: ModuleBuilder): WebAssembly.Module => new WebAssembly.Module(bytesOf(module));
