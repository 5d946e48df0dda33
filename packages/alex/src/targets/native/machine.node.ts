// The machine that this process runs on. FIDELITY_TARGET_CPU names another one that its processor can run, too.

import { readFileSync } from "node:fs";
import { UnknownMachineError, machineFromCpuInfo, machineOf } from "./machine.ts";
import type { NativeMachine } from "./machine.ts";

/**
 * The best machine for this processor, or the one that FIDELITY_TARGET_CPU names.
 * @throws UnknownMachineError when there is no native code for it
 */
export function hostMachine(environment: NodeJS.ProcessEnv = process.env): NativeMachine {
  if (process.platform !== "linux") {
    throw new UnknownMachineError("the native target runs on Linux", { got: process.platform, hint: "use wasm" });
  }
  const named = environment.FIDELITY_TARGET_CPU;
  if (named === undefined || named === "") return machineFromCpuInfo(process.arch, readCpuInfo());
  const machine = machineOf(named);
  const host = machineFromCpuInfo(process.arch, readCpuInfo());
  const lacking = [...machine.features].filter((feature) => !hasFeature(host, feature));
  if (machine.architecture !== host.architecture || lacking.length > 0) {
    throw new UnknownMachineError("this processor cannot run code for the machine of FIDELITY_TARGET_CPU", {
      expected: `what ${host.name} has`,
      got: named,
    });
  }
  return machine;
}

/** AVX-VNNI says nothing of AVX-512, and what v4 has beyond is asked of v4 only. */
function hasFeature(host: NativeMachine, feature: string): boolean {
  return host.features.has(feature) || feature === "avxvnni";
}

function readCpuInfo(): string {
  try {
    return readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}
