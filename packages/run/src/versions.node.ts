// The versions that a model or a run was made with.

import { readFileSync } from "node:fs";

export interface Versions {
  readonly fidelity: string;
  readonly node: string;
  readonly v8: string;
}

export function versions(): Versions {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const fidelity = (manifest as { readonly version: string }).version;
  return { fidelity, node: process.versions.node, v8: process.versions.v8 };
}
