// The checks of `fidelity doctor`, in four sections: what Fidelity needs, what makes it fast, which tools would bring
// more, and what it can be compared with. A check that fails says what is lost and what to do.

import { existsSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { cudaMachineOf, hostMachine, openCudaDriver, searchTools } from "@fidelity/alex/node";
import { MEMORY32_BYTES_MAX, SharedArena, WASM_PAGE_BYTES } from "@fidelity/barewire";
import { loadFfi, mapFile } from "@fidelity/barewire/node";
import { freeBytes } from "@fidelity/run/node";
import { FidelityError } from "@fidelity/units";
import { formatSize } from "../table.ts";
import { ask, findProgram } from "./find-program.ts";
import { supportsWasm } from "./wasm-features.ts";
import type { WasmFeature } from "./wasm-features.ts";

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or why it is not there. */
  readonly found: string;
  /** Without it nothing runs. */
  readonly needed: boolean;
  /** What a machine with it could do. */
  readonly brings?: string;
  /** What to do to get it. */
  readonly fix?: string;
}

export interface Section {
  readonly title: string;
  readonly checks: readonly Check[];
}

const NODE_MAJOR = 26;

/** Looks at the machine; takes about a second, most of it to ask other programs for their versions. */
export function examineMachine(): Section[] {
  return [
    { title: "What Fidelity needs", checks: [checkNode(), ...checkWasm(), checkSharedMemory()] },
    {
      title: "What makes it faster and larger",
      checks: [checkThreads(), checkMemory(), checkMapping(), checkMemory64()],
    },
    { title: "Tools that this version can use", checks: [checkNative(), checkChromium(), checkGpu()] },
    { title: "Peers to compare with", checks: [checkTorch()] },
  ];
}

function checkNode(): Check {
  const version = process.versions.node;
  return {
    name: "Node",
    ok: Number.parseInt(version, 10) >= NODE_MAJOR,
    found: `${version}, V8 ${process.versions.v8}, ${process.platform}-${process.arch}, at ${process.execPath}`,
    needed: true,
    fix: `npm ci installs Node ${NODE_MAJOR} beside Fidelity; or take it from https://nodejs.org`,
  };
}

function checkWasm(): Check[] {
  const check = (name: string, feature: WasmFeature): Check => {
    const ok = supportsWasm(feature);
    return {
      name,
      ok,
      found: ok ? "accepted by the engine" : "refused by the engine",
      needed: true,
      fix: `use Node ${NODE_MAJOR} on a 64-bit machine with SIMD; without it only --target interpreter runs`,
    };
  };
  return [
    check("WebAssembly SIMD", "simd"),
    check("WebAssembly relaxed SIMD", "relaxed-simd"),
    check("WebAssembly threads", "threads"),
  ];
}

function checkMemory64(): Check {
  const ok = supportsWasm("memory64");
  return {
    name: "memory64",
    ok,
    found: ok ? "accepted by the engine" : "refused by the engine",
    needed: false,
    brings: "models from 4 to 16 GiB on the native target",
  };
}

function checkThreads(): Check {
  const threads = availableParallelism();
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  return {
    name: "threads",
    ok: threads > 1,
    found: `${threads} at once on ${model}`,
    needed: false,
    brings: "training and decoding on several cores",
    fix: "give the process or the container more cores",
  };
}

function checkMemory(): Check {
  // In a container the limit may be below what the machine has; 0 means that there is none.
  const limit = process.constrainedMemory();
  const total = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return {
    name: "memory",
    ok: total >= 2 ** 30,
    found: `${formatSize(total)}, ${formatSize(freeBytes())} of it free`,
    needed: false,
    brings: "room for training; the quickstart takes about 300 MiB",
    fix: "close other programs, or train with a smaller --width and --batch",
  };
}

function checkSharedMemory(): Check {
  try {
    using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: MEMORY32_BYTES_MAX });
    return {
      name: "shared memory",
      ok: true,
      found: `${formatSize(arena.maximumBytes)} of address space reserved in one shared memory`,
      needed: true,
    };
  } catch (error) {
    return {
      name: "shared memory",
      ok: false,
      found: reasonOf(error),
      needed: true,
      fix: "raise the limit on address space (ulimit -v unlimited)",
    };
  }
}

