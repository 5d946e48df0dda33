// How much memory a process can still have. Where a control group limits it, as in a container, what the system's cache
// keeps of files counts as used (`memory.stat`: Linux, admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst). It is given up
// when somebody asks for memory, so that it is free here: a model that was just downloaded would leave none for itself.
// Leaves out limits of groups further up, and browsers, which do not say.

// Asked for at run time, because browsers run this file as well.
const node = (globalThis as { readonly process?: Partial<NodeJS.Process> }).process;

/** What is free on this machine, as far as that can be known. */
export function freeBytes(): number {
  const unusedBytes = node?.availableMemory?.() ?? Infinity;
  const [files, os] = [node?.getBuiltinModule?.("node:fs"), node?.getBuiltinModule?.("node:os")];
  if (files === undefined || os === undefined || node?.platform !== "linux") return unusedBytes;
  const read = (path: string): string | undefined => {
    try {
      return files.readFileSync(path, "latin1");
    } catch {
      return undefined;
    }
  };
  return Math.min(os.freemem(), unusedBytes + cacheBytes(read));
}

/** What the cache keeps of files for the control group of this process; 0 where there is none. */
export function cacheBytes(read: (path: string) => string | undefined): number {
  const groups = read("/proc/self/cgroup") ?? "";
  const first = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1];
  const [root, prefix] = first === undefined ? ["/sys/fs/cgroup", ""] : ["/sys/fs/cgroup/memory", "total_"];
  const path = first ?? /^0::(.*)$/m.exec(groups)?.[1] ?? "";
  // In a container the group's path may be that outside of it.
  const stat = read(`${root}${path}/memory.stat`) ?? read(`${root}/memory.stat`) ?? "";
  const sizes = [`${prefix}active_file`, `${prefix}inactive_file`].map((name) => {
    return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
  });
  return sizes[0] + sizes[1];
}
