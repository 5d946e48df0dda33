import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { serveSources } from "./serve.ts";

const root = mkdtempSync(join(tmpdir(), "fidelity-serve-"));
let served: Awaited<ReturnType<typeof serveSources>>;

function write(path: string, text: string): void {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
}

before(async () => {
  write("secret.ts", "export const secret = 1;\n");
  write("packages/low/package.json", `{ "exports": { ".": "./src/index.ts", "./node": "./src/index.node.ts" } }`);
  write("packages/low/src/index.ts", "export const one: number = 1;\n");
  write("packages/low/src/index.node.ts", "export {};\n");
  write("packages/low/src/.hidden.ts", "export {};\n");
  write("packages/low/dist/index.ts", "export {};\n");
  write("packages/low/src/data.bin", "bytes");
  write("packages/high/package.json", `{ "dependencies": { "@fidelity/low": "1.0.0", "far": "1.0.0" } }`);
  write("packages/high/src/far.ts", `import { far } from "far";\nimport { other } from "other";\n`);
  write("node_modules/far/package.json", `{ "exports": { ".": { "import": "./dist/far.js" } } }`);
  write("node_modules/far/dist/far.js", "export const far = 3;\n");
  write("node_modules/other/other.js", "export {};\n");
  write("files/model.bin", "0123456789");
  write("packages/high/src/broken.ts", `import { one } from "@fidelity/low/nowhere";\nconsole.log(one);\n`);
  write("packages/high/src/page.ts", `import { one } from "@fidelity/low";\nconst two: number = one + 1;\nvoid two;\n`);
  write("packages/high/page/index.html", "<!doctype html>");
  symlinkSync(join(root, "secret.ts"), join(root, "packages/low/src/link.ts"));
  served = await serveSources(root, [join(root, "files/model.bin")]);
});

after(() => {
  served.server.close();
  rmSync(root, { recursive: true });
});

// fetch() would tidy the path up before it is sent.
function ask(path: string, options: { method?: string; host?: string; range?: string } = {}) {
  const { port } = new URL(served.origin);
  const { method = "GET", host = `127.0.0.1:${port}`, range } = options;
  const headers = { host, ...(range !== undefined && { range }) };
  return new Promise<{ status?: number; headers: NodeJS.Dict<string | string[]>; text: string }>((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    sent.on("error", reject).end();
  });
}

test("types are stripped where they stand, and a room's name becomes the path of its door", async () => {
  const { status, headers, text } = await ask("/packages/high/src/page.ts?v=1");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/javascript; charset=utf-8");
  assert.equal(text, `import { one } from "/packages/low/src/index.ts";\nconst two         = one + 1;\nvoid two;\n`);
});

test("packages that a room depends on are given, others are not", async () => {
  const { text } = await ask("/packages/high/src/far.ts");
  assert.equal(text, `import { far } from "/modules/far/dist/far.js";\nimport { other } from "other";\n`);
  assert.equal((await ask("/modules/far/dist/far.js")).text, "export const far = 3;\n");
  for (const path of ["other/other.js", "far/package.json", "far/../other/other.js", "far/dist/missing.js"])
    assert.equal((await ask(`/modules/${path}`)).status, 404, path);
});

test("files that were named are given whole and by ranges", async () => {
  const part = async (range?: string) => {
    const { status, headers, text } = await ask("/files/model.bin", range === undefined ? {} : { range });
    return [status, headers["content-range"], text];
  };
  assert.deepEqual(await part(), [200, undefined, "0123456789"]);
  assert.deepEqual(await part("bytes=2-4"), [206, "bytes 2-4/10", "234"]);
  assert.deepEqual(await part("bytes=7-"), [206, "bytes 7-9/10", "789"]);
  assert.deepEqual(await part("bytes=9-99"), [206, "bytes 9-9/10", "9"]);
  assert.deepEqual(await part("bytes=10-"), [416, "bytes */10", ""]);
  assert.equal((await ask("/files/other.bin")).status, 404);
});

test("a file that has changed is read again", async () => {
  const path = "packages/high/src/changing.ts";
  for (const [state, code] of ["let a = 1;", "let b = 2;"].entries()) {
    write(path, code);
    utimesSync(join(root, path), 1000, 1000 + state);
    assert.equal((await ask(`/${path}`)).text, code);
    assert.equal((await ask(`/${path}`)).text, code);
  }
});

test("pages are isolated and may not evaluate text", async () => {
  const { status, headers, text } = await ask("/packages/high/page/");
  assert.deepEqual([status, text], [200, "<!doctype html>"]);
  assert.equal(headers["cross-origin-opener-policy"], "same-origin");
  assert.equal(headers["cross-origin-embedder-policy"], "require-corp");
  assert.match(
    String(headers["content-security-policy"]),
    /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval';/,
  );
  assert.doesNotMatch(String(headers["content-security-policy"]), /'unsafe/);
  assert.equal((await ask("/packages/high/page/", { method: "HEAD" })).text, "");
});

test("nothing but sources below packages/ is given", async () => {
  const refused = [
    "/",
    "/secret.ts",
    "/packages/../secret.ts",
    "/packages/%2e%2e/secret.ts",
    "/packages/low/..%2f..%2fsecret.ts",
    "/packages/low/..%5c..%5csecret.ts",
    "//packages/low/src/index.ts",
    "/packages/low/src/index.ts%00.css",
    "/packages/low/src/.hidden.ts",
    "/packages/low/src/link.ts",
    "/packages/low/src/index.node.ts",
    "/packages/low/src/data.bin",
    "/packages/low/src/missing.ts",
    "/packages/low/dist/index.ts",
    "/packages/low/package.json",
  ];
  for (const path of refused) assert.equal((await ask(path)).status, 404, path);
  assert.equal((await ask("/packages/%zz.ts")).status, 400);
  assert.equal((await ask("/packages/low/src/index.ts", { method: "POST" })).status, 405);
  assert.equal((await ask("/packages/low/src/index.ts", { host: "example.org" })).status, 403);
  assert.equal((await ask("/packages/low/src/index.ts")).status, 200);
});

test("an import of what no room offers says so", async () => {
  const { status, text } = await ask("/packages/high/src/broken.ts");
  assert.deepEqual([status, text], [500, "@fidelity/low/nowhere is no door of its room"]);
});
