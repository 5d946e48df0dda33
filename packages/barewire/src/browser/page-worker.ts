// Runs the suites in a worker of a page; the workers at the other ends of its channels are its own.

import { browserCrew } from "./crew-browser.ts";
import { isolated } from "./environment.ts";
import { runSuites } from "./suite.ts";
import { SUITES } from "./suites.ts";

const crew = browserCrew();
postMessage(await runSuites([...SUITES, isolated], { name: "worker", crew }));
