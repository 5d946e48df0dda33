// Rules about the rooms: who may import whom, where Node's own modules may be used, what each room must hold, and that
// no file lies about unused. The floors are those of ARCHITECTURE.md; an arrow goes down only.

import { posix } from "node:path";
import { lineAt, walk } from "./repo.ts";
import type { Finding, ImportSite, Repo, SourceFile } from "./repo.ts";

/** What each room may import. A room that is not in the table is a finding: give it its floor here. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  units: [],
  barewire: ["units"],
  core: ["barewire", "units"],
  furnace: ["core", "barewire", "units"],
  alex: ["core", "barewire", "units"],
  models: ["core", "barewire", "units"],
  formats: ["core", "barewire", "units"],
  run: ["alex", "models", "formats", "core", "barewire", "units"],
  train: ["run", "furnace", "alex", "models", "formats", "core", "barewire", "units"],
  cli: ["train", "run", "furnace", "alex", "models", "formats", "core", "barewire", "units"],
  bench: ["cli", "train", "run", "furnace", "alex", "models", "formats", "core", "barewire", "units"],
  examples: ["cli", "train", "run", "furnace", "alex", "models", "formats", "core", "barewire", "units"],
  tools: [],
};

/** The rooms that also run in a browser. */
export const BROWSER_ROOMS: readonly string[] = [
  "units",
  "barewire",
  "core",
  "furnace",
  "alex",
  "models",
  "formats",
  "run",
];

/** An arrow between rooms that goes up or sideways, or round the front door of a room. */
export function floors(repo: Repo): Finding[] {
  return eachImport(repo, "floors", (file, site) => {
    const allowed = MAY_IMPORT[file.room];
    if (allowed === undefined) {
      return { message: `no floor for the room ${file.room}`, advice: "add it to MAY_IMPORT in tools/tidy/rooms.ts" };
    }
    const room = /^@fidelity\/([^/]+)/.exec(site.specifier)?.[1];
    if (room !== undefined && !allowed.includes(room) && !(file.isExample && room === file.room)) {
      const may = allowed.length === 0 ? "nothing" : allowed.join(", ");
      return { message: `${file.room} imports ${room}`, advice: `${file.room} may import ${may}; move the code down` };
    }
    const target = resolveRelative(file, site.specifier);
    if (target !== undefined && roomRoot(target) !== roomRoot(file.path)) {
      return {
        message: `reaches into another room: ${site.specifier}`,
        advice: "import @fidelity/<room>; what it does not export is private",
      };
    }
    return undefined;
  });
}

/** `node:` modules, `*.node.ts` files or Node's globals in code that must run in a browser. */
export function nodeOnly(repo: Repo): Finding[] {
  const browser = (file: SourceFile) =>
    BROWSER_ROOMS.includes(file.room) && !file.isTest && !file.isExample && !file.path.endsWith(".node.ts");
  const advice = "move it to a *.node.ts file and pass what it makes as an argument";
  const imports = eachImport(repo, "node-only", (file, site) => {
    if (!browser(file) || site.typeOnly) return undefined;
    if (site.specifier.startsWith("node:") || site.specifier.endsWith(".node.ts") || site.specifier.endsWith("/node")) {
      return { message: `imports ${site.specifier} in a room that runs in browsers`, advice };
    }
    return undefined;
  });
  const globals: Finding[] = [];
  for (const file of repo.sources.filter(browser)) {
    walk(file.program, (node) => {
      if (node.type !== "MemberExpression" && node.type !== "CallExpression") return;
      const head = node.type === "CallExpression" ? node.callee : node.object;
      const name = typeof head === "object" && head !== null && "name" in head ? head.name : undefined;
      if (name !== "process" && name !== "Buffer" && name !== "require") return;
      globals.push({
        rule: "node-only",
        path: file.path,
        line: lineAt(file.text, node.start),
        message: `uses Node's global ${name} in a room that runs in browsers`,
        advice,
      });
    });
  }
  return [...imports, ...globals];
}

