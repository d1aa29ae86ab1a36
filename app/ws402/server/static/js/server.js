// A server's HTTP side.

import { Problem } from "./problem.js";

const MAX_BYTES = 1024 * 1024; // of an answer
const CALL_MS = 30_000; // for a whole answer, however slowly it comes

/**
 * The answer's JSON; null for what is none, or too long, or did not come in time.
 * @param {Response} answer
 */
async function read(answer) {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  try {
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      size += part.value.length;
      if (size > MAX_BYTES) {
        await reader.cancel();
        return null;
      }
      text += decoder.decode(part.value, { stream: true });
    }
    return JSON.parse(text + decoder.decode());
  } catch {
    return null;
  }
}

/**
 * What the server says, unless it speaks to its operator: of settings, by their names.
 * @param {unknown} text
 */
const forPayers = (text) => (typeof text === "string" && !/\b[A-Z0-9]+_[A-Z0-9_]+\b/.test(text) ? text : undefined);

/**
 * A session that is to be topped up, and its current token.
 * @typedef {{ sessionId: string, token: string }} TopUp
 */

/** A WS402 server: `base` is its address with a slash at the end; without one, addresses are relative to the page. */
export class Server {
  constructor(base = "") {
    this.base = base;
  }

  /** @returns {Promise<any[]>} what is sold */
  async resources() {
    const body = await this.#get("api/resources");
    return Array.isArray(body) ? body : body.resources;
  }

  /**
   * An offer for so many seconds.
   * @param {string} resourceId
   * @param {number} seconds
   * @param {TopUp | null} [topUp]
   * @param {boolean} [elsewhere] whether it may be paid from another device, by a payment that has room for nothing but its
   *   amount to tell whose it is
   */
  schema(resourceId, seconds, topUp = null, elsewhere = false) {
    const query = new URLSearchParams({ duration: String(seconds) });
    if (elsewhere) query.set("uniqueAmount", "1");
    if (topUp) {
      query.set("sessionId", topUp.sessionId);
      query.set("token", topUp.token);
    }
    return this.#get(`ws402/schema/${encodeURIComponent(resourceId)}?${query}`);
  }

  /**
   * A recent block of Solana, for a payment to be tied to.
   * @param {string} network
   * @returns {Promise<{ blockhash: string, lastValidBlockHeight: number }>}
   */
  blockhash(network) {
    return this.#get(`blockhash?${new URLSearchParams({ network })}`);
  }

  /** @param {string} refundId */
  refund(refundId) {
    return this.#get(`ws402/refund/${encodeURIComponent(refundId)}`);
  }

  /**
   * What has arrived for an offer: answered as soon as something has, or after some time.
   * @param {{ reference: string, claimToken?: string }} offer
   * @param {{ signal?: AbortSignal, wait?: boolean }} [options]
   */
  arrival({ reference, claimToken }, { signal, wait = true } = {}) {
    const body = JSON.stringify({ reference, wait, ...(claimToken ? { claimToken } : {}) });
    return this.#call("ws402/payment", { method: "POST", headers: { "content-type": "application/json" }, body, signal });
  }

  /** How this server's page is set up; older servers do not say. */
  async page() {
    try {
      return await this.#get("ws402/page");
    } catch {
      return {};
    }
  }

  /** @param {string} path */
  #get(path) {
    return this.#call(path, {});
  }

  /**
   * @param {string} path
   * @param {RequestInit} options
   */
  async #call(path, { headers, signal, ...more }) {
    let answer;
    const signals = [AbortSignal.timeout(CALL_MS), ...(signal ? [signal] : [])];
    try {
      answer = await fetch(this.base + path, {
        headers: { accept: "application/json", ...headers }, cache: "no-store", signal: AbortSignal.any(signals), ...more,
      });
    } catch {
      throw new Problem("The server does not answer.", "Check your connection, then try again.", "offline");
    }
    const body = await read(answer);
    if (!answer.ok || body === null) {
      const said = body ?? {};
      throw new Problem(
        forPayers(said.message) ?? (answer.ok ? "The server’s answer cannot be read." : `The server answered ${answer.status}.`),
        forPayers(said.remedy) ?? "Try again in a moment. If it stays so, tell the site’s owner.",
        said.code ?? `http_${answer.status}`,
      );
    }
    return body;
  }
}
