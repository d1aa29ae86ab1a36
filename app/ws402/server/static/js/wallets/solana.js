// Wallets for Solana that the browser has: those of the Wallet Standard, and `window.solana` when none registers.

import { Problem } from "../problem.js";
import { Server } from "../server.js";
import { encode } from "../solana/base58.js";
import { paymentMessage, transaction } from "../solana/transaction.js";

/** @type {Record<string, string>} */
export const CHAINS = {
  solana: "solana:mainnet",
  "solana-devnet": "solana:devnet",
  "solana-testnet": "solana:testnet",
  "solana-localnet": "solana:localnet",
};
export const SEND = "solana:signAndSendTransaction";

/**
 * @typedef {{ blockhash: string, lastValidBlockHeight: number }} Recent
 * @typedef {import("../offer.js").SolanaOffer} SolanaOffer
 */

/** `connect()` answers the account; `submit(transaction, account, chain, recent)` signs and sends, and answers the signature. */
export class SolanaWallet {
  /**
   * @param {string} name for people
   * @param {{
   *   connect: () => Promise<string | undefined>, chains?: readonly string[] | null,
   *   submit: (transaction: Uint8Array<ArrayBuffer>, account: string, chain: string, recent: Recent) => Promise<string>,
   * }} wallet
   */
  constructor(name, { connect, submit, chains = null }) {
    this.name = name;
    this.connect = connect;
    this.submit = submit;
    this.chains = chains;
  }

  /**
   * Tokens whose program the server does not name can only be paid by the link.
   * @param {import("../offer.js").Offer} offer
   */
  pays(offer) {
    if (offer.kind !== "solana" || (offer.token && !offer.tokenProgram)) return false;
    return !this.chains || this.chains.includes(CHAINS[offer.network]);
  }

  /**
   * The account that will pay, after the wallet has agreed.
   * @param {SolanaOffer} [_offer]
   */
  async account(_offer) {
    const account = await this.#ask(() => this.connect());
    if (!account) throw new Problem("The wallet shows no account.", "Unlock it, then try again.", "no-account");
    return account;
  }

  /**
   * Sends what the offer asks for; answers the transaction's signature.
   * @param {string} account
   * @param {SolanaOffer} offer
   * @param {Pick<Server, "blockhash">} [server] the one that made the offer; the page's own by default
   */
  async send(account, offer, server = new Server()) {
    const recent = await server.blockhash(offer.network);
    const message = await paymentMessage(offer, account, recent.blockhash);
    return this.#ask(() => this.submit(transaction(message), account, CHAINS[offer.network], recent));
  }

  /**
   * The server sees it on the chain; this page has no node to ask.
   * @param {string} [_tx]
   * @param {{ signal?: AbortSignal }} [_options]
   */
  async included(_tx, _options) {}

  /**
   * @template T
   * @param {() => Promise<T>} what
   */
  async #ask(what) {
    try {
      return await what();
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
  const text = String(error?.message ?? error).slice(0, 200);
  if (error?.code === 4001 || /reject|declin|cancel/i.test(text)) {
    return new Problem("You declined in your wallet.", "Nothing was paid. Try again when you are ready.", "declined");
  }
  if (/insufficient|debit an account|program error: 0x1\b/i.test(text)) {
    return new Problem("The account holds too little for the amount and the fee.", "Top it up, or choose a shorter time.", "insufficient_funds");
  }
  return Object.assign(new Problem(`The wallet refused: ${text}`, "Nothing was paid, unless your wallet says so.", "wallet"), { values: { text } });
}

/**
 * By the Wallet Standard: bytes in, bytes out.
 * @param {any} wallet
 */
export function standard(wallet) {
  /** @type {any} */
  let chosen = null;
  return new SolanaWallet(wallet.name, {
    chains: wallet.chains,
    async connect() {
      const { accounts } = await wallet.features["standard:connect"].connect();
      chosen = accounts.find((/** @type {any} */ each) => each.chains.some((/** @type {string} */ chain) => chain.startsWith("solana:")));
      return chosen?.address;
    },
    async submit(bytes, address, chain) {
      const [{ signature }] = await wallet.features[SEND].signAndSendTransaction({ account: chosen, transaction: bytes, chain });
      return encode(signature);
    },
  });
}

/**
 * As the first wallets inject themselves (`window.solana`).
 * @param {any} provider
 */
function injected(provider) {
  return new SolanaWallet("your browser wallet", {
    async connect() {
      const { publicKey } = await provider.connect();
      return (publicKey ?? provider.publicKey)?.toString();
    },
    async submit(bytes) {
      const { signature } = await provider.request({ method: SEND.slice("solana:".length), params: { message: encode(bytes) } });
      return signature;
    },
  });
}

/** Every wallet that registers, now or at once when it is told that this page is ready. */
export async function solanaWallets() {
  const found = new Map();
  /** @param {...any} wallets */
  const register = (...wallets) => {
    for (const each of wallets) if (each.features?.[SEND] && each.features["standard:connect"]) found.set(each.name, standard(each));
    return () => {};
  };
  /** @param {any} event */
  const hear = ({ detail }) => detail({ register });
  addEventListener("wallet-standard:register-wallet", hear);
  dispatchEvent(new CustomEvent("wallet-standard:app-ready", { detail: { register } }));
  await new Promise((resolve) => setTimeout(resolve, 60));
  removeEventListener("wallet-standard:register-wallet", hear);
  const { solana } = /** @type {any} */ (globalThis);
  if (!found.size && solana?.connect && solana.request) found.set("injected", injected(solana));
  return [...found.values()];
}
