// A paid session over its socket: the proof, the meter, top-ups, the end, and coming back after a lost connection.

import { AGAIN, read, remedyFor } from "./messages.js";
import { amount } from "./money.js";
import { Passed } from "./passed.js";
import { Problem } from "./problem.js";
import { charged, cost, kept, readPrice } from "./price.js";

const OPEN = 1; // a socket's readyState
const RESUMABLE = new Set([1001, 1006, 1012, 1013]);
const RESUME_LATER = 4000; // our close code: hand the session back, do not settle it
const SUPERSEDED = 4001;
const TRIES_MS = 90_000;
const TRY_MS = 45_000; // more than an answer and a pause take
const REACH_TRIES = 4;
const SLACK_MS = 2_000;

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** @param {number} attempt */
const backoff = (attempt) => Math.random() * Math.min(8_000, 500 * 2 ** attempt);

/**
 * What a session came to. `exact` when the server said so; else it is what was counted here.
 * @typedef {{
 *   paid: bigint, consumed: bigint, refund: bigint, refundId: string | null, reason: string | null, exact: boolean,
 * }} Settlement
 */

/**
 * Events (`detail`): `started`, `usage`, `message`, `low`, `away`, `access`, `waiting`, `ended`, `lost`, `token`.
 * `payment` is { tx, from, offer }: what was paid.
 */
export class Session extends EventTarget {
  /**
   * @param {string} socketUrl
   * @param {string} resourceId
   * @param {bigint} paid
   * @param {import("./price.js").Price | bigint} price
   * @param {{ WebSocket?: typeof globalThis.WebSocket, userId?: string }} [options]
   */
  constructor(socketUrl, resourceId, paid, price, { WebSocket = globalThis.WebSocket, userId = "page" } = {}) {
    super();
    this.WebSocket = WebSocket; // Node has one of its own from version 22 on
    this.resourceId = resourceId;
    this.paid = paid;
    this.price = kept(price);
    this.remaining = paid;
    this.consumed = 0n;
    /** @type {Record<string, number>} */
    this.counts = {}; // as the server says
    this.passed = new Passed();
    this.id = /** @type {string | null} */ (null);
    this.token = /** @type {string | null} */ (null);
    this.live = false;
    this.ending = false;
    this.overcharged = false;
    this.settlement = /** @type {Settlement | null} */ (null);
    this.counted = performance.now();
    this.began = Date.now();
    /** @type {((answer: any) => void)[]} */
    this.topUps = [];
    this.socket = /** @type {WebSocket | null} */ (null);
    this.waiting = /** @type {WebSocket | null} */ (null);
    this.longest = /** @type {number | undefined} */ (undefined);
    this.drainWait = /** @type {number | undefined} */ (undefined);
    this.impatient = /** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined);
    this.lastWords = /** @type {string | null} */ (null);
    this.lastError = /** @type {string | null} */ (null);
    this.opening = /** @type {WebSocket | null} */ (null);
    this.abandoned = false;
    this.why = ""; // what it waits for, as a code
    const url = new URL(socketUrl, globalThis.location?.href);
    url.searchParams.set("userId", `${userId}-${Math.random().toString(36).slice(2, 10)}`);
    url.searchParams.set("resourceId", resourceId);
    url.searchParams.set("resumable", "1");
    this.url = url.href;
  }

  /** Left now, counted on from the server's last figure. */
  get left() {
    if (!this.live) return this.remaining;
    const now = this.remaining - cost(this.price, Math.floor(performance.now() - this.counted));
    return now > 0n ? now : 0n;
  }

  /** Opens the socket and says nothing yet, so that nobody pays where none is to be had. Throws Problem. */
  async reach() {
    for (let tries = 0; this.waiting?.readyState !== OPEN; tries++) {
      this.waiting = await this.#knock();
      if (this.waiting) return;
      if (tries === REACH_TRIES) {
        throw new Problem("The server opens no connection for a session, so nothing was paid.", "Try again later. If it stays so, tell the site’s owner.", "no_socket");
      }
      this.why = "reach";
      this.#tell("waiting", "The server has no room just now.");
      await pause(backoff(tries));
    }
  }

  /** Whoever wanted it went away: it is opened no more. */
  abandon() {
    this.abandoned = true;
    this.waiting?.close(1000);
    this.opening?.close(1000);
    this.waiting = null;
  }

  /**
   * Shows a payment until the server accepts it. Throws Problem.
   * @param {object} proof
   * @param {object} [extra]
   */
  prove(proof, extra) {
    this.began = Date.now();
    return this.#enter({ type: "payment_proof", proof, ...extra });
  }

