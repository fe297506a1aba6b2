// Fetches credentials from one default chain of Node.js, once for every line of standard input.
import { createInterface } from "node:readline";
import { fromNodeProviderChain } from "@aws-sdk/credential-providers";

const chain = fromNodeProviderChain();

async function asked() {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = await chain();
  const parts = { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken };
  for (const [name, part] of Object.entries(parts)) {
    if (typeof part !== "string" || part === "") return `without ${name}`;
  }
  return `key ${accessKeyId} ${expiration ? Math.floor(expiration.getTime() / 1000) : "never"}`;
}

for await (const _line of createInterface({ input: process.stdin })) {
  const answer = await asked().catch((error) => {
    console.error(error.message);
    return `failed ${error.name}`;
  });
  console.log(answer);
}
