// Mocks of Amazon EKS Pod Identity for tests in JavaScript. Each is a process of the program
// `pod-identity-testkit`.
//
//     import { start } from "pod-identity-testkit"; // or "./pod-identity-testkit.mjs", if you copy this file
//
//     const mock = await start("agent");
//     await mock.fault({ status: 503, count: 2 });
//     const child = spawn("node", ["app.js"], { env: mock.env });
//     …
//     await mock.close();
//
// It needs Node.js 20. The program is that of the environment variable POD_IDENTITY_TESTKIT, else the one of
// the npm package for this platform, else the one in PATH.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const PROGRAM = "pod-identity-testkit";
const REMEDY =
  "npm install --save-dev pod-identity-testkit, or cargo install pod-identity-testkit --features program,webhook, " +
  "or set POD_IDENTITY_TESTKIT to its path";

// The programs that run. One listener ends them all: with one for each mock, Node.js warns of a leak at the eleventh.
const running = new Set();
process.on("exit", () => {
  for (const child of running) {
    child.kill();
  }
});

/**
 * Starts a mock in a process of its own: `agent` (a pod's node agent), `eks` (the AWS side), or `webhook`.
 *
 * `scenario` is the path of a scenario file, `timeout` the milliseconds to wait for the ready line.
 *
 * The process ends with `close`, with this process, and when this process is killed. A mock that is not closed does not
 * keep this process running.
 */
export async function start(kind = "agent", args = [], { scenario, program, timeout = 30_000 } = {}) {
  const name = program ?? process.env.POD_IDENTITY_TESTKIT ?? installed() ?? PROGRAM;
  const all = scenario === undefined ? args : [...args, "--scenario", scenario];
  // The program ends at the end of its standard input, which the kernel closes whatever happens here.
  const child = spawn(name, [kind, ...all], { stdio: ["pipe", "pipe", "inherit"] });
  // A write to a program that has ended is not an error of the test.
  child.stdin.on("error", () => {});
  const exited = new Promise((resolve) => child.once("exit", resolve));
  try {
    const line = await readyLine(child, `${name} ${kind}`, timeout);
    const mock = new Mock(child, exited, JSON.parse(line));
    // Otherwise a test that forgets `close` would never end.
    for (const kept of [child, child.stdin, child.stdout]) {
      kept.unref();
    }
    return mock;
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

function readyLine(child, name, timeout) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`${name} was not ready within ${timeout} ms: see what it wrote to standard error`));
    }, timeout);
    const settle = (done, result) => {
      clearTimeout(timer);
      done(result);
    };
    child.once("error", (error) => {
      settle(reject, error.code === "ENOENT" ? new Error(`${child.spawnfile} is not there: ${REMEDY}`) : error);
    });
    child.once("exit", (code) => {
      settle(reject, new Error(`${name} ended with ${code} before it was ready: see what it wrote to standard error`));
    });
    createInterface({ input: child.stdout }).once("line", (line) => settle(resolve, line));
  });
}

/** Returns the program of the npm package for this platform, which npm installs with this one. */
export function installed() {
  const file = process.platform === "win32" ? `${PROGRAM}.exe` : PROGRAM;
  try {
    return createRequire(import.meta.url).resolve(`${PROGRAM}-${process.platform}-${process.arch}/bin/${file}`);
  } catch {
    return undefined;
  }
}

/**
 * A running mock. `ready` is the program's ready line. `endpoint` is its URL and `tokenFile` the path of the
 * pod's token, or undefined for a mock without one. `env` is a whole environment for a child process: that of
 * this process, with the mock in it, and without what an SDK would use instead of the mock.
 */
class Mock {
  #child;
  #exited;

  constructor(child, exited, ready) {
    this.ready = ready;
    this.endpoint = ready.endpoint;
    this.tokenFile = ready.token_file;
    this.unset = ready.unset ?? [];
    const kept = Object.entries(process.env).filter(([name]) => !this.unset.includes(name));
    this.env = { ...Object.fromEntries(kept), ...ready.env };
    this.#child = child;
    this.#exited = exited;
    running.add(child);
  }

  /** Injects a fault, such as `{ status: 503, count: 2 }` or `{ latency: "250ms", until: "back" }`. */
  async fault(fault) {
    await this.#call("POST", "/faults", fault);
  }

  /** Removes every fault, also those that have not begun. */
  async clearFaults() {
    await this.#call("DELETE", "/faults");
  }

  /** Adds what is to be true of all requests, such as `{ times: 2, single_flight: true }`; `verify` checks it. */
  async expect(expectations) {
    await this.#call("POST", "/expectations", expectations);
  }

  /** Throws if an expectation is not met, or a fault met no request and is not `optional`. */
  async verify() {
    const { failures } = await this.#call("POST", "/verify");
    if (failures.length > 0) {
      throw new Error(failures.join("; "));
    }
  }

  /** Waits for `{ requests: 3 }`, `{ answers: 3 }` or `{ idle: true }`; throws after `within`, 10 s by default. */
  async wait(wanted) {
    await this.#call("POST", "/wait", wanted);
  }

  /** Opens the gate that faults name in `until`. */
  async release(gate) {
    await this.#call("POST", `/gates/${encodeURIComponent(gate)}`);
  }

  /** Returns the requests since the start or the last reset, without secrets. */
  async requests() {
    return (await this.#call("GET", "/requests")).requests;
  }

  /** Replaces the token in the token file, as kubelet does. */
  async rotate() {
    await this.#call("POST", "/rotate");
  }

  /** Moves the mock's clock, and applies what the scenario has until then. */
  async advance(seconds) {
    await this.#call("POST", "/clock", { advance_seconds: seconds });
  }

  /** Removes faults, expectations and requests, returns to the system's time, renews the token, restarts the scenario. */
  async reset() {
    await this.#call("POST", "/reset");
  }

  /** Ends the process, without verifying. Does nothing if it has ended. */
  async close() {
    running.delete(this.#child);
    // The end of the program is waited for, so it keeps this process running until then.
    this.#child.ref();
    this.#child.stdin.destroy();
    this.#child.kill();
    await this.#exited;
  }

  /** The end of `await using` verifies. */
  async [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    try {
      await this.verify();
    } finally {
      await this.close();
    }
  }

  async #call(method, path, body) {
    if (this.ready.admin === undefined) {
      throw new Error(`a mock at ${this.endpoint} has no admin endpoint`);
    }
    const { uri, token } = this.ready.admin;
    let answer;
    let json;
    try {
      answer = await fetch(uri + path, {
        method,
        headers: { authorization: `Bearer ${token}` },
        body: body && JSON.stringify(body),
      });
      json = await answer.json();
    } catch (error) {
      const remedy = "it was closed, or has ended: see what it wrote to standard error";
      throw new Error(`the mock at ${this.endpoint} does not answer; ${remedy}`, { cause: error });
    }
    if (!answer.ok) {
      throw new Error(json.error);
    }
    return json;
  }
}
