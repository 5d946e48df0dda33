// The entry: runs the command line of this process when it is imported. The launcher (bin/fidelity.js) has made sure
// that this is Node 26.

import { guardOutput } from "./output.ts";
import { runCommandLine } from "./program.ts";

guardOutput();
process.exitCode = await runCommandLine(process.argv.slice(2));
