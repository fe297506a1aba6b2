// The helper for Node.js against the program, as `tests/program/clients.rs` runs it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { test } from "node:test";

import { start } from "../../clients/pod-identity-testkit.mjs";

// What an SDK does first, and no more.
async function ask(env) {
  const token = await readFile(env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, "utf8");
  return fetch(env.AWS_CONTAINER_CREDENTIALS_FULL_URI, { headers: { authorization: token } });
}

async function withMock(args, body) {
  const mock = await start(...args);
  try {
    await body(mock);
  } finally {
    await mock.close();
  }
}

test("a mock serves, fails and tells", () =>
  withMock(["agent", ["--namespace", "shop"]], async (mock) => {
    await mock.fault({ status: 503 });
    assert.equal((await ask(mock.env)).status, 503);
    const answer = await ask(mock.env);
    const seen = await mock.requests();
    assert.equal(seen[0].pod.namespace, "shop");
    assert.equal(seen[1].outcome.access_key_id, (await answer.json()).AccessKeyId);
  }));

test("the token is rotated and the clock moved", () =>
  withMock([], async (mock) => {
    const before = await readFile(mock.tokenFile, "utf8");
    await mock.advance(90_000);
    assert.equal((await ask(mock.env)).status, 400);
    await mock.rotate();
    assert.equal((await ask(mock.env)).status, 200);
    assert.notEqual(await readFile(mock.tokenFile, "utf8"), before);
    await mock.fault({ status: 500, always: true });
    await mock.clearFaults();
    await mock.reset();
    assert.deepEqual(await mock.requests(), []);
  }));

test("a scenario is lived through and its gate released", async () => {
  const directory = await mkdtemp(join(tmpdir(), "scenario-"));
  const scenario = join(directory, "outage.toml");
  try {
    await writeFile(scenario, '[[timeline]]\nat = "10m"\nagent_fault = { status = 503, until = "it is back" }\n');
    await withMock(["agent", [], { scenario }], async (mock) => {
      assert.equal((await ask(mock.env)).status, 200);
      await mock.advance(600);
      assert.equal((await ask(mock.env)).status, 503);
      await mock.release("it is back");
      assert.equal((await ask(mock.env)).status, 200);
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("what is wrong is said", async () => {
  await withMock([], async (mock) => {
    await assert.rejects(mock.fault({ status: 1 }), /expected 200 to 599/);
  });
  await assert.rejects(start("agent", [], { program: "/nowhere/to/be/found" }), /cargo install/);
  await assert.rejects(start("agent", ["--nonsense"]), /before it was ready/);
});

test("a mock that has ended is named", async () => {
  const mock = await start();
  await mock.close();
  await assert.rejects(mock.requests(), new RegExp(`the mock at ${mock.endpoint} .* was closed, or has ended`));
});

test("many mocks are no leak of listeners", async () => {
  const before = process.listenerCount("exit");
  const mocks = await Promise.all(Array.from({ length: 11 }, () => start()));
  assert.equal(process.listenerCount("exit"), before);
  await Promise.all(mocks.map((mock) => mock.close()));
});

test("a process that forgets to close its mock ends, and the mock with it", async () => {
  const module = new URL("../../clients/pod-identity-testkit.mjs", import.meta.url);
  const forgets = "const mock = await start(); await mock.rotate(); console.log(mock.ready.pid);";
  const closes = "const mock = await start(); console.log(mock.ready.pid); await mock.close(); console.log('closed');";
  for (const [body, wanted] of [
    [forgets, /^\d+\n$/],
    [closes, /^\d+\nclosed\n$/],
  ]) {
    const script = `import { start } from "${module}"; ${body}`;
    const options = { stdio: ["ignore", "pipe", "inherit"], timeout: 20_000, killSignal: "SIGKILL" };
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], options);
    let printed = "";
    child.stdout.on("data", (chunk) => (printed += chunk));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, body);
    assert.match(printed, wanted);
    await gone(parseInt(printed));
  }
});

test("the environment of a child has nothing earlier in the chain", () =>
  withMock([], async (mock) => {
    assert.ok("PATH" in mock.env);
    assert.equal(process.env.AWS_ACCESS_KEY_ID, "of the caller");
    assert.ok(!("AWS_ACCESS_KEY_ID" in mock.env));
  }));

test("a mock verifies what it was told to expect, and that its faults were used", () =>
  withMock([], async (mock) => {
    await mock.fault({ status: 503 });
    await mock.expect({ times: 1 });
    await assert.rejects(mock.verify(), /expected 1 requests, saw 0; no request met {"status":503}/);
    await mock.reset();
    await mock.verify();
    await assert.rejects(mock.wait({ requests: 1, within: "50ms" }), /waited 50ms, saw 0 requests/);
    await mock.wait({ requests: 0, idle: true });
  }));

test("a mock without token is one too", () =>
  withMock(["webhook", ["--plain", "--identity", "shop/cart"]], async (mock) => {
    assert.equal(mock.tokenFile, undefined);
    assert.ok(mock.endpoint.endsWith("/mutate"));
    assert.deepEqual(await mock.requests(), []);
  }));

test("a mock that cannot be constructed leaves no process", async () => {
  const directory = await mkdtemp(join(tmpdir(), "program-"));
  try {
    for (const [says, wanted, timeout] of [
      ["echo 'not json'", /JSON/, 30_000],
      ["true", /not ready within 200 ms/, 200],
    ]) {
      const program = join(directory, "program");
      const pid = join(directory, "pid");
      await writeFile(program, `#!/bin/sh\necho $$ > ${pid}\n${says}\nexec sleep 60\n`, { mode: 0o755 });
      await assert.rejects(start("agent", [], { program, timeout }), wanted);
      await gone(Number(await readFile(pid, "utf8")));
    }
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("a mock ends with the process that started it, however that ends", async () => {
  const module = new URL("../../clients/pod-identity-testkit.mjs", import.meta.url);
  for (const end of ["", "process.kill(process.pid, 'SIGKILL')", "process.abort()", "throw new Error('crash')"]) {
    const script = `import { start } from "${module}"; const mock = await start();
      console.log(mock.ready.admin.uri); ${end === "" ? "process.exit()" : `setImmediate(() => { ${end} })`}`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "ignore"] });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    let uri = "";
    for await (const chunk of child.stdout) {
      uri += chunk;
    }
    await exited;
    await until(() => fetch(uri.trim()).then(() => false, () => true), `it outlives: ${end}`);
  }
});

async function gone(pid) {
  await until(async () => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  }, `process ${pid} is there`);
}

async function until(condition, message) {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) {
      return;
    }
    await setTimeout(50);
  }
  assert.fail(message);
}
