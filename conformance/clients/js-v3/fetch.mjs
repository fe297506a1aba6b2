// Prints the access key that the default chain of Node.js finds.
import { fromHttp, fromNodeProviderChain } from "@aws-sdk/credential-providers";

try {
  console.log((await fromNodeProviderChain()()).accessKeyId);
} catch (error) {
  console.error(error.message);
  // The chain hides the cause; the provider for containers shows it.
  await fromHttp()().catch((cause) => console.error(cause.message));
  process.exitCode = 1;
}
