// Rules about every text file: links that lead somewhere, no path of one machine, and a lock file that `npm ci` takes.

import { posix } from "node:path";
import { missingOptional } from "../complete-lock.ts";
import { lineAt } from "./repo.ts";
import type { Finding, Repo } from "./repo.ts";

/** Relative links of Markdown pages that lead nowhere. */
export function deadLinks(repo: Repo): Finding[] {
  const findings: Finding[] = [];
  const folders = new Set([...repo.paths].flatMap(parents));
  for (const { path, text } of repo.texts.filter((file) => file.path.endsWith(".md"))) {
    for (const link of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(link[1])) continue;
      const target = posix.normalize(posix.join(posix.dirname(path), link[1])).replace(/\/$/, "");
      if (repo.paths.has(target) || folders.has(target)) continue;
      findings.push({
        rule: "dead-link",
        path,
        line: lineAt(text, link.index),
        message: `${link[1]} is not there`,
        advice: "mend the link or write the page",
      });
    }
  }
  return findings;
}

function parents(path: string): string[] {
  const found: string[] = [];
  for (let folder = posix.dirname(path); folder !== "."; folder = posix.dirname(folder)) found.push(folder);
  return found;
}

/** Absolute paths that exist on somebody's machine only. */
export function machinePaths(repo: Repo): Finding[] {
  const findings: Finding[] = [];
  for (const { path, text } of repo.texts) {
    for (const found of text.matchAll(/(?<![\w.*/-])\/(work|root|home)\/[\w.-]+/g)) {
      findings.push({
        rule: "machine-path",
        path,
        line: lineAt(text, found.index),
        message: `${found[0]} is a path of one machine`,
        advice: "use a path relative to the repository or os.tmpdir()",
      });
    }
  }
  return findings;
}

/** A lock file that lacks platform packages, which makes `npm ci` refuse it. */
export function lockComplete(repo: Repo): Finding[] {
  const path = "package-lock.json";
  const lock = repo.texts.find((file) => file.path === path);
  if (lock === undefined) return [];
  return [...missingOptional(JSON.parse(lock.text)).keys()].map((name) => ({
    rule: "lock",
    path,
    line: 1,
    message: `has no entry for ${name}`,
    advice: "run: node tools/complete-lock.ts",
  }));
}
