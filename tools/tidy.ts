// The test that lints the repository (an idea of TigerBeetle's tidy): what no linter knows about this house. Each rule
// is a pure function from the repository to findings; `npm run tidy` prints them as file:line, rule and advice.

import { bannedCalls, fileSizes, functionSizes, headers, lineLengths, marks } from "./tidy/code.ts";
import { readRepo } from "./tidy/repo.ts";
import type { Finding, Repo } from "./tidy/repo.ts";
import { deadFiles, floors, nodeOnly, roomFiles, undeclared } from "./tidy/rooms.ts";
import { deadLinks, lockComplete, machinePaths } from "./tidy/texts.ts";

const RULES: readonly ((repo: Repo) => Finding[])[] = [
  floors,
  nodeOnly,
  undeclared,
  deadFiles,
  roomFiles,
  bannedCalls,
  fileSizes,
  functionSizes,
  marks,
  lineLengths,
  headers,
  deadLinks,
  machinePaths,
  lockComplete,
];

const repo = readRepo();
const findings = RULES.flatMap((rule) => rule(repo)).sort((a, b) => a.path.localeCompare(b.path) || a.line - b.line);
for (const { path, line, rule, message, advice } of findings) {
  console.log(`${path}:${line}: ${rule}: ${message}\n  try: ${advice}`);
}
console.log(`tidy: ${repo.sources.length} source files, ${RULES.length} rules, ${findings.length} findings`);
process.exitCode = findings.length > 0 ? 1 : 0;
