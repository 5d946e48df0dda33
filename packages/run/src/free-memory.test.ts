// What control groups of both versions keep of files, and that it is never more than the machine has.

import assert from "node:assert/strict";
import { totalmem } from "node:os";
import { test } from "node:test";
import { cacheBytes, freeBytes } from "./free-memory.ts";

const reading = (files: Readonly<Record<string, string>>) => (path: string) => files[path];
const STAT_2 = "anon 500\nfile 9000\nshmem 70\ninactive_file 4000\nactive_file 3000\n";
const STAT_1 = "cache 9\ninactive_file 1\nactive_file 2\ntotal_inactive_file 4000\ntotal_active_file 3000\n";

test("the cache of files is found for groups of both versions, inside of containers as well", () => {
  const cases: readonly Readonly<Record<string, string>>[] = [
    { "/proc/self/cgroup": "0::/user.slice/a b\n", "/sys/fs/cgroup/user.slice/a b/memory.stat": STAT_2 },
    { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup//memory.stat": STAT_2 },
    { "/proc/self/cgroup": "0::/docker/12\n", "/sys/fs/cgroup/memory.stat": STAT_2 },
    { "/proc/self/cgroup": "5:cpu,cpuacct:/c\n4:memory:/m\n0::/u\n", "/sys/fs/cgroup/memory/m/memory.stat": STAT_1 },
    { "/proc/self/cgroup": "4:hugetlb,memory:/docker/12\n", "/sys/fs/cgroup/memory/memory.stat": STAT_1 },
  ];
  for (const files of cases) assert.equal(cacheBytes(reading(files)), 7000, JSON.stringify(files));
  assert.equal(cacheBytes(reading({})), 0);
  assert.equal(cacheBytes(reading({ "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup//memory.stat": "anon 5\n" })), 0);
});

test("some memory is free, and not more than the machine has", () => {
  const free = freeBytes();
  assert.ok(free > 0 && free <= totalmem(), String(free));
});
