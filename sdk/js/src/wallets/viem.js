// Pays by a wallet client of viem, with an account of its own or one of a browser's wallet.

import { Problem } from "../js/problem.js";
import { Wallet, readError } from "../js/wallets/evm.js";

/**
 * What is used of viem's `WalletClient`.
 * @typedef {object} ViemClient
 * @property {{ address: `0x${string}` } | undefined} [account]
 * @property {{ id: number } | undefined} [chain]
 * @property {(call: any) => Promise<any>} request
 * @property {() => Promise<number>} getChainId
 * @property {(transaction: any) => Promise<`0x${string}`>} sendTransaction
 */

/** The error that a wallet or a node gave; viem wraps it, and says more than people want to read. */
function inner(/** @type {any} */ error) {
  for (let each = error; each; each = each.cause) {
    if (each.code === 4001 || each.code === -32002) return each;
    if (each.name === "InsufficientFundsError") return { message: "insufficient funds" };
  }
  return error?.shortMessage ? { message: [error.shortMessage, error.details].filter(Boolean).join(" ") } : error;
}

class ViemWallet extends Wallet {
  #client;

  /** @param {ViemClient} client */
  constructor(client) {
    super("viem", (call) => client.request(call));
    this.#client = client;
  }

  /** @param {import("../js/offer.js").Offer} offer */
  pays(offer) {
    return offer.kind === "evm" && (!this.#client.chain || this.#client.chain.id === offer.chainId);
  }

  /** @param {{ chainId: number }} offer */
  async account(offer) {
    const own = this.#client.account?.address;
    if (!own) return super.account(offer);
    const chainId = await this.#ask(() => this.#client.getChainId());
    if (chainId !== offer.chainId) {
      throw new Problem(`The client's node is on chain ${chainId}, and the offer on ${offer.chainId}.`, "Nothing was paid. Make a client of that chain.", "wrong_chain");
    }
    return own;
  }

  /**
   * @param {string} account
   * @param {Pick<import("../js/offer.js").EvmOffer, "transaction">} offer
   */
  send(account, { transaction: { to, value, data } }) {
    const { account: own, chain } = this.#client;
    return this.#ask(() => this.#client.sendTransaction({ account: own ?? account, chain: chain ?? null, to, value, ...(data === "0x" ? {} : { data }) }));
  }

  /**
   * @param {string} method
   * @param {any[]} [params]
   */
  ask(method, params = []) {
    return this.#ask(() => this.#client.request({ method, params }));
  }

  /**
   * @template T
   * @param {() => Promise<T>} what
   */
  async #ask(what) {
    try {
      return await what();
    } catch (error) {
      throw readError(inner(error));
    }
  }
}

/**
 * Pays by viem's `createWalletClient(…)`: `account` may be one of a private key or mnemonic, or a browser's wallet's.
 * @param {ViemClient} client
 * @returns {import("./wallet.js").Wallet}
 */
export const viemWallet = (client) => new ViemWallet(client);
