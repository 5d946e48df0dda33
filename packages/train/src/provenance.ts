// Where a run happened: the versions and the machine, for whoever reads the run folder later.

import { readFileSync } from "node:fs";
import os from "node:os";

export interface Versions {
  readonly fidelity: string;
  readonly node: string;
  readonly v8: string;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly platform: string;
}

export function versions(): Versions {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const fidelity = (manifest as { readonly version: string }).version;
  return { fidelity, node: process.versions.node, v8: process.versions.v8 };
}

export function machine(): Machine {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    platform: `${os.platform()} ${os.release()} ${os.arch()}`,
  };
}
