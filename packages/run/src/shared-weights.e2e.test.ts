// Two processes that run one model file share its pages: neither has a copy of the weights (Linux, /proc/<pid>/smaps).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createInterpreter } from "@fidelity/core";
import { ByteTokenizer, createModel, createParameters, parameterTypes } from "@fidelity/models";
import { saveModel } from "./index.node.ts";

const folder = mkdtempSync(join(tmpdir(), "fidelity-shared-"));
after(() => rmSync(folder, { recursive: true }));

// Opens the model, writes two tokens, says so, tells of its memory when it is asked, and stays.
const USER = `
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { open } from ${JSON.stringify(new URL("./index.node.ts", import.meta.url).href)};
const [path, target] = process.argv.slice(2);
const anonymousKiB = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
const before = anonymousKiB();
const model = await open(path, { threads: 1, target });
const { usage } = await model.generate("a", { maxTokens: 2 }).result();
console.log(usage.completionTokens);
await once(process.stdin, "data");
const mappings = readFileSync("/proc/self/smaps", "utf8").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
const ofFile = mappings.filter((mapping) => mapping.split("\\n", 1)[0].endsWith(path)).join("\\n");
const sum = (field) => [...ofFile.matchAll(new RegExp("^" + field + ":\\\\s+(\\\\d+) kB", "gm"))]
  .reduce((total, [, kiB]) => total + Number(kiB), 0);
console.log(JSON.stringify({ rss: sum("Rss"), pss: sum("Pss"), shared: sum("Shared_Clean"), dirty: sum("Private_Dirty"),
  anonymous: anonymousKiB() - before }));
await once(process.stdin, "data"); // the other one has not looked yet
`;

interface Memory {
  readonly rss: number;
  readonly pss: number;
  readonly shared: number;
  readonly dirty: number;
  readonly anonymous: number;
}

test(
  "two processes share the weights of one file",
  { skip: process.platform !== "linux" && "Linux tells" },
  async () => {
    const [path, user] = [join(folder, "large.fid"), join(folder, "user.mjs")];
    const sizes = { dim: 1024, hiddenDim: 2048, layerCount: 1, vocabSize: 256 };
    const model = createModel({ architecture: "matmul-free", ...sizes });
    const device = createInterpreter();
    // Zeros are written as fast as they are read; what they compute is of no interest.
    const types = parameterTypes(model.parameters, { packed: false });
    const parameters = createParameters(device, types, () => undefined);
    await saveModel(path, { device, model, parameters, tokenizer: new ByteTokenizer(), packed: false });
    writeFileSync(user, USER);
    const sizeKiB = statSync(path).size / 1024;
    const users = [0, 1].map(() =>
      spawn(process.execPath, [user, path, "wasm"], { stdio: ["pipe", "pipe", "inherit"] }),
    );
    try {
      const lines = users.map(({ stdout }) => stdout.setEncoding("utf8").iterator());
      const all = async (): Promise<string[]> =>
        Promise.all(lines.map(async (line) => String((await line.next()).value)));
      assert.deepEqual(await all(), ["2\n", "2\n"]);
      for (const { stdin } of users) stdin.write("now\n");
      for (const line of await all()) {
        const memory = JSON.parse(line) as Memory;
        const seen = `${line.trim()} of ${sizeKiB} KiB`;
        assert.equal(memory.dirty, 0, seen);
        // Pages that the system has taken back meanwhile are in neither.
        assert.ok(memory.shared > 0.9 * memory.rss && memory.pss < 0.6 * memory.rss, seen);
        assert.ok(memory.anonymous < sizeKiB / 2, seen);
      }
    } finally {
      for (const child of users) child.kill();
    }
  },
);
