// What pays: viem's and kit's own kinds of accounts and signers, and what wallets refuse.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createNoopSigner, getBase64EncodedWireTransaction } from "@solana/kit";
import { connect, fetchOffer, kitWallet, memoryStorage, standardWallet, viemWallet } from "@ws402/client";
import { createWalletClient, custom, http, publicActions } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { base, baseSepolia } from "viem/chains";
import { EVM_RPC, SERVER, SOLANA_RPC, account, client, signer, solana } from "./world.mjs";

const limits = () => ({ seconds: 20, trustFirstUse: true, store: memoryStorage() });
const evm = (wallet) => connect(`${SERVER}/#ticker`, { ...limits(), wallet, maxAmount: "0.01 ETH" });
const sol = (wallet) => connect(`${SERVER}/#sol`, { ...limits(), wallet, maxAmount: "0.1 SOL" });

async function opens(opening) {
  const session = await opening;
  const { reason } = await session.end();
  assert.equal(reason, "client_ended");
}

/** A browser's wallet: asks its person, and signs by itself. */
function provider({ refuses = false, chain = baseSepolia.id } = {}) {
  return {
    async request({ method, params }) {
      if (method === "eth_chainId") return `0x${chain.toString(16)}`;
      if (method === "eth_requestAccounts" || method === "eth_accounts") return [account.address];
      if (method === "wallet_switchEthereumChain") {
        chain = Number(params[0].chainId);
        return null;
      }
      if (method !== "eth_sendTransaction") return client.request({ method, params });
      if (refuses) throw Object.assign(new Error("User denied transaction signature."), { code: 4001 });
      const [{ to, value, data }] = params;
      return client.sendTransaction({ to, value: BigInt(value), data });
    },
  };
}

test("viem: a browser's wallet, with and without an account and a chain of the client's", async () => {
  await opens(evm(viemWallet(createWalletClient({ account: account.address, chain: baseSepolia, transport: custom(provider()) }))));
  await opens(evm(viemWallet(createWalletClient({ transport: custom(provider({ chain: 1 })) }))));
  await opens(evm(viemWallet(client.extend(publicActions))));
});

test("viem: what is refused is said in our words, whatever it is wrapped in", async () => {
  const refused = (wallet, code) => assert.rejects(evm(wallet), { code });
  await refused(viemWallet(createWalletClient({ account: account.address, chain: baseSepolia, transport: custom(provider({ refuses: true })) })), "declined");
  await refused(viemWallet(createWalletClient({ transport: custom(provider({ refuses: true })) })), "declined");
  const poor = privateKeyToAccount(generatePrivateKey());
  await refused(viemWallet(createWalletClient({ account: poor, chain: baseSepolia, transport: http(EVM_RPC) })), "insufficient_funds");
  await refused(viemWallet(createWalletClient({ account, chain: base, transport: http(EVM_RPC) })), "network_refused");
  await refused(viemWallet(createWalletClient({ account, transport: custom(provider({ chain: 1 })) })), "wrong_chain");
});

/** Sends what kit signed, as its sending signers do. */
const send = (made) => solana.sendTransaction(getBase64EncodedWireTransaction(made), { encoding: "base64", preflightCommitment: "confirmed" }).send();

async function signed([made]) {
  const [signatures] = await signer.signTransactions([made]);
  return [Object.freeze({ ...made, signatures: Object.freeze({ ...made.signatures, ...signatures }) })];
}

test("kit: signers that change and sign, and that send by themselves", async () => {
  await opens(sol(kitWallet({ address: signer.address, modifyAndSignTransactions: signed }, { rpc: SOLANA_RPC })));
  const sending = {
    address: signer.address,
    async signAndSendTransactions(all) {
      const [made] = await signed(all);
      await send(made);
      return [made.signatures[signer.address]];
    },
  };
  await opens(sol(kitWallet(sending)));
});

test("kit: a signer that cannot sign is told so, and nothing is sent", async () => {
  assert.throws(() => kitWallet(signer), { code: "no_rpc" });
  await assert.rejects(sol(kitWallet(createNoopSigner(signer.address), { rpc: SOLANA_RPC })), { code: "not_signed" });
});

test("Wallet Standard: bytes go in and out; what does not sign and send is not taken", async () => {
  const offer = await fetchOffer(`${SERVER}/#sol`);
  const wallet = {
    version: "1.0.0", name: "Standard", icon: "data:image/svg+xml;base64,", chains: ["solana:localnet"], accounts: [],
    features: {
      "standard:connect": { version: "1.0.0", connect: async () => ({ accounts: [{ address: signer.address, chains: ["solana:localnet"], features: [] }] }) },
      "solana:signAndSendTransaction": {
        version: "1.0.0", supportedTransactionVersions: ["legacy"],
        signAndSendTransaction: async ({ transaction, chain }) => {
          assert.equal(chain, "solana:localnet");
          const [made] = await signed([{ messageBytes: transaction.subarray(65), signatures: { [signer.address]: null } }]);
          await send(made);
          return [{ signature: made.signatures[signer.address] }];
        },
      },
    },
  };
  assert.equal(standardWallet(wallet).pays(offer), true);
  assert.equal(standardWallet({ ...wallet, chains: ["solana:mainnet"] }).pays(offer), false);
  await opens(sol(standardWallet(wallet)));
  assert.throws(() => standardWallet({ ...wallet, features: {} }), { code: "no_feature" });
});
