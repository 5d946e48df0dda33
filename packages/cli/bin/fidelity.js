#!/usr/bin/env node
// The launcher of the fidelity command. It is plain ES5 (but for one import), because it may be read by any Node from
// version 12 on: its only work is to find Node 26, which runs the TypeScript sources and has node:ffi, and to hand over.
//
// Node 26 comes with the install as a package per platform without scripts. When this process is older, the launcher
// runs itself again under that binary and passes arguments, terminal, signals and exit code through.

"use strict";

var childProcess = require("child_process");
var fs = require("fs");
var path = require("path");
var url = require("url");

var NODE_MAJOR = 26;

if (parseInt(process.versions.node, 10) >= NODE_MAJOR) {
  silenceFfiWarning();
  runHere();
} else {
  runUnderBundledNode(findBundledNode());
}

function runHere() {
  // Types are stripped and modules compiled once, and kept in the system's folder for temporary files: starting then
  // takes a third of the time. Where that folder cannot be written, nothing is kept and nothing is said.
  require("module").enableCompileCache();
  // A checkout has the sources; a published package has what was built from them.
  var source = path.join(__dirname, "..", "src", "main.ts");
  var main = fs.existsSync(source) ? source : path.join(__dirname, "..", "dist", "main.js");
  import(url.pathToFileURL(main).href).catch(function (error) {
    console.error(error);
    process.exitCode = 70;
  });
}

// node:ffi announces itself as experimental at its first use. The version of Node is pinned, so that tells the user
// nothing; every other warning still prints.
function silenceFfiWarning() {
  var emitWarning = process.emitWarning;
  process.emitWarning = function (warning) {
    if (String(warning).indexOf("FFI is an experimental feature") === 0) return;
    emitWarning.apply(process, arguments);
  };
}

function findBundledNode() {
  var platform = process.platform === "win32" ? "win" : process.platform;
  var file = process.platform === "win32" ? "bin/node.exe" : "bin/node";
  var names = ["node-" + platform + "-" + process.arch, "node-bin-" + platform + "-" + process.arch];
  for (var i = 0; i < names.length; i++) {
    try {
      return require.resolve(names[i] + "/" + file);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  console.error(
    [
      "fidelity needs Node " + NODE_MAJOR + " or later",
      "  expected: Node " + NODE_MAJOR + ", or the package " + names.join(" or ") + " beside fidelity",
      "  got:      Node " + process.versions.node + " on " + process.platform + "-" + process.arch,
      "  try:      install again without --omit=optional, or install Node " + NODE_MAJOR + " from https://nodejs.org",
    ].join("\n"),
  );
  process.exit(69);
}

function runUnderBundledNode(node) {
  var child;
  var onTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  var handlers = {};
  // Before the child starts: a signal that comes while it does would otherwise end this process and leave the child.
  ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"].forEach(function (signal) {
    handlers[signal] = function () {
      // A terminal sends Ctrl-C and Ctrl-\ to both processes itself; twice would mean "stop at once".
      if (onTerminal && (signal === "SIGINT" || signal === "SIGQUIT")) return;
      child.kill(signal);
    };
    process.on(signal, handlers[signal]);
  });
  child = childProcess.spawn(node, [__filename].concat(process.argv.slice(2)), { stdio: "inherit" });
  child.on("error", function (error) {
    console.error("fidelity could not start " + node + ": " + error.message);
    process.exit(69);
  });
  child.on("exit", function (code, signal) {
    if (signal === null) process.exit(code);
    if (handlers[signal]) process.removeListener(signal, handlers[signal]);
    process.kill(process.pid, signal);
  });
}
