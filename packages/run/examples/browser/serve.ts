// Serves this example, with a model if one is named, and prints its address:
//
//   node packages/run/examples/browser/serve.ts [model.gguf]
//
// Any server will do that gives ranges of the model's file, and sends Cross-Origin-Opener-Policy: same-origin and
// Cross-Origin-Embedder-Policy: require-corp; without these the model runs on one thread.

import { fork } from "node:child_process";
import { statSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const server = fileURLToPath(new URL("../../../../tools/serve.ts", import.meta.url));
const [model] = process.argv.slice(2);
const query = model === undefined ? "" : `?model=/files/${encodeURIComponent(basename(model))}`;
const given = model === undefined ? [] : ["--file", model];
if (model !== undefined && statSync(model, { throwIfNoEntry: false })?.isFile() !== true) {
  console.error(`${model} is no file: give a model's, such as runs/quickstart/model.fid`);
  process.exitCode = 1;
} else {
  fork(server, [`packages/run/examples/browser/${query}`, ...given], {
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
}
