// Wallets for EVM chains: those that the browser has (EIP-1193, announced by EIP-6963), and on a development chain its test accounts.

import { Problem } from "../problem.js";
import { KNOWN_CHAINS } from "./chains.js";

const POLL_MS = 700;
const BLOCK_MS = 180_000;

/** @param {number | bigint} value */
const hex = (value) => `0x${value.toString(16)}`;

/** @typedef {(call: { method: string, params?: any[] }) => Promise<any>} Request as EIP-1193 has it */
/** @typedef {import("../offer.js").Offer} Offer */

export class Wallet {
  /**
   * @param {string} name for people
   * @param {Request} request
   */
  constructor(name, request) {
    this.name = name;
    this.request = request;
  }

  /**
   * @param {Offer} offer
   * @returns {boolean}
   */
  pays(offer) {
    return offer.kind === "evm";
  }

  /**
   * The account that will pay, after the wallet has agreed and is on the right chain.
   * @param {{ chainId: number }} offer
   * @returns {Promise<string>}
   */
  async account({ chainId }) {
    const [account] = await this.ask("eth_requestAccounts");
    if (!account) throw new Problem("The wallet shows no account.", "Unlock it, then try again.", "no-account");
    const current = Number(await this.ask("eth_chainId"));
    if (current !== chainId) await this.switchTo(chainId);
    return account;
  }

  /** @param {number} chainId */
  async switchTo(chainId) {
    try {
      await this.request({ method: "wallet_switchEthereumChain", params: [{ chainId: hex(chainId) }] });
    } catch (/** @type {any} */ error) {
      // Some wallets wrap the code of EIP-3085 in one of their own.
      if (error?.code !== 4902 && error?.data?.originalError?.code !== 4902) throw readError(error);
      const known = KNOWN_CHAINS[chainId];
      if (!known) {
        throw new Problem(`Your wallet does not know chain ${chainId}.`, "Add this network to your wallet, then try again.", "unknown_chain");
      }
      // A wallet may switch to it at once.
      await this.ask("wallet_addEthereumChain", [{ chainId: hex(chainId), ...known }]);
      if (Number(await this.ask("eth_chainId")) !== chainId) await this.ask("wallet_switchEthereumChain", [{ chainId: hex(chainId) }]);
    }
    if (Number(await this.ask("eth_chainId")) !== chainId) {
      throw new Problem("Your wallet is on another network.", `Switch it to chain ${chainId}, then try again.`, "wrong_chain");
    }
  }

  /**
   * Sends what the offer asks for; answers the transaction's hash.
   * @param {string} account
   * @param {Pick<import("../offer.js").EvmOffer, "transaction">} offer
   * @returns {Promise<string>}
   */
  send(account, { transaction: { to, value, data } }) {
    const transaction = { from: account, to, value: hex(value), ...(data === "0x" ? {} : { data }) };
    return this.ask("eth_sendTransaction", [transaction]);
  }

  /**
   * Waits until the transaction is in a block.
   * @param {string} tx
   * @param {{ signal?: AbortSignal }} [options]
   */
  async included(tx, { signal } = {}) {
    const end = Date.now() + BLOCK_MS;
    while (Date.now() < end) {
      signal?.throwIfAborted();
      const receipt = await this.ask("eth_getTransactionReceipt", [tx]).catch(() => null);
      if (receipt) {
        if (Number(receipt.status) !== 1) {
          throw new Problem("The transaction failed on the chain.", "Only its fee is gone. Try again.", "transfer_failed");
        }
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Problem("The payment is in no block yet.", "It is remembered here. Try again in a while; do not pay twice.", "pending");
  }

  /**
   * @param {string} method
   * @param {any[]} [params]
   */
  async ask(method, params = []) {
    try {
      return await this.request({ method, params });
    } catch (error) {
      throw readError(error);
    }
  }
}

/**
 * What a wallet's error means to a person.
 * @param {any} error
 */
export function readError(error) {
  if (error instanceof Problem) return error;
  if (error?.code === 4001) return new Problem("You declined in your wallet.", "Nothing was paid. Try again when you are ready.", "declined");
  if (error?.code === -32002) return new Problem("Your wallet waits for an answer.", "Open it and finish what it asks.", "wallet_busy");
  const text = String(error?.data?.message ?? error?.message ?? error).slice(0, 200);
  if (/insufficient funds|exceeds balance/i.test(text)) {
    return new Problem("The account holds too little for the amount and the fee.", "Top it up, or choose a shorter time.", "insufficient_funds");
  }
  return Object.assign(new Problem(`The wallet refused: ${text}`, "Nothing was paid, unless your wallet says so.", "wallet"), { values: { text } });
}

/** Every wallet that announces itself, and the classic `window.ethereum` when none does. */
export async function browserWallets() {
  const found = new Map();
  /** @param {any} event */
  const hear = ({ detail }) => found.set(detail.info.uuid, new Wallet(detail.info.name, (call) => detail.provider.request(call)));
  addEventListener("eip6963:announceProvider", hear);
  dispatchEvent(new Event("eip6963:requestProvider"));
  await new Promise((resolve) => setTimeout(resolve, 60));
  removeEventListener("eip6963:announceProvider", hear);
  const { ethereum } = /** @type {any} */ (globalThis);
  if (!found.size && ethereum?.request) {
    found.set("injected", new Wallet("your browser wallet", (call) => ethereum.request(call)));
  }
  return [...found.values()];
}

/**
 * A development node signs for its own, worthless accounts: no key comes into this page.
 * @param {string} url
 */
export function devWallet(url) {
  let id = 0;
  /** @type {Request} */
  const request = async ({ method, params = [] }) => {
    let answer;
    try {
      answer = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: ++id, method, params }),
      });
    } catch {
      throw new Problem("The development chain does not answer.", `Is it running at ${url}?`, "node_unavailable");
    }
    const { result, error } = await answer.json();
    if (error) throw error;
    return result;
  };
  /** @type {string | null} */
  let chosen = null;
  return new Wallet("a test account", async (call) => {
    if (call.method !== "eth_requestAccounts") return request(call);
    if (!chosen) {
      // The first ones belong to servers and scripts; any other is as good as the next.
      const accounts = await request({ method: "eth_accounts" });
      const own = accounts.length > 2 ? accounts.slice(2) : accounts;
      chosen = own[Math.floor(Math.random() * own.length)];
    }
    return [chosen];
  });
}
