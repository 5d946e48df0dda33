// The machine that this process runs on. FIDELITY_TARGET_CPU names another one that its processor can run, too.

import { readFileSync } from "node:fs";
import { requestMatrixRegisters } from "./amx.node.ts";
import { UnknownMachineError, featuresOfCpuInfo, machineFromCpuInfo, machineOf } from "./machine.ts";
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
  const host = permitted(machineFromCpuInfo(process.arch, readCpuInfo()));
  if (named === undefined || named === "") return host;
  const machine = machineOf(named);
  const has = featuresOfCpuInfo(readCpuInfo());
  const lacking = [...machine.features].filter((feature) =>
    feature.startsWith("amx-") ? !host.features.has(feature) : !host.features.has(feature) && !has(feature),
  );
  if (machine.architecture !== host.architecture || lacking.length > 0) {
    throw new UnknownMachineError("this processor cannot run code for the machine of FIDELITY_TARGET_CPU", {
      expected: `what ${host.name} has`,
      got: named,
    });
  }
  return machine;
}

/** A machine without the matrix registers that the system keeps from this process, if it does. */
function permitted(machine: NativeMachine): NativeMachine {
  const [base, ...added] = machine.name.split("+");
  const isMatrix = (feature: string): boolean => feature.startsWith("amx-");
  if (!added.some(isMatrix) || requestMatrixRegisters()) return machine;
  return machineOf([base, ...added.filter((feature) => !isMatrix(feature))].join("+"));
}

function readCpuInfo(): string {
  try {
    return readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}
