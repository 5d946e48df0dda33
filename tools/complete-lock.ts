// Completes package-lock.json with the platform packages that this machine's registry does not serve.
//
// npm leaves an optional dependency out of the lock when the registry answers 404 for it, and `npm ci` then refuses
// the lock ("Missing: @oxlint/binding-android-arm64@ from lock file"). A mirror that serves only some platforms is
// enough for that. The entry that is written has the version, system and processor that the package's name states and
// no integrity hash: npm skips it where the platform differs and fetches it normally where it matches.
// Run it after each change of dependencies: `npm install && node tools/complete-lock.ts`.

import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

interface LockEntry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  license?: string;
  cpu?: string[];
  os?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

/** The part of a lock file (version 3) that is read here; every other field is kept as it stands. */
export interface Lock {
  packages: Record<string, LockEntry>;
}

/** Optional dependencies that some entry of the lock names and that have no entry of their own: name to version. */
export function missingOptional(lock: Lock): Map<string, { version: string; dev: boolean }> {
  const missing = new Map<string, { version: string; dev: boolean }>();
  for (const entry of Object.values(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (lock.packages[`node_modules/${name}`] === undefined) missing.set(name, { version, dev: entry.dev === true });
    }
  }
  return missing;
}

/** Systems by the names that some packages give them. */
const SYSTEMS: Readonly<Record<string, string>> = { mac: "darwin", win: "win32" };

/** The lock entry of a platform package, read from a name such as `@oxlint/binding-linux-x64-musl`; else undefined. */
export function platformEntry(name: string, version: string, dev: boolean): LockEntry | undefined {
  if (name.endsWith("-wasm32-wasi")) {
    return { version, cpu: ["wasm32"], ...(dev && { dev }), license: "MIT", optional: true };
  }
  const platform = /([a-z]+\d*)-(arm64|arm|x64|ia32|ppc64|riscv64|s390x|loong64)(?:-([a-z]+))?$/.exec(name);
  if (platform === null) return undefined;
  const [, system, cpu, abi] = platform;
  const os = SYSTEMS[system] ?? system;
  const entry: LockEntry = { version, cpu: [cpu], license: "MIT", optional: true, os: [os] };
  if (dev) entry.dev = true;
  if (os === "linux" && abi !== undefined) entry.libc = [abi.startsWith("musl") ? "musl" : "glibc"];
  return entry;
}

function main(): void {
  const path = fileURLToPath(new URL("../package-lock.json", import.meta.url));
  const lock: Lock = JSON.parse(readFileSync(path, "utf8"));
  const missing = missingOptional(lock);
  for (const [name, { version, dev }] of missing) {
    const entry = platformEntry(name, version, dev);
    if (entry === undefined) throw new Error(`${name}: its name does not state a platform; add its lock entry by hand`);
    lock.packages[`node_modules/${name}`] = entry;
  }
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(`${path}.new`, `${JSON.stringify(lock, null, 2)}\n`);
  renameSync(`${path}.new`, path);
  console.log(`package-lock.json: ${missing.size} platform packages added`);
}

if (import.meta.main) main();