/** A package that is imported and not declared by the room. Tests and tools may use the root's devDependencies. */
export function undeclared(repo: Repo): Finding[] {
  const rootDev = Object.keys(repo.manifests.get(".")?.devDependencies ?? {});
  return eachImport(repo, "undeclared", (file, site) => {
    if (/^(\.|node:|#)/.test(site.specifier)) return undefined;
    const name = site.specifier.split("/", site.specifier.startsWith("@") ? 2 : 1).join("/");
    const manifest = repo.manifests.get(roomRoot(file.path));
    const declared = [...Object.keys(manifest?.dependencies ?? {}), ...Object.keys(manifest?.peerDependencies ?? {})];
    if (file.isTest || /\/testing[^/]*\.ts$/.test(file.path) || file.room === "tools") declared.push(...rootDev);
    if (file.isExample) declared.push(`@fidelity/${file.room}`);
    if (declared.includes(name)) return undefined;
    return {
      message: `imports ${name}, which the room does not declare`,
      advice: `add it to ${roomRoot(file.path)}/package.json`,
    };
  });
}

/** Source files that nothing imports, names or starts. */
export function deadFiles(repo: Repo): Finding[] {
  const used = new Set<string>();
  for (const file of repo.sources) {
    walk(file.program, (node) => {
      if (node.type !== "Literal" || typeof node.value !== "string") return;
      const target = resolveRelative(file, node.value);
      if (target !== undefined) used.add(target);
    });
  }
  for (const { path, text } of repo.texts.filter((file) => file.path.endsWith(".html"))) {
    for (const [, source] of text.matchAll(/<script[^>]* src="(\.[^"]+\.ts)"/g)) {
      used.add(posix.normalize(posix.join(posix.dirname(path), source)));
    }
  }
  const manifests = repo.texts.filter(({ path }) => posix.basename(path) === "package.json");
  const launcher = repo.texts.filter(({ path }) => path.endsWith(".js") || path.startsWith(".ci/"));
  const starts = (file: SourceFile) =>
    manifests.some(({ text }) => text.includes(file.path)) ||
    launcher.some(({ text }) => text.includes(posix.basename(file.path)));
  return repo.sources
    .filter((file) => !file.isTest && !file.isExample && !used.has(file.path) && !starts(file))
    .filter(
      (file) =>
        !/\/src\/index(\.(browser|node))?\.ts$/.test(file.path) &&
        !(file.room === "tools" && file.path.split("/").length === 2),
    )
    .map((file) => ({
      rule: "dead-file",
      path: file.path,
      line: 1,
      message: "no file imports it",
      advice: "delete it, or import it where it belongs",
    }));
}

/** What each room must hold: a README, its public face, a package.json of the common version and a tsconfig. */
export function roomFiles(repo: Repo): Finding[] {
  const version = repo.manifests.get(".")?.version;
  const findings: Finding[] = [];
  const add = (path: string, message: string, advice: string) =>
    findings.push({ rule: "room-files", path, line: 1, message, advice });
  for (const [folder, manifest] of repo.manifests) {
    if (!/^packages\/[^/]+$/.test(folder)) continue;
    for (const name of ["README.md", "src/index.ts", "tsconfig.json"]) {
      if (!repo.paths.has(`${folder}/${name}`)) add(`${folder}/${name}`, "is missing", "every room has one");
    }
    if (manifest.version !== version) {
      add(`${folder}/package.json`, `version ${manifest.version}, not ${version}`, "all rooms have the root's version");
    }
    const tsconfig = repo.texts.find(({ path }) => path === `${folder}/tsconfig.json`)?.text ?? "";
    for (const dependency of Object.keys(manifest.dependencies ?? {})) {
      const room = /^@fidelity\/(.+)$/.exec(dependency)?.[1];
      if (room !== undefined && !tsconfig.includes(`"../${room}"`)) {
        add(`${folder}/tsconfig.json`, `has no reference to ../${room}`, "references follow the dependencies");
      }
    }
  }
  return findings;
}

type Complaint = Pick<Finding, "message" | "advice">;

function eachImport(
  repo: Repo,
  rule: string,
  check: (file: SourceFile, site: ImportSite) => Complaint | undefined,
): Finding[] {
  const findings: Finding[] = [];
  for (const file of repo.sources) {
    for (const site of file.imports) {
      const complaint = check(file, site);
      if (complaint !== undefined) {
        findings.push({ rule, path: file.path, line: lineAt(file.text, site.start), ...complaint });
      }
    }
  }
  return findings;
}

function resolveRelative(file: SourceFile, specifier: string): string | undefined {
  if (!/^\.\.?\/.*\.ts$/.test(specifier)) return undefined;
  return posix.normalize(posix.join(posix.dirname(file.path), specifier));
}

function roomRoot(path: string): string {
  return path.startsWith("packages/") ? path.split("/", 2).join("/") : path.split("/", 1)[0];
}
