// Wallets that browsers have.

import { Wallet, browserWallets as evmWallets } from "../js/wallets/evm.js";
import { SEND, solanaWallets, standard } from "../js/wallets/solana.js";
import { Problem } from "../js/problem.js";

/**
 * Pays by a provider as EIP-1193 has it, such as `window.ethereum`.
 * @param {{ request: (call: any) => Promise<any> }} provider
 * @param {{ name?: string }} [options]
 * @returns {import("./wallet.js").Wallet}
 */
export const eip1193Wallet = (provider, { name = "wallet" } = {}) => new Wallet(name, (call) => provider.request(call));

/**
 * Pays by a wallet of the Wallet Standard that signs and sends transactions of Solana.
 * @param {{ name: string, chains: readonly string[], features: Readonly<Record<string, any>> }} wallet
 * @returns {import("./wallet.js").Wallet}
 */
export function standardWallet(wallet) {
  if (!wallet.features[SEND] || !wallet.features["standard:connect"]) {
    throw new Problem(`${wallet.name} does not sign and send transactions.`, `Use a wallet with the features standard:connect and ${SEND}.`, "no_feature");
  }
  return standard(wallet);
}

/**
 * Every wallet that announces itself to this page (EIP-6963, Wallet Standard).
 * @returns {Promise<import("./wallet.js").Wallet[]>}
 */
export const browserWallets = async () => (await Promise.all([evmWallets(), solanaWallets()])).flat();