  /**
   * Goes on with a session that was left. Throws Problem.
   * @param {string} token
   * @param {number} began
   */
  resume(token, began) {
    this.began = began;
    this.passed.unseen = true;
    return this.#enter({ type: "resume", token });
  }

  /** @param {string | Uint8Array<ArrayBuffer> | ArrayBuffer} text */
  send(text) {
    if (this.socket?.readyState !== OPEN) return;
    if (Object.keys(this.price.units).length) this.passed.count(text);
    this.socket.send(text);
  }

  /**
   * Shows another payment in the live session; answers what was credited. Throws Problem.
   * @param {object} proof
   * @param {object} [extra]
   */
  async topUp(proof, extra) {
    const end = Date.now() + TRIES_MS;
    for (let attempt = 0; ; attempt++) {
      let late;
      const answer = await new Promise((resolve) => {
        this.topUps.push(resolve);
        this.send(JSON.stringify({ type: "payment_proof", proof, ...extra }));
        late = setTimeout(() => resolve(null), 35_000);
      });
      clearTimeout(late);
      this.topUps = [];
      if (answer?.type === "balance_updated") {
        const added = amount(answer.added);
        this.paid += added;
        return added;
      }
      if (answer?.code === "already_claimed") return null; // an answer before this one was lost
      if (!this.live) throw new Problem("The session ended before the payment was credited.", "The gateway refunds it.", "ended");
      if ((answer?.type === "payment_rejected" && !AGAIN.has(answer.code)) || Date.now() > end) {
        throw new Problem(`The payment was not credited: ${answer?.reason ?? answer?.message ?? "no answer"}`, "What was paid too much is refunded.", answer?.code);
      }
      await pause(backoff(attempt));
    }
  }

  /** Ends it; `ended` follows with the settlement. */
  end() {
    this.ending = true;
    this.send(JSON.stringify({ type: "end_session" }));
    this.impatient = setTimeout(() => this.live && this.socket?.close(1000), 12_000);
  }

  /** The page goes away: hand the session back, so that a reload can go on with it. */
  leave() {
    if (this.live && this.token) this.socket?.close(RESUME_LATER, "page closed");
  }

