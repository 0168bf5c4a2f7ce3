// Pays for one POST with @x402/axios (protocol v2): node x402-scope-axios.mjs URL KEY BODY_JSON
import { ExactEvmScheme } from "@x402/evm-for-axios";
import { wrapAxiosWithPaymentFromConfig } from "@x402/axios";
import axios from "axios";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, body] = process.argv.slice(2);
const api = wrapAxiosWithPaymentFromConfig(axios.create(), {
  schemes: [{ network: "eip155:84532", client: new ExactEvmScheme(privateKeyToAccount(key)) }],
});
const response = await api.post(url, JSON.parse(body));
process.stdout.write(
  JSON.stringify({ status: response.status, headers: response.headers, body: response.data }),
);
