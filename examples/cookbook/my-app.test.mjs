import assert from "node:assert/strict";
import { test } from "node:test";

import { fromHttp } from "@aws-sdk/credential-providers";

import { start } from "./pod-identity-testkit.mjs";

test("a throttled agent goes unnoticed", async (t) => {
  const agent = await start("agent");
  t.after(() => agent.close());
  await agent.fault({ status: 503, count: 2 });

  const pod = { awsContainerCredentialsFullUri: agent.endpoint, awsContainerAuthorizationTokenFile: agent.tokenFile };
  const { accessKeyId } = await fromHttp(pod)();
  const outcomes = (await agent.requests()).map((request) => request.outcome);
  assert.deepEqual(outcomes.map((outcome) => outcome.status), [503, 503, 200]);
  assert.equal(outcomes.at(-1).access_key_id, accessKeyId);
});