  /** @param {object} hello */
  async #enter(hello) {
    let left = TRIES_MS;
    for (let attempt = 0; ; attempt++) {
      const began = Date.now();
      const waiting = this.waiting?.readyState === OPEN ? this.waiting : null;
      this.waiting = null;
      const problem = await this.#open(hello, waiting);
      if (!problem) return;
      // One that waited for the payment may have been closed for that: a fresh one tells.
      problem.again ||= waiting !== null && problem.code === "closed";
      if (!problem.again || left < 0 || this.abandoned) throw problem;
      this.why = AGAIN.has(problem.code) ? problem.code : "busy";
      this.#tell("waiting", problem.message);
      await pause(backoff(attempt));
      left -= Math.min(Date.now() - began, TRY_MS); // what this machine slept through does not count
    }
  }

  /** @returns {Promise<WebSocket | null>} an open one */
  #knock() {
    return new Promise((resolve) => {
      /** @type {WebSocket} */
      let socket;
      try {
        socket = new this.WebSocket(this.url);
      } catch {
        resolve(null);
        return;
      }
      socket.onopen = () => resolve(socket);
      socket.onclose = () => resolve(null);
    });
  }

  /**
   * One socket, or the one that waits: resolves with null once the session runs on it, else with the Problem.
   * @param {object} hello
   * @param {WebSocket | null} waiting
   * @returns {Promise<Problem | null>}
   */
  #open(hello, waiting) {
    return new Promise((resolve) => {
      /** @type {WebSocket} */
      let socket;
      try {
        socket = waiting ?? new this.WebSocket(this.url);
      } catch {
        resolve(new Problem("The server’s socket address cannot be used from this page.", "Tell the site’s owner.", "bad_socket"));
        return;
      }
      this.opening = socket;
      /** @type {Problem | null} */
      let refusal = null;
      let running = false;
      socket.binaryType = "arraybuffer";
      if (waiting) socket.send(JSON.stringify(hello));
      else socket.onopen = () => socket.send(JSON.stringify(hello));
      const heard = (/** @type {string | ArrayBuffer} */ data) => {
        const message = read(data);
        if (!running && message?.type === "session_started") {
          this.opening = null;
          this.socket = socket;
          this.#started(message);
          running = true;
          resolve(null);
        } else if (!running && message?.type === "payment_rejected") {
          refusal = new Problem(message.reason, remedyFor(message.code), message.code ?? "refused");
          refusal.again = AGAIN.has(message.code);
        } else if (running) {
          this.#hear(message, data);
        }
      };
      socket.onmessage = ({ data }) => {
        try {
          heard(data);
        } catch { // such as an amount that is none: the session is over
          const why = new Problem("The server sent a message that cannot be read.", "Tell the site’s owner. What was not used is refunded.", "bad_message");
          refusal = Object.assign(why, { again: false });
          this.ending ||= running;
          socket.close(1000);
        }
      };
      socket.onclose = ({ code }) => {
        if (running) {
          this.#closed(code);
          return;
        }
        const problem = refusal ?? new Problem("The server closed the connection before the session began.", "Your payment is remembered here. Try again.", "closed");
        problem.again ??= code !== 1008;
        resolve(problem);
      };
    });
  }

  /** @param {any} message */
  #started(message) {
    this.id = message.sessionId;
    this.token = message.resumeToken ?? null;
    this.price = readPrice(message);
    this.longest = message.maxSessionDuration;
    this.remaining = amount(message.balance);
    if (!message.resumed && this.remaining > this.paid) this.paid = this.remaining;
    this.counted = performance.now();
    this.live = true;
    this.#tell("started", message);
    this.#tell("token", this.token);
    if (this.ending) this.end(); // it was asked for while the connection was away
  }

  /**
   * @param {any} message
   * @param {string | ArrayBuffer} data
   */
  #hear(message, data) {
    switch (message?.type) {
      case undefined:
        if (Object.keys(this.price.units).length) this.passed.count(data);
        this.#tell("message", data);
        break;
      case "usage_update":
        this.#usage(message);
        break;
      case "balance_updated":
        this.#count(amount(message.remainingBalance));
        this.topUps.forEach((resolve) => resolve(message));
        break;
      case "payment_rejected":
      case "error":
        if (this.topUps.length) this.topUps.forEach((resolve) => resolve(message));
        else this.lastError = message.message ?? message.reason;
        break;
      case "balance_low":
        this.#tell("low", message.remainingSeconds);
        break;
      case "http_access_granted":
        this.passed.overHttp = true;
        this.#tell("access", message);
        break;
      case "draining":
        this.drainWait = message.reconnectAfterMs ?? 0;
        break;
      case "session_ended":
        this.settlement = {
          paid: amount(message.paidAmount),
          consumed: amount(message.consumedAmount),
          refund: amount(message.refundAmount),
          refundId: message.refundId ?? null,
          reason: message.reason,
          exact: true,
        };
        break;
      default:
        this.lastWords = message.type;
    }
  }

  /** @param {any} message */
  #usage(message) {
    this.consumed = amount(message.consumedAmount);
    this.#count(amount(message.remainingBalance));
    this.counts = message.units ?? {};
    if (this.consumed > cost(this.price, Date.now() - this.began + SLACK_MS, charged(this.price, this.passed.allowed(this.counts)))) {
      this.overcharged = true;
      this.end();
    }
    this.#tell("usage", message);
  }

  /** @param {bigint} remaining */
  #count(remaining) {
    this.remaining = remaining;
    this.counted = performance.now();
  }

  /** @param {number} code */
  async #closed(code) {
    clearTimeout(this.impatient);
    this.remaining = this.left;
    this.live = false;
    this.topUps.forEach((resolve) => resolve(null));
    if (this.settlement || code === 1000 || this.ending) {
      this.#finish();
      return;
    }
    if (code === RESUME_LATER) return;
    if (code === SUPERSEDED) {
      this.#tell("lost", new Problem("The session goes on in another window.", "Close this one.", "superseded"));
      return;
    }
    if (!this.token || !RESUMABLE.has(code)) {
      this.#tell("lost", new Problem(this.lastError ?? "The connection was lost.", "What was not used is refunded.", "lost"));
      return;
    }
    this.why = this.drainWait === undefined ? "away" : "drain";
    this.#tell("away", null);
    await pause(this.drainWait ?? 0);
    this.drainWait = undefined;
    this.passed.unseen = true;
    try {
      await this.#enter({ type: "resume", token: this.token });
    } catch (problem) {
      this.#tell("lost", problem);
    }
  }

  #finish() {
    const consumed = this.paid - this.remaining;
    this.settlement ??= {
      paid: this.paid, consumed, refund: this.remaining, refundId: null, reason: this.lastWords, exact: false,
    };
    this.#tell("ended", this.settlement);
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
