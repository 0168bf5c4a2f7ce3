// Pays for one POST with x402-fetch (protocol v1): node x402-fetch.mjs URL KEY BODY_JSON
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { wrapFetchWithPayment } from "x402-fetch";

const [url, key, body] = process.argv.slice(2);
const wallet = createWalletClient({
  account: privateKeyToAccount(key),
  transport: http(),
  chain: baseSepolia,
});
const pay = wrapFetchWithPayment(fetch, wallet);
const response = await pay(url, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body,
});
const headers = Object.fromEntries(response.headers);
process.stdout.write(JSON.stringify({ status: response.status, headers, body: await response.json() }));