function checkMapping(): Check {
  const base = {
    name: "mapped files",
    needed: false,
    brings: "models that are used in place, without reading them into memory first",
  };
  const { reason } = loadFfi();
  if (reason !== undefined) {
    return { ...base, ok: false, found: reason, fix: "allow native calls (no --permission), or go on: files are read" };
  }
  try {
    using arena = SharedArena.create({ initialBytes: WASM_PAGE_BYTES, maximumBytes: 4 * WASM_PAGE_BYTES });
    using file = mapFile(fileURLToPath(import.meta.url), arena);
    const found = file.reason ?? "mmap over shared memory through node:ffi works";
    return { ...base, ok: file.how === "mapped", found, fix: "use Linux; elsewhere files are read, which is slower" };
  } catch (error) {
    return { ...base, ok: false, found: reasonOf(error) };
  }
}

function checkNative(): Check {
  const { found, missing } = searchTools();
  const base = {
    name: "native code",
    needed: false,
    brings: "code of this processor by LLVM, --target native: about twice the speed of WebAssembly in training",
    fix: "apt install mlir-19-tools llvm-19 lld-19 (Debian, Ubuntu)",
  };
  if (missing.length > 0) {
    return { ...base, ok: false, found: `${missing.map((tool) => `${tool}-19`).join(", ")} not found` };
  }
  try {
    return { ...base, ok: true, found: `${found.llc}, for ${hostMachine().name}` };
  } catch (error) {
    return { ...base, ok: false, found: reasonOf(error), fix: "use --target wasm" };
  }
}

function checkChromium(): Check {
  const program = findProgram("chromium", "chromium-browser", "google-chrome");
  return {
    name: "Chromium",
    ok: program !== undefined,
    found: program ?? "chromium is not on the PATH",
    needed: false,
    brings: "the tests and the bench of models in a browser",
    fix: "apt install chromium (Debian)",
  };
}

function checkGpu(): Check {
  const base = {
    name: "GPU",
    needed: false,
    brings: "programs on an NVIDIA GPU, --target cuda; what it compiles needs LLVM 19, too",
    fix: "install NVIDIA's driver where there is such a GPU",
  };
  const { driver, reason } = openCudaDriver();
  if (driver === undefined) return { ...base, ok: false, found: reason };
  const { name, capability, memoryBytes } = driver;
  const found = `${name}, compute capability ${capability / 10}, ${formatSize(memoryBytes)}`;
  return { ...base, ok: cudaMachineOf(capability) !== undefined, found };
}

function checkTorch(): Check {
  // Debian's Python first: that is where python3-torch is. The version is read, not imported, which takes seconds.
  const script = [
    "import importlib.util as u, pathlib, re",
    "spec = u.find_spec('torch')",
    "text = pathlib.Path(spec.origin).with_name('version.py').read_text() if spec else ''",
    "print(*re.findall(r\"__version__ = '([^']*)'\", text)[:1])",
  ].join("\n");
  const pythons = [existsSync("/usr/bin/python3") ? "/usr/bin/python3" : undefined, findProgram("python3", "python")];
  for (const python of new Set(pythons)) {
    const version = python === undefined ? undefined : ask(python, ["-c", script]);
    if (version === undefined || version === "") continue;
    return { name: "PyTorch", ok: true, found: `${version} for ${python}`, needed: false };
  }
  return {
    name: "PyTorch",
    ok: false,
    found: pythons.some((python) => python !== undefined) ? "Python has no module torch" : "there is no Python",
    needed: false,
    brings: "the ratio to PyTorch in fidelity bench",
    fix: "apt install python3-torch (Debian)",
  };
}

function reasonOf(error: unknown): string {
  if (error instanceof FidelityError) return [error.summary, error.details.got].filter(Boolean).join(": ");
  return error instanceof Error ? error.message : String(error);
}
