// The machines that the native target makes code for: what LLVM calls them, how wide their vectors are, and which
// instructions of theirs the printer uses by name. Everything else is LLVM's: vectors wider than the machine's are
// legal and are split, operations that it lacks are made of others.
// A machine has a name that says all of it, such as "x86-64-v4+avx512vnni", by which tests and users choose one.

import type { VectorTarget } from "@fidelity/core";
import { FidelityError } from "@fidelity/units";

export type Architecture = "x86-64" | "aarch64" | "riscv64";

/** What the printers of operations know of a machine, which may be another target's. */
export interface CodeMachine {
  readonly name: string;
  readonly architecture: Architecture | "nvptx64";
  /** LLVM's names of instruction sets, those that the processor's name implies included. */
  readonly features: ReadonlySet<string>;
}

/** What code is made for. */
export interface NativeMachine extends CodeMachine {
  readonly architecture: Architecture;
  /** The triple and the processor as LLVM names them. */
  readonly triple: string;
  readonly cpu: string;
  /** float32 lanes of a vector register, and how many registers there are. */
  readonly lanes: number;
  readonly registers: number;
}

/** A name of a machine that is none, or a processor that the target does not know. */
export class UnknownMachineError extends FidelityError {}

interface Level extends Omit<NativeMachine, "name" | "features"> {
  readonly implies: readonly string[];
  /** Features that may be added behind a plus, and that a machine is asked for at run time. */
  readonly optional: readonly string[];
}

const X86 = { architecture: "x86-64", triple: "x86_64-unknown-linux-gnu" } as const;
const X86_V3 = ["sse4.1", "ssse3", "avx2", "fma", "f16c"];
const X86_V4 = [...X86_V3, "avx512f", "avx512bw", "avx512dq", "avx512vl"];

/**
 * LLVM's name for processors on which permutations of a vector by another cost what simple operations cost. None says
 * so of itself: AMD's Zen 5 starts two vpermw a cycle (measured), as many as vpdpbusd, and of those with AVX-512 before
 * it the same is taken to hold; Intel's start one.
 */
const FAST_PERMUTES = "fast-variable-crosslane-shuffle";

const LEVELS: Readonly<Record<string, Level>> = {
  "x86-64": { ...X86, cpu: "x86-64", lanes: 4, registers: 16, implies: [], optional: ["ssse3", "sse4.1"] },
  "x86-64-v3": { ...X86, cpu: "x86-64-v3", lanes: 8, registers: 16, implies: X86_V3, optional: ["avxvnni", "gfni"] },
  "x86-64-v4": {
    ...X86,
    cpu: "x86-64-v4",
    lanes: 16,
    registers: 32,
    implies: X86_V4,
    optional: ["avx512vnni", "avx512vbmi", "avx512bf16", "gfni", "avxvnni", FAST_PERMUTES, "amx-tile", "amx-int8"],
  },
  aarch64: {
    architecture: "aarch64",
    triple: "aarch64-unknown-linux-gnu",
    cpu: "generic",
    lanes: 4,
    registers: 32,
    implies: ["neon"],
    optional: ["dotprod"],
  },
  riscv64: {
    architecture: "riscv64",
    triple: "riscv64-unknown-linux-gnu",
    cpu: "generic-rv64",
    lanes: 4,
    registers: 32,
    implies: ["m", "a", "f", "d", "c"],
    optional: [],
  },
};

/** The names of machines, without what may be added to them. */
export const MACHINE_NAMES: readonly string[] = Object.keys(LEVELS);

/**
 * The machine of a name: one of `MACHINE_NAMES`, then features behind pluses.
 * @throws UnknownMachineError with the names that there are
 */
