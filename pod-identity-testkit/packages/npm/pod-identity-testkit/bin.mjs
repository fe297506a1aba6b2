#!/usr/bin/env node
// Runs the program of the package for this platform.

import { spawn } from "node:child_process";

import { installed } from "./index.mjs";

const program = installed();
if (program === undefined) {
  console.error(`pod-identity-testkit has no package for ${process.platform}-${process.arch}: cargo install it`);
  process.exit(1);
}
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => child.kill(signal));
}
child.once("exit", (code, signal) => (signal ? process.kill(process.pid, signal) : process.exit(code)));
