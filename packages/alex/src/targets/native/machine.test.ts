// Machines: their names, and which one a processor is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MACHINE_NAMES, UnknownMachineError, machineFromCpuInfo, machineOf, vectorsOf } from "./machine.ts";
import { hostMachine } from "./machine.node.ts";

const EPYC =
  "processor\t: 0\nflags\t\t: fpu sse sse2 ssse3 sse4_1 avx avx2 fma f16c avx512f avx512dq avx512bw avx512vl gfni " +
  "avx512vbmi avx512_vnni avx_vnni avx512_bf16\nbogomips\t: 5000\n";
const HASWELL = "flags\t\t: fpu sse sse2 ssse3 sse4_1 avx avx2 fma f16c bmi1 bmi2\n";
const NEHALEM = "flags\t\t: fpu sse sse2 ssse3 sse4_1 sse4_2\n";

test("a processor's flags give the best machine that it is", () => {
  const nameOf = (architecture: string, cpuInfo: string): string => machineFromCpuInfo(architecture, cpuInfo).name;
  const name = "x86-64-v4+avx512vnni+avx512vbmi+avx512bf16+gfni+avxvnni";
  assert.equal(nameOf("x64", EPYC), name);
  assert.equal(nameOf("x64", `vendor_id\t: AuthenticAMD\n${EPYC}`), `${name}+fast-variable-crosslane-shuffle`);
  assert.equal(nameOf("x64", `vendor_id\t: AuthenticAMD\n${HASWELL}`), "x86-64-v3");
  assert.equal(nameOf("x64", HASWELL), "x86-64-v3");
  assert.equal(nameOf("x64", NEHALEM), "x86-64+ssse3+sse4.1");
  assert.equal(nameOf("x64", ""), "x86-64");
  assert.equal(nameOf("arm64", "Features\t: fp asimd atomics asimddp\n"), "aarch64+dotprod");
  assert.equal(nameOf("riscv64", "isa : rv64imafdc\n"), "riscv64");
  assert.throws(() => nameOf("ppc64", ""), UnknownMachineError);
});

test("AMD's processors with AVX-512 and without AVX-VNNI ask for memory into their second cache", () => {
  const cacheOf = (cpuInfo: string): number | undefined => vectorsOf(machineFromCpuInfo("x64", cpuInfo)).prefetchCache;
  const [amd, before] = ["vendor_id\t: AuthenticAMD\n", EPYC.replace(" avx_vnni", "")];
  assert.deepEqual([cacheOf(amd + before), cacheOf(amd + EPYC), cacheOf(before), cacheOf(amd + HASWELL)], [2, 1, 1, 1]);
});

test("of AMD's processors with AVX-512 those with AVX-VNNI saturate beside permutations", () => {
  const machine = (flags: string) => vectorsOf(machineFromCpuInfo("x64", `vendor_id\t: AuthenticAMD\n${flags}`));
  const before = machine(EPYC.replace(" avx_vnni", ""));
  assert.deepEqual([before.permutes, before.saturatesBesidePermutes], [true, false]);
  assert.deepEqual([machine(EPYC).permutes, machine(EPYC).saturatesBesidePermutes], [true, true]);
});

test("a name says what a machine has, in whatever order the features are", () => {
  const machine = machineOf("x86-64-v4+gfni+avx512vnni");
  assert.equal(machine.name, "x86-64-v4+avx512vnni+gfni");
  assert.deepEqual([machine.lanes, machine.registers, machine.features.has("avx2")], [16, 32, true]);
  for (const name of MACHINE_NAMES) assert.equal(machineOf(name).name, name);
  assert.throws(() => machineOf("x86-64-v5"), /x86-64-v4/);
  assert.throws(() => machineOf("aarch64+avx2"), /expected: dotprod/);
});

test("FIDELITY_TARGET_CPU chooses among what this processor can run", { skip: process.platform !== "linux" }, () => {
  const host = hostMachine({});
  assert.equal(hostMachine({ FIDELITY_TARGET_CPU: host.name }).name, host.name);
  const other = host.architecture === "x86-64" ? "aarch64" : "x86-64";
  assert.throws(() => hostMachine({ FIDELITY_TARGET_CPU: other }), /cannot run/);
  assert.throws(() => hostMachine({ FIDELITY_TARGET_CPU: "pentium" }), /no such machine/);
});
