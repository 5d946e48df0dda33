// The public face of cli: the command line as a function, for programs that start commands without a process.

export { runCommandLine } from "./program.ts";
