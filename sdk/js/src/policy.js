// The payer's limits. They are the payer's own words; nothing that a server says can widen them.

import { Problem } from "./js/problem.js";
import { quote } from "./js/price.js";

/** @typedef {import("./js/offer.js").Offer} Offer */

/**
 * What a session may cost, in what, and who may be paid.
 * @typedef {object} Limits
 * @property {bigint | string} maxAmount for the whole session, top-ups included: smallest units of `asset`, or coins with
 *   their name: `"0.01 ETH"`, `"0.1 SOL"`, `"5 USDC"`
 * @property {string} [asset] `"native"` (the default), `"usdc"`, or a token's contract or mint
 * @property {string} [network] the only network to pay on; by default whichever the wallet pays on
 * @property {readonly string[]} [payees] addresses that may be paid, and no others
 * @property {boolean} [trustFirstUse] pay a server's payee at the first meeting, remember it, and refuse another one later
 * @property {bigint} [maxPricePerSecond] smallest units
 */

/** Circle's USDC by network: https://developers.circle.com/stablecoins/usdc-contract-addresses */
const USDC = new Map([
  ["base", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"],
  ["base-sepolia", "0x036cbd53842c5426634e7929541ec2318f3dcf7e"],
  ["solana", "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"],
  ["solana-devnet", "4zMMC9srt5Ri5X14GAgXhaHii3GnPAERYPJgZJDncDU"],
]);
const DECIMALS = new Map([["ETH", 18], ["SOL", 9], ["USDC", 6]]);

/** One spelling: EVM's in lower case; base58 means another key in another case. */
const normal = (/** @type {string} */ address) => (/^0x/i.test(address) ? address.toLowerCase() : address);

const bad = (/** @type {string} */ what, /** @type {string} */ remedy) => new Problem(what, remedy, "bad_limit");

/**
 * A cap in smallest units, and the asset that it is in. Throws Problem.
 * @param {unknown} cap
 * @param {string | undefined} asset
 * @returns {{ units: bigint, asset: string, symbol: string | null }}
 */
function readCap(cap, asset) {
  if (typeof cap === "bigint" && cap > 0n) return { units: cap, asset: asset ?? "native", symbol: null };
  const remedy = 'Write "0.01 ETH", "0.1 SOL" or "5 USDC", or smallest units as a bigint.';
  if (typeof cap !== "string") throw bad("maxAmount says how much may be paid, and must be given.", remedy);
  if (/^[0-9]{1,78}$/.test(cap) && BigInt(cap) > 0n) return { units: BigInt(cap), asset: asset ?? "native", symbol: null };
  const [, whole, part = "", symbol] = /^([0-9]{1,60})(?:\.([0-9]{1,18}))? +([A-Z]+)$/.exec(cap.trim()) ?? [];
  const decimals = DECIMALS.get(symbol ?? "");
  if (decimals === undefined || part.length > decimals) throw bad(`maxAmount '${cap}' cannot be read.`, remedy);
  const meant = symbol === "USDC" ? "usdc" : "native";
  if (asset !== undefined && asset.toLowerCase() !== meant) throw bad(`maxAmount is in ${symbol}, but asset is '${asset}'.`, remedy);
  const units = BigInt(whole + part.padEnd(decimals, "0"));
  if (units === 0n) throw bad("maxAmount is nothing.", remedy);
  return { units, asset: meant, symbol: symbol ?? null };
}

/** Limits that were read, so that what is wrong with them is told before a server is asked. */
export class Policy {
  #cap;
  #network;
  #payees;
  #trust;
  #price;

  /** @param {Limits} limits */
  constructor({ maxAmount, asset, network, payees = [], trustFirstUse = false, maxPricePerSecond }) {
    this.#cap = readCap(maxAmount, asset);
    this.#network = network;
    this.#payees = new Set(payees.map(normal));
    this.#trust = trustFirstUse;
    if (maxPricePerSecond !== undefined && typeof maxPricePerSecond !== "bigint") {
      throw bad("maxPricePerSecond is no bigint.", "Write smallest units, such as 1000n.");
    }
    this.#price = maxPricePerSecond;
  }

  /**
   * Refuses an offer that breaks a limit; remembers a payee that was met first. Throws Problem.
   * @param {Offer} offer
   * @param {{ origin: string, spent: bigint, store: import("./store.js").Store }} context `spent`: by this session already
   */
  async check(offer, { origin, spent, store }) {
    this.#checkAmount(offer, spent);
    const recipient = normal(offer.recipient);
    if (this.#payees.size) {
      if (this.#payees.has(recipient)) return;
      throw new Problem(`The server wants the money sent to ${offer.recipient}, which is not among your payees.`, "Nothing was paid.", "payee_refused");
    }
    const known = await store.payee(origin, offer.network);
    if (known === recipient) return;
    if (known !== null) {
      throw new Problem(
        `${origin} was paid at ${known} before, and now names ${offer.recipient}.`,
        "Ask its owner. To accept, name the new address among the payees.",
        "payee_changed",
      );
    }
    if (!this.#trust) {
      throw new Problem(
        `${origin} wants the money sent to ${offer.recipient}, which you have not approved.`,
        "Name it among the payees, or allow trustFirstUse.",
        "payee_unknown",
      );
    }
    await store.meet(origin, offer.network, recipient);
  }

  /**
   * @param {Offer} offer
   * @param {bigint} spent
   */
  #checkAmount(offer, spent) {
    const { units: cap, asset, symbol } = this.#cap;
    if (this.#network !== undefined && this.#network !== offer.network) {
      throw new Problem(`The server wants to be paid on ${offer.network}.`, `You allow only ${this.#network}.`, "network_refused");
    }
    const token = asset === "native" ? null : asset.toLowerCase() === "usdc" ? (USDC.get(offer.network) ?? "usdc") : normal(asset);
    const native = offer.kind === "solana" ? "SOL" : "ETH";
    if ((offer.token === null ? null : normal(offer.token)) !== token || (token === null && symbol !== null && symbol !== native)) {
      throw new Problem(
        `The server wants ${offer.symbol} (${offer.token ?? `the coin of ${offer.network}`}).`,
        `You allow only ${symbol ?? asset}.`,
        "asset_refused",
      );
    }
    const price = quote(offer.price, 1);
    if (this.#price !== undefined && price > this.#price) {
      throw new Problem(`The price is ${price} a second, above ${this.#price}.`, "Nothing was paid.", "price_refused");
    }
    if (spent + offer.units > cap) {
      throw new Problem(
        `This would make ${spent + offer.units} smallest units of ${offer.symbol}, above ${cap}.`,
        "Ask for a shorter time, or raise maxAmount.",
        "over_cap",
      );
    }
  }
}
