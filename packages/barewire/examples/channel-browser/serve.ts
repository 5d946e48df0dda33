// Serves this example and prints its address: `node packages/barewire/examples/channel-browser/serve.ts`. Any server
// will do that sends Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp.

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const server = fileURLToPath(new URL("../../../../tools/serve.ts", import.meta.url));
fork(server, ["packages/barewire/examples/channel-browser/"], { execArgv: ["--disable-warning=ExperimentalWarning"] });
