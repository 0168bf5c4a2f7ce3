// Pays for one POST with @x402/fetch (protocol v2): node x402-scope-fetch.mjs URL KEY BODY_JSON
import { ExactEvmScheme } from "@x402/evm";
import { wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, body] = process.argv.slice(2);
const pay = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:84532", client: new ExactEvmScheme(privateKeyToAccount(key)) }],
});
const response = await pay(url, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body,
});
const headers = Object.fromEntries(response.headers);
process.stdout.write(JSON.stringify({ status: response.status, headers, body: await response.json() }));
