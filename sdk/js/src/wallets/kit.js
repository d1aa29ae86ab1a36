// Pays by a signer of @solana/kit: one that signs, one that changes and signs, or one that sends by itself.

import { Problem } from "../js/problem.js";
import { encode } from "../js/solana/base58.js";
import { transaction } from "../js/solana/transaction.js";
import { SolanaWallet } from "../js/wallets/solana.js";

/**
 * What is used of kit's `TransactionSigner`: one of these functions.
 * @typedef {object} KitSigner
 * @property {string} address
 * @property {(transactions: readonly any[]) => Promise<readonly Readonly<Record<string, any>>[]>} [signTransactions]
 * @property {(transactions: readonly any[]) => Promise<readonly any[]>} [modifyAndSignTransactions]
 * @property {(transactions: readonly any[]) => Promise<readonly any[]>} [signAndSendTransactions]
 */

const POLL_MS = 500;
const BLOCK_MS = 120_000;
const HEAD = 65; // bytes before the message: the count and the place of the one signature

const base64 = (/** @type {Uint8Array} */ bytes) => btoa(String.fromCharCode(...bytes));

/**
 * JSON-RPC of a node.
 * @param {string} url
 * @param {string} method
 * @param {unknown[]} params
 */
async function rpc(url, method, params) {
  let answer;
  try {
    answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
      signal: AbortSignal.timeout(30_000),
    });
    answer = await answer.json();
  } catch {
    throw new Problem("The node does not answer.", "Check its address, then try again.", "node_unavailable");
  }
  if (answer.error) throw new Error(answer.error.message);
  return answer.result;
}

class KitWallet extends SolanaWallet {
  #url;

  /**
   * @param {KitSigner} signer
   * @param {string | undefined} url
   */
  constructor(signer, url) {
    super("Solana", {
      connect: async () => signer.address,
      submit: async (bytes, account, _chain, { blockhash, lastValidBlockHeight }) => {
        const messageBytes = bytes.subarray(HEAD);
        const asked = Object.freeze({
          messageBytes,
          signatures: Object.freeze({ [account]: null }),
          lifetimeConstraint: Object.freeze({ blockhash, lastValidBlockHeight: BigInt(lastValidBlockHeight) }),
        });
        if (signer.signAndSendTransactions) return encode((await signer.signAndSendTransactions([asked]))[0]);
        const [made] = signer.modifyAndSignTransactions
          ? await signer.modifyAndSignTransactions([asked])
          : (await /** @type {Function} */ (signer.signTransactions)([asked])).map((/** @type {any} */ signatures) => ({ messageBytes, signatures }));
        const signature = made.signatures[account];
        if (!signature) throw new Problem("The signer has not signed.", "Nothing was paid. Pass one that can.", "not_signed");
        const signed = transaction(new Uint8Array(made.messageBytes), signature);
        return rpc(/** @type {string} */ (url), "sendTransaction", [base64(signed), { encoding: "base64", preflightCommitment: "confirmed" }]);
      },
    });
    this.#url = url;
  }

  /**
   * @param {string} tx
   * @param {{ signal?: AbortSignal }} [options]
   */
  async included(tx, { signal } = {}) {
    if (!this.#url) return; // the server looks for it
    for (const end = Date.now() + BLOCK_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, POLL_MS))) {
      signal?.throwIfAborted();
      const found = await rpc(this.#url, "getSignatureStatuses", [[tx]]).catch(() => null);
      const status = found?.value[0];
      if (status?.err) throw new Problem("The transaction failed on the chain.", "Only its fee is gone. Try again.", "transfer_failed");
      if (["confirmed", "finalized"].includes(status?.confirmationStatus)) return;
    }
    throw new Problem("The payment is in no block yet.", "It is remembered in the store. Connect again in a while; it is not paid twice.", "pending");
  }
}

/**
 * Pays by a signer of @solana/kit, such as `createKeyPairSignerFromBytes(…)`. `rpc` is a node's address; a signer that sends by
 * itself needs none.
 * @param {KitSigner} signer
 * @param {{ rpc?: string }} [options]
 * @returns {import("./wallet.js").Wallet}
 */
export function kitWallet(signer, { rpc: url } = {}) {
  if (!signer.signAndSendTransactions && !url) {
    throw new Problem("This signer does not send by itself.", "Pass a node's address as `rpc`.", "no_rpc");
  }
  return new KitWallet(signer, url);
}
