// Pays for one POST with x402-axios (protocol v1): node x402-axios.mjs URL KEY BODY_JSON
import axios from "axios";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { withPaymentInterceptor } from "x402-axios";

const [url, key, body] = process.argv.slice(2);
const wallet = createWalletClient({
  account: privateKeyToAccount(key),
  transport: http(),
  chain: baseSepolia,
});
const api = withPaymentInterceptor(axios.create(), wallet);
const response = await api.post(url, JSON.parse(body));
process.stdout.write(
  JSON.stringify({ status: response.status, headers: response.headers, body: response.data }),
);
