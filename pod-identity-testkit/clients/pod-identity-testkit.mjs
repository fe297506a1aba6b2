// Mocks of Amazon EKS Pod Identity for tests in JavaScript, by the program `pod-identity-testkit`.
//
//     import { start } from "./pod-identity-testkit.mjs";
//
//     const mock = await start("agent");
//     await mock.fault({ status: 503, count: 2 });
//     const child = spawn("node", ["app.js"], { env: mock.env });
//     …
//     await mock.close();
//
// Copy this file. It needs Node.js 20; the program is looked for in POD_IDENTITY_TESTKIT, else in PATH.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/**
 * Starts a mock in a process of its own: `agent` (a pod's node agent) or `eks` (the AWS side). `scenario` is
 * the path of a file with settings, faults, and what happens when.
 */
export async function start(
  kind = "agent",
  args = [],
  { scenario, program = process.env.POD_IDENTITY_TESTKIT } = {},
) {
  const name = program ?? "pod-identity-testkit";
  const all = scenario === undefined ? args : [...args, "--scenario", scenario];
  const child = spawn(name, [kind, ...all], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const ready = await new Promise((resolve, reject) => {
    child.once("error", (error) => {
      const cure =
        "cargo install pod-identity-testkit --features program, or say in POD_IDENTITY_TESTKIT where it is";
      reject(error.code === "ENOENT" ? new Error(`${name} is not there: ${cure}`) : error);
    });
    child.once("exit", (code) => {
      reject(new Error(`${name} ${kind} ended with ${code} before it was ready: see its message`));
    });
    createInterface({ input: child.stdout }).once("line", (line) => resolve(JSON.parse(line)));
  });
  return new Mock(child, exited, ready);
}

/**
 * `ready` is all that the program said, `endpoint` and `tokenFile` are from there. `env` is a whole
 * environment for a child: ours, with the mock in it and nothing earlier in an SDK's chain.
 */
class Mock {
  #child;
  #exited;
  #killer;

  constructor(child, exited, ready) {
    this.#child = child;
    this.#exited = exited;
    this.#killer = () => child.kill();
    process.once("exit", this.#killer);
    this.ready = ready;
    this.endpoint = ready.endpoint;
    this.tokenFile = ready.token_file;
    this.unset = ready.unset;
    const kept = Object.entries(process.env).filter(([name]) => !ready.unset.includes(name));
    this.env = { ...Object.fromEntries(kept), ...ready.env };
  }

  /** Orders a fault, such as `{ status: 503, count: 2 }` or `{ latency: "250ms", until: "back" }`. */
  async fault(order) {
    await this.#call("POST", "/faults", order);
  }

  async clearFaults() {
    await this.#call("DELETE", "/faults");
  }

  /** Opens the gate that faults have in `until`. */
  async release(gate) {
    await this.#call("POST", `/gates/${encodeURIComponent(gate)}`);
  }

  /** What has arrived since the start or the last reset, without secrets. */
  async requests() {
    return (await this.#call("GET", "/requests")).requests;
  }

  /** Puts a new token into the token file, as kubelet does. */
  async rotate() {
    await this.#call("POST", "/rotate");
  }

  /** Moves the mock's clock, and does what the scenario has until then. */
  async advance(seconds) {
    await this.#call("POST", "/clock", { advance_seconds: seconds });
  }

  /** No faults, no requests, the system's time, a new token; a scenario begins anew. */
  async reset() {
    await this.#call("POST", "/reset");
  }

  async close() {
    process.off("exit", this.#killer);
    this.#child.kill();
    await this.#exited;
  }

  async #call(method, path, body) {
    const { uri, token } = this.ready.admin;
    const answer = await fetch(uri + path, {
      method,
      headers: { authorization: `Bearer ${token}` },
      body: body && JSON.stringify(body),
    });
    const json = await answer.json();
    if (!answer.ok) {
      throw new Error(json.error);
    }
    return json;
  }
}
