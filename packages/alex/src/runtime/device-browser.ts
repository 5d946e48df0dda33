// Devices in browsers: WebAssembly, with web workers as team members where the page is isolated.

import type { VectorTarget } from "@fidelity/core";
import { compileGraph } from "../compile.ts";
import { dotTakesUnsigned } from "../targets/wasm/relaxed-dot.ts";
import type { DebugSink } from "./debug.ts";
import { CpuDevice } from "./device.ts";
import { DeviceOptionError } from "./errors.ts";
import { memberScript, webWorkers } from "./team-browser.ts";

/** What a device in a browser is made with. */
export interface DeviceOptions {
  /**
   * Members of the thread team; by default as many as the machine runs at once, and 1 where there can be no others: in
   * pages that are not isolated, and on the main thread of any page, which may not sleep.
   */
  readonly threads?: number;
  /** The most memory that tensors and programs may take; 4 GiB, which is also the limit. */
  readonly maximumBytes?: number;
  /** Where reports go. */
  readonly debug?: DebugSink;
  /** The script of the team's workers, `@fidelity/alex/browser/worker`, where a bundler has put it elsewhere. */
  readonly workerScript?: URL;
}

const vectors: VectorTarget = { lanes: 4, joinsVectors: false, dot4Unsigned: dotTakesUnsigned() };

/**
 * Makes a device. Make it in a worker: programs run on the thread that asks for it, and a page's main thread would not
 * answer meanwhile. Several threads need a page that is cross-origin isolated: its server sends
 * `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`.
 *
 * @throws DeviceOptionError; OutOfMemoryError where the browser refuses the address space
 */
export function createDevice(options: DeviceOptions = {}): CpuDevice {
  const mayShare = globalThis.crossOriginIsolated && typeof document === "undefined";
  const { threads = mayShare ? navigator.hardwareConcurrency : 1, workerScript = memberScript, ...rest } = options;
  if (threads > 1 && !mayShare) {
    throw new DeviceOptionError("several threads cannot work here", {
      expected: "1 thread, or a worker of a page that is cross-origin isolated",
      got: `${threads} threads`,
      hint: "send Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp with the page",
    });
  }
  return new CpuDevice({
    ...rest,
    threads,
    compileGraph: (graph, compileOptions) => compileGraph(graph, { ...compileOptions, target: vectors }),
    spawn: webWorkers(workerScript),
  });
}
