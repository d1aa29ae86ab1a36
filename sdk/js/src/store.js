// What a client must not forget: the payments that have opened no session yet, and the payees that it met.

import { Problem } from "./js/problem.js";

/**
 * Texts by name, as `localStorage` keeps them; each may also answer by a promise. What is kept is secret: a payment's
 * reference is worth the payment.
 * @typedef {object} Storage
 * @property {(name: string) => string | null | Promise<string | null>} getItem
 * @property {(name: string, text: string) => void | Promise<void>} setItem
 * @property {(name: string) => void | Promise<void>} removeItem
 * @property {() => readonly string[] | Promise<readonly string[]>} names
 */

/**
 * A payment: `tx` is null until the wallet has answered. `held` is until when (ms) somebody uses it.
 * @typedef {{ base: string, offer: import("./js/offer.js").Offer, from: string, tx: string | null, held: number }} Payment
 */

const PAYMENT = "ws402.client.payment.";
const PAYEE = "ws402.client.payee.";
const HOLD_MS = 30_000;
const RENEW_MS = 5_000;

const pack = (/** @type {unknown} */ value) =>
  JSON.stringify(value, (_, each) => (typeof each === "bigint" ? { big: each.toString() } : each));
const unpack = (/** @type {string} */ text) =>
  JSON.parse(text, (_, each) => (typeof each?.big === "string" ? BigInt(each.big) : each));

/**
 * Forgets everything when the process ends.
 * @returns {Storage}
 */
export function memoryStorage() {
  /** @type {Map<string, string>} */
  const kept = new Map();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, text) => void kept.set(name, text),
    removeItem: (name) => void kept.delete(name),
    names: () => [...kept.keys()],
  };
}

/**
 * What a browser keeps: `localStorage`, or `sessionStorage`.
 * @param {globalThis.Storage} storage
 * @returns {Storage}
 */
export const webStorage = (storage) => ({
  getItem: (name) => storage.getItem(name),
  setItem: (name, text) => storage.setItem(name, text),
  removeItem: (name) => storage.removeItem(name),
  names: () => Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? ""),
});

const shared = memoryStorage();

/** `localStorage` where there is one, else what this process remembers. */
export function defaultStorage() {
  try {
    if (typeof document !== "undefined" && globalThis.localStorage) return webStorage(globalThis.localStorage);
  } catch {
    // a page that may keep nothing
  }
  return shared;
}

/** Payments and payees in a storage. */
export class Store {
  /** @param {Storage} storage */
  constructor(storage) {
    this.storage = storage;
  }

  /**
   * @param {string} origin
   * @param {string} network
   */
  payee(origin, network) {
    return this.#do(() => this.storage.getItem(`${PAYEE}${network}.${origin}`));
  }

  /**
   * @param {string} origin
   * @param {string} network
   * @param {string} payee
   */
  meet(origin, network, payee) {
    return this.#do(() => this.storage.setItem(`${PAYEE}${network}.${origin}`, payee));
  }

  /**
   * Writes a payment down; it is ours for a while.
   * @param {Payment} payment
   */
  keep(payment) {
    payment.held = Date.now() + HOLD_MS;
    return this.#do(() => this.storage.setItem(PAYMENT + payment.offer.reference, pack(payment)));
  }

  /**
   * Keeps it ours until it is let go: `release()` leaves it for a later try, `drop()` forgets it.
   * @param {Payment} payment
   */
  hold(payment) {
    /** @type {Promise<unknown>} */
    let writing = Promise.resolve();
    const timer = setInterval(() => (writing = this.keep(payment).catch(() => {})), RENEW_MS);
    const name = PAYMENT + payment.offer.reference;
    const stop = () => {
      clearInterval(timer);
      return writing; // or it would be written once more after it is forgotten
    };
    return {
      release: async () => {
        await stop();
        payment.held = 0;
        await this.#do(() => this.storage.setItem(name, pack(payment)));
      },
      drop: async () => {
        await stop();
        await this.#do(() => this.storage.removeItem(name));
      },
    };
  }

  /**
   * One that was sent for this resource, and that nobody uses now.
   * @param {string} base
   * @param {string} resourceId
   * @returns {Promise<(Payment & { tx: string }) | null>}
   */
  async unused(base, resourceId) {
    for (const name of await this.#do(() => this.storage.names())) {
      if (!name.startsWith(PAYMENT)) continue;
      const text = await this.#do(() => this.storage.getItem(name));
      try {
        const payment = unpack(text ?? "null");
        if (payment?.tx && payment.base === base && payment.offer.resourceId === resourceId && payment.held < Date.now()) return payment;
      } catch {
        // not ours, or broken off
      }
    }
    return null;
  }

  /**
   * @template T
   * @param {() => T | Promise<T>} what
   */
  async #do(what) {
    try {
      return await what();
    } catch (error) {
      throw new Problem(`The store does not work: ${error instanceof Error ? error.message : error}`, "Nothing more is paid without one. Pass another as `store`.", "store");
    }
  }
}
