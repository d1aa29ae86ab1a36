// An unmodified client from npm: `stock.mjs fetch|fetch-v1 URL KEY BYTES`.
//
// Pays what the server asks for, reads so many bytes of the answer (0: all), leaves, and prints what it saw as JSON.

import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const payers = {
  async fetch(account) {
    const { wrapFetchWithPaymentFromConfig } = await import("@x402/fetch");
    const { ExactEvmScheme } = await import("@x402/evm");
    return wrapFetchWithPaymentFromConfig(fetch, {
      schemes: [{ network: "eip155:*", client: new ExactEvmScheme(account) }],
      spendControls: { allowedAssets: true }, // the test's token is none that it knows by itself
    });
  },
  async "fetch-v1"(account) {
    const { wrapFetchWithPayment } = await import("x402-fetch");
    const { createWalletClient, http } = await import("viem");
    const wallet = createWalletClient({ account, chain: baseSepolia, transport: http("http://127.0.0.1:9") });
    return wrapFetchWithPayment(fetch, wallet);
  },
};

const [kind, url, key, most] = process.argv.slice(2);
const pay = await payers[kind](privateKeyToAccount(key));
const left = new AbortController();
const answer = await pay(url, { signal: left.signal });
let size = 0;
for await (const piece of answer.body) {
  size += piece.length;
  if (Number(most) && size >= Number(most)) break;
}
left.abort();
const name = kind === "fetch-v1" ? "X-PAYMENT-RESPONSE" : "PAYMENT-RESPONSE";
const receipt = answer.headers.get(name);
console.log(JSON.stringify({ status: answer.status, size, receipt: receipt && JSON.parse(atob(receipt)) }));
