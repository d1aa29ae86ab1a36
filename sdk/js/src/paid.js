/// <reference lib="esnext.disposable" preserve="true" />
// A session that was paid for, as a program uses it: messages by iteration, the meter, more time, the end, the refund.

import { proofOf, readOffer } from "./js/offer.js";
import { Problem } from "./js/problem.js";
import { same } from "./js/price.js";
import { followRefund } from "./refunds.js";

/**
 * @typedef {import("./js/price.js").Price} Price
 * @typedef {import("./js/session.js").Session} Session
 * @typedef {import("./js/session.js").Settlement} Settlement
 * @typedef {import("./refunds.js").Refund} Refund
 * @typedef {import("./wallets/wallet.js").Wallet} Wallet
 */

/**
 * What has been used, in smallest units and as the server last said. `units`: other units than time, by name.
 * @typedef {{ elapsedSeconds: number, consumed: bigint, remaining: bigint, paid: bigint, units: Record<string, number> }} Usage
 */

/**
 * All that is needed to go on with a session elsewhere, fit for JSON. It is secret, and good once. `spent` is what was paid by
 * our own count, `paid` what the server has credited.
 * @typedef {{
 *   base: string, resourceId: string, socketUrl: string, token: string, began: number, paid: string, spent: string,
 *   price: { unit: string, amount: string, per: string }[], network: string, symbol: string, decimals: number,
 * }} Ticket
 */

/**
 * @typedef {object} Context
 * @property {import("./js/server.js").Server} server
 * @property {string} origin
 * @property {Price} price that was agreed
 * @property {bigint} spent what was paid so far, whatever the server has credited
 * @property {{ network: string, symbol: string, decimals: number }} currency
 * @property {number} maxBacklogBytes
 * @property {{ wallet: Wallet, policy: import("./policy.js").Policy, store: import("./store.js").Store } | null} payer
 */

const OVERHEAD = 64; // bytes that a waiting message takes besides its own

const sizeOf = (/** @type {string | ArrayBuffer} */ data) => (typeof data === "string" ? 2 * data.length : data.byteLength) + OVERHEAD;

/**
 * Iterating gives the resource's messages: strings, and ArrayBuffers for binary ones. Leaving the loop ends the session;
 * `messages({ keep: true })` leaves it open. Events, beside that (`detail`): `usage` (Usage), `low` (seconds that are left), `away`
 * and `back` (the connection was lost, and is there again), `ended` (Settlement).
 */
export class PaidSession extends EventTarget {
  #core;
  #context;
  /** @type {(string | ArrayBuffer)[]} */
  #waiting = [];
  #bytes = 0;
  /** @type {(() => void)[]} */
  #wakes = [];
  #elapsed = 0;
  #over = false;
  #left = false;
  #spent;
  /** @type {Promise<unknown>} */
  #topUps = Promise.resolve();
  /** @type {Problem | null} */
  #problem = null;
  /** @type {{ url: string, token: string } | null} */
  #access = null;
  /** @type {(settlement: Settlement) => void} */
  #settle = () => {};
  /** @type {Promise<Settlement>} */
  #settled;