export function machineOf(name: string): NativeMachine {
  const [base, ...added] = name.split("+");
  const level = LEVELS[base];
  if (level === undefined) {
    throw new UnknownMachineError("there is no such machine", { expected: MACHINE_NAMES.join(", "), got: name });
  }
  for (const feature of added) {
    if (level.optional.includes(feature)) continue;
    const expected = level.optional.join(", ") || "nothing";
    throw new UnknownMachineError(`${base} has no such feature`, { expected, got: feature });
  }
  const { implies, optional, ...rest } = level;
  const chosen = optional.filter((feature) => added.includes(feature));
  return { ...rest, name: [base, ...chosen].join("+"), features: new Set([...implies, ...chosen]) };
}

/** What kernel generators know of a machine. */
export function vectorsOf({ architecture, lanes, registers, features }: NativeMachine): VectorTarget {
  return {
    lanes,
    registers,
    joinsVectors: false,
    lookupEntries: features.has("avx512vbmi") ? 128 : 16,
    permutes: features.has(FAST_PERMUTES),
    // Of four vector units two permute: on Zen 5 the others saturate, on Zen 4 one of them does and one that permutes.
    saturatesBesidePermutes: features.has(FAST_PERMUTES) && features.has("avxvnni"),
    tiles: features.has("amx-int8"),
    halves: features.has("f16c") || features.has("neon"),
    scales: features.has("avx512vl"),
    dot4Unsigned: features.has("avx512vnni") || features.has("avxvnni"),
    // Zen 4, AMD's last one without AVX-VNNI: its first cache waits for few lines at a time, and what software asks for
    // holds up what is read (measured: 12 GB/s so, 22 by the second cache, where reading alone has 30).
    prefetchCache: features.has(FAST_PERMUTES) && !features.has("avxvnni") ? 2 : 1,
    // f80 is the x87 unit's; f128 is calls of a compiler's library, which there is for every architecture.
    wideFloats: architecture === "x86-64" ? ["f80", "f128"] : ["f128"],
    dot4: !features.has("ssse3") || features.has("avx512vnni") || features.has("avxvnni"),
  };
}

/** The x86-64 flags of /proc/cpuinfo for LLVM's features, where the names differ. */
const LINUX_FLAGS: Readonly<Record<string, string>> = {
  "sse4.1": "sse4_1",
  avx512vnni: "avx512_vnni",
  avx512bf16: "avx512_bf16",
  avxvnni: "avx_vnni",
  "amx-tile": "amx_tile",
  "amx-int8": "amx_int8",
  dotprod: "asimddp",
};

/** Whether a processor that says of itself what /proc/cpuinfo shows has a feature of LLVM's name. */
export function featuresOfCpuInfo(cpuInfo: string): (feature: string) => boolean {
  const flags = new Set(/^(?:flags|Features)\s*:(.*)$/m.exec(cpuInfo)?.[1].trim().split(/\s+/));
  const isAmd = /^vendor_id\s*:\s*AuthenticAMD$/m.test(cpuInfo);
  return (feature) =>
    feature === FAST_PERMUTES ? isAmd && flags.has("avx512bw") : flags.has(LINUX_FLAGS[feature] ?? feature);
}

/**
 * The best machine for a processor that says of itself what /proc/cpuinfo shows.
 * @param architecture as Node names it: `process.arch`
 * @throws UnknownMachineError for an architecture without a machine
 */
export function machineFromCpuInfo(architecture: string, cpuInfo: string): NativeMachine {
  const has = featuresOfCpuInfo(cpuInfo);
  const candidates: Readonly<Record<string, readonly string[]>> = {
    x64: ["x86-64-v4", "x86-64-v3", "x86-64"],
    arm64: ["aarch64"],
    riscv64: ["riscv64"],
  };
  const names = candidates[architecture];
  if (names === undefined) {
    throw new UnknownMachineError("there is no native code for this architecture", {
      expected: Object.keys(candidates).join(", "),
      got: architecture,
    });
  }
  const best = names.find((name) => LEVELS[name].implies.every(has)) ?? names[names.length - 1];
  return machineOf([best, ...LEVELS[best].optional.filter(has)].join("+"));
}
