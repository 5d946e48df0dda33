// Memory on a chosen node. The nodes are read from /sys/devices/system/node; pages are bound by mbind(2), called
// through `syscall` since libc has no function of it. A node with memory and without processors is far memory, CXL for
// instance: space `coherent` takes that, else a node that is not the nearest, else ordinary memory, and says which and
// why. Left out: migrating pages that another process holds.

import { readdirSync, readFileSync } from "node:fs";

import type { Allocation, SharedArena } from "../arena.ts";
import { loadFfi } from "../ffi.node.ts";
import type { Region } from "../region.ts";
import { addressOf, libc, wholePages } from "./libc.node.ts";
import type { Placement } from "./libc.node.ts";

/** One node of the machine. */
export interface NumaNode {
  readonly id: number;
  /** Processors, as in `0-3,8`; empty for a node of memory alone. */
  readonly cpus: string;
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** Distances to all nodes, 10 to itself. */
  readonly distances: readonly number[];
}

const NODES_FOLDER = "/sys/devices/system/node";
const PAGE_BYTES = 65536;
const MPOL_BIND = 2n;
const MPOL_MF_MOVE = 2n;
/** The numbers of `mbind`. */
const MBIND: Readonly<Record<string, bigint>> = { x64: 237n, arm64: 235n, riscv64: 235n };
const MASK_BITS = 64;

/** The nodes with memory; empty where the system does not tell. */
export function numaNodes(): NumaNode[] {
  try {
    const names = readdirSync(NODES_FOLDER).filter((name) => /^node\d+$/.test(name));
    const nodes = names.map((name) => readNode(Number(name.slice(4)), `${NODES_FOLDER}/${name}`));
    return nodes.filter((node) => node.totalBytes > 0).sort((a, b) => a.id - b.id);
  } catch {
    return [];
  }
}

function readNode(id: number, folder: string): NumaNode {
  const memory = readFileSync(`${folder}/meminfo`, "utf8");
  const bytesOf = (name: string): number => 1024 * Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(memory)?.[1] ?? 0);
  return {
    id,
    cpus: readFileSync(`${folder}/cpulist`, "utf8").trim(),
    totalBytes: bytesOf("MemTotal"),
    freeBytes: bytesOf("MemFree"),
    distances: readFileSync(`${folder}/distance`, "utf8").trim().split(/\s+/).map(Number),
  };
}

/**
 * Binds the pages of a region to a node and moves those that are elsewhere. Says why where there is nothing to choose.
 */
export function bindToNode(region: Region, node: number): Placement {
  const nodes = numaNodes();
  if (nodes.length < 2) return { isDone: false, reason: "the machine has one node of memory, so there is no choice" };
  if (!nodes.some(({ id }) => id === node)) {
    return {
      isDone: false,
      reason: `there is no node ${node}; the machine has ${nodes.map(({ id }) => id).join(", ")}`,
    };
  }
  return bindPages(region, node);
}

/** `mbind` itself, for a node that is known to be there. */
export function bindPages(region: Region, node: number): Placement {
  const calls = libc();
  const number = MBIND[process.arch];
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) return { isDone: false, reason };
  if (typeof calls === "string") return { isDone: false, reason: calls };
  if (number === undefined) return { isDone: false, reason: `mbind has no known number on ${process.arch}` };
  const { from, sizeBytes } = wholePages(addressOf(region, calls), region.sizeBytes, PAGE_BYTES);
  if (sizeBytes === 0n) return { isDone: false, reason: "the region holds no whole page" };
  const word = "uint64";
  const { functions } = ffi.dlopen(null, {
    syscall: { arguments: [word, word, word, word, word, word, word], return: "int64" },
  });
  const mask = BigUint64Array.of(1n << BigInt(node), 0n);
  const maskAddress = ffi.getRawPointer(mask);
  // The kernel reads one bit less than it is told.
  const bits = BigInt(MASK_BITS + 1);
  const result = functions.syscall(number, from, sizeBytes, MPOL_BIND, maskAddress, bits, MPOL_MF_MOVE);
  return result === 0n ? { isDone: true } : { isDone: false, reason: "mbind refused (a sandbox may forbid it)" };
}

/** Far memory, or what was taken in its place. */
export interface CoherentMemory extends Disposable {
  readonly region: Region<"coherent", "rw">;
  /** The node that holds it; undefined for ordinary memory. */
  readonly node: number | undefined;
  /** Why it is ordinary memory; undefined for far memory. */
  readonly reason: string | undefined;
}

/** `sizeBytes` in space `coherent`: on a node of memory alone if there is one, else on the farthest, else ordinary. */
export function allocCoherent(arena: SharedArena, sizeBytes: number, label = "coherent"): CoherentMemory {
  // Whole pages, so that binding them moves no neighbour's bytes.
  const allocation = arena.alloc(Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES, PAGE_BYTES, label);
  const nodes = numaNodes();
  const far = farNode(nodes);
  if (far === undefined) {
    const got = nodes.length === 0 ? "the system tells of no nodes" : "the machine has one node of memory";
    return coherent(allocation, sizeBytes, undefined, `no far memory: ${got}; ordinary memory was taken`);
  }
  const placed = bindPages(allocation, far.id);
  if (placed.isDone) return coherent(allocation, sizeBytes, far.id, undefined);
  return coherent(allocation, sizeBytes, undefined, `${placed.reason}; ordinary memory was taken`);
}

function coherent(
  allocation: Allocation,
  sizeBytes: number,
  node: number | undefined,
  reason: string | undefined,
): CoherentMemory {
  const region = allocation.asCoherent().sub(0, sizeBytes);
  return { region, node, reason, [Symbol.dispose]: () => allocation[Symbol.dispose]() };
}

/** The node to take for far memory; undefined where all memory is near. */
export function farNode(nodes: readonly NumaNode[]): NumaNode | undefined {
  if (nodes.length < 2) return undefined;
  const alone = nodes.find((node) => node.cpus === "");
  if (alone !== undefined) return alone;
  // Distances from node 0, where processes start unless they were told otherwise.
  return nodes.slice(1).toSorted((a, b) => b.distances[0] - a.distances[0])[0];
}
