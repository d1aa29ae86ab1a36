// An unmodified client from npm: `stock.mjs fetch|fetch-v1|mppx URL KEY BYTES`.
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
  async mppx(account) {
    const { Mppx, evm } = await import("mppx/client");
    const payer = Mppx.create({
      methods: [
        evm.charge({
          account,
          authorization: { name: "Demo Dollar", version: "1" },
          decimals: 6,
          maxAmount: "1",
          networks: [baseSepolia.id],
        }),
      ],
      polyfill: false,
    });
    return payer.fetch;
  },
};

async function receipt(answer) {
  if (kind === "mppx") {
    if (!answer.headers.has("Payment-Receipt")) return null;
    const { Receipt } = await import("mppx");
    const told = Receipt.fromResponse(answer);
    return { success: told.status === "success", extensions: told.extra };
  }
  const told = answer.headers.get(kind === "fetch-v1" ? "X-PAYMENT-RESPONSE" : "PAYMENT-RESPONSE");
  return told && JSON.parse(atob(told));
}

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
console.log(JSON.stringify({ status: answer.status, size, receipt: await receipt(answer) }));