  /**
   * Made by `connect` and `resume`.
   * @param {Session} core
   * @param {Context} context
   */
  constructor(core, context) {
    super();
    this.#core = core;
    this.#context = context;
    this.#spent = context.spent;
    this.#settled = new Promise((resolve) => (this.#settle = resolve));
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ heard) =>
      core.addEventListener(type, (event) => heard(/** @type {CustomEvent} */ (event).detail));
    on("started", (message) => this.#started(message));
    on("usage", ({ elapsedSeconds }) => {
      this.#elapsed = Number(elapsedSeconds);
      this.#tell("usage", this.usage);
      if (core.overcharged) this.#problem ??= overcharged();
    });
    on("message", (data) => this.#take(data));
    on("low", (seconds) => this.#tell("low", seconds));
    on("away", () => this.#tell("away", null));
    on("access", ({ httpToken, resourceUrl }) => {
      this.#access = { url: resourceUrl, token: httpToken };
      this.#wake();
    });
    on("ended", (settlement) => this.#end(settlement, null));
    on("lost", (problem) => this.#end(estimate(core), problem));
  }

  get id() {
    return this.#core.id;
  }

  /** What was agreed: rates of smallest units. */
  get price() {
    return this.#context.price;
  }

  get currency() {
    return this.#context.currency;
  }

  /** @returns {Usage} */
  get usage() {
    const { consumed, remaining, paid, counts } = this.#core;
    return { elapsedSeconds: this.#elapsed, consumed, remaining, paid, units: counts };
  }

  /** Smallest units that are left now, counted on from what the server last said. */
  get left() {
    return this.#core.left;
  }

  get live() {
    return this.#core.live;
  }

  /** @returns {Settlement | null} what it came to, once it has ended */
  get settlement() {
    return this.#core.settlement;
  }

  /** @returns {Ticket | null} with which `resume` goes on elsewhere; another one after each loss of the connection */
  get ticket() {
    const { token, resourceId, url, began, paid } = this.#core;
    if (!token || this.#over) return null;
    return {
      base: this.#context.server.base, resourceId, socketUrl: url, token, began, paid: String(paid), spent: String(this.#spent), ...this.#context.currency,
      price: this.#context.price.rates.map(({ unit, amount, per }) => ({ unit, amount: String(amount), per: String(per) })),
    };
  }

  [Symbol.asyncIterator]() {
    return this.messages();
  }

  /**
   * The messages of the resource, until the session ends. Throws Problem when it ends badly.
   * @param {{ keep?: boolean }} [options] whether leaving the loop leaves the session open
   * @returns {AsyncGenerator<string | ArrayBuffer, void, undefined>}
   */
  async *messages({ keep = false } = {}) {
    try {
      for (;;) {
        const next = this.#waiting.shift();
        if (next !== undefined) {
          this.#bytes -= sizeOf(next);
          yield next;
        } else if (this.#over) {
          if (this.#problem) throw this.#problem;
          return;
        } else await this.#news();
      }
    } finally {
      if (!keep && !this.#over) await this.end();
    }
  }

  /**
   * Sends the resource a message. Throws Problem while the connection is away.
   * @param {string | ArrayBuffer | Uint8Array<ArrayBuffer>} data
   */
  send(data) {
    if (this.#over || !this.#core.live) throw new Problem("The session is not connected.", "Send it again when it is back.", this.#over ? "ended" : "away");
    this.#core.send(data);
  }

  /**
   * Fetches a resource that is sold over HTTP, with the session's token. Throws Problem when this one is not.
   * @param {string} [path] below the resource
   * @param {RequestInit} [init]
   */
  async fetch(path = "", init = {}) {
    while (!this.#access && !this.#over && !this.#elapsed) await this.#news();
    if (!this.#access) throw new Problem("This resource is not sold over HTTP.", "Iterate over the session for its messages.", "no_http");
    const { url, token } = this.#access;
    const root = new URL(url, this.#context.server.base);
    const whole = new URL(root.pathname + (path && `/${path.replace(/^\/+/, "")}`), root.origin);
    if (root.origin !== this.#context.origin || !whole.pathname.startsWith(root.pathname)) {
      throw new Problem(`The resource is at ${root.origin}, not at ${this.#context.origin}.`, "Its token is shown to nobody else. Tell the server's owner.", "other_origin");
    }
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token}`);
    return fetch(whole, { ...init, headers, redirect: "error" });
  }

  /**
   * Pays for more time, within the same limits, one payment after the other. Answers the smallest units that were added; null
   * where the server had added them before, and its answer was lost. Throws Problem.
   * @param {number} seconds
   * @returns {Promise<bigint | null>}
   */
  topUp(seconds) {
    const turn = this.#topUps.then(() => this.#topUp(seconds));
    this.#topUps = turn.catch(() => {});
    return turn;
  }

  /** @param {number} seconds */
  async #topUp(seconds) {
    const core = this.#core;
    const { server, payer, origin, price } = this.#context;
    if (!payer) throw new Problem("No wallet was given.", "Pass `wallet` and `maxAmount` to resume.", "no_wallet");
    if (!core.live || !core.id || !core.token) throw new Problem("The session is not connected.", "Nothing was paid. Try again when it is back.", "away");
    const offer = await readOffer(await server.schema(core.resourceId, seconds, { sessionId: core.id, token: core.token }), core.resourceId, seconds);
    if (!same(offer.price, price)) throw new Problem("The price has changed.", "Nothing was paid. Open a new session when this one ends.", "price_changed");
    if (!payer.wallet.pays(offer)) throw new Problem(`The wallet cannot pay on ${offer.network}.`, "Nothing was paid.", "network_refused");
    await payer.policy.check(offer, { origin, spent: this.#spent, store: payer.store });
    const from = await payer.wallet.account(offer);
    if (!core.live) throw new Problem("The session is not connected.", "Nothing was paid. Try again when it is back.", "away");
    const tx = await payer.wallet.send(from, offer, server);
    this.#spent += offer.units; // now, and by our own count: what a server does not credit was paid all the same
    try {
      await payer.wallet.included(tx);
    } catch (error) {
      if (error instanceof Problem && error.code === "transfer_failed") this.#spent -= offer.units;
      throw error;
    }
    return core.topUp(proofOf(offer, tx, from), offer.claimToken ? { claimToken: offer.claimToken } : {});
  }

  /**
   * Ends it, unless it has ended; what was not used goes back. Throws Problem where it was left.
   * @returns {Promise<Settlement>}
   */
  async end() {
    if (this.#left) throw new Problem("The session was left.", "Go on with it by resume(ticket), and end it there.", "left");
    if (!this.#over && !this.#core.ending) this.#core.end();
    return this.#settled;
  }

  /**
   * Ends it, and waits for what was not used. Throws Problem.
   * @param {import("./refunds.js").RefundOptions} [options]
   * @returns {Promise<Refund>}
   */
  async refund(options) {
    return followRefund(this.#context.server, await this.end(), options);
  }

  /**
   * Hands it back to the server, which keeps it for some minutes and charges nothing meanwhile.
   * @returns {Ticket} for `resume`
   */
  leave() {
    const ticket = this.ticket;
    if (!ticket || !this.#core.live) throw new Problem("The session cannot be left to be gone on with.", "End it.", "not_resumable");
    this.#core.leave();
    this.#over = this.#left = true;
    this.#wake();
    return ticket;
  }

  /** For `await using`: ends it. */
  async [Symbol.asyncDispose]() {
    if (!this.#over) await this.end();
  }

  /** @param {any} message */
  #started(message) {
    if (!same(this.#core.price, this.#context.price)) {
      this.#problem = overcharged();
      this.#core.overcharged = true;
      this.#core.end();
    } else if (message.resumed) this.#tell("back", null);
  }

  /** @param {string | ArrayBuffer} data */
  #take(data) {
    if (this.#over || this.#core.ending) return;
    this.#bytes += sizeOf(data);
    if (this.#bytes > this.#context.maxBacklogBytes) {
      this.#problem = new Problem("Messages came faster than they were taken.", "What was not used is refunded. Take them faster, or raise maxBacklogBytes.", "backlog");
      this.#core.end();
      return;
    }
    this.#waiting.push(data);
    this.#wake();
  }

  /**
   * @param {Settlement} settlement
   * @param {Problem | null} problem
   */
  #end(settlement, problem) {
    if (this.#over) return;
    this.#over = true;
    this.#problem ??= problem;
    this.#settle(settlement);
    this.#tell("ended", settlement);
    this.#wake();
  }

  /** Something has changed. */
  #wake() {
    for (const each of this.#wakes.splice(0)) each();
  }

  /** @returns {Promise<void>} */
  #news() {
    return new Promise((resolve) => this.#wakes.push(resolve));
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
    if (type === "usage") this.#wake();
  }
}

const overcharged = () =>
  new Problem("The meter ran faster than the price that was agreed, so the session was ended.", "Tell the server's owner. What was not used is refunded.", "overcharged");

/**
 * What is known of a session that was lost: the server settles it.
 * @param {Session} core
 * @returns {Settlement}
 */
const estimate = ({ paid, remaining }) => ({ paid, consumed: paid - remaining, refund: remaining, refundId: null, reason: null, exact: false });
