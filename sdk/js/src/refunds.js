// Where a refund is, until it has come.

import { amount } from "./js/money.js";
import { Problem } from "./js/problem.js";

const REFUND_MS = 15 * 60_000;
/** No later state follows these without an operator, or a later session. */
const ENDS = new Set(["final", "credit", "held"]);

/**
 * `state`: `none` (all was used), `waiting` (for the payment to be final), `due`, `in_flight`, `confirmed`, `final`, `credit`
 * (too small to be sent alone: it comes with the next one), or `held` (an operator looks into it).
 * @typedef {{ state: string, amount: bigint, txHash: string | null, refundId: string | null }} Refund
 */

/**
 * How long to wait for a refund, and who is told of its way.
 * @typedef {object} RefundOptions
 * @property {"confirmed" | "final"} [until] in a block (the default), or never to be undone
 * @property {number} [timeoutMs] 15 minutes by default
 * @property {AbortSignal} [signal]
 * @property {(refund: Refund) => void} [onState]
 */

/**
 * Waits for the refund of an ended session. Throws Problem `refund_pending` when it takes longer: it comes all the same.
 * @param {import("./js/server.js").Server} server
 * @param {import("./js/session.js").Settlement} settlement
 * @param {RefundOptions} [options]
 * @returns {Promise<Refund>}
 */
export async function followRefund(server, settlement, { until = "confirmed", timeoutMs = REFUND_MS, signal, onState } = {}) {
  const { refund: units, refundId } = settlement;
  if (settlement.exact && units === 0n) return { state: "none", amount: 0n, txHash: null, refundId: null };
  if (!refundId) {
    throw new Problem("The server named no refund.", "What was not used goes back to the account that paid by itself.", "refund_unknown");
  }
  /** @type {Refund} */
  let known = { state: "waiting", amount: units, txHash: null, refundId };
  const end = Date.now() + timeoutMs;
  for (let wait = 500; ; wait = Math.min(wait * 1.3, 6_000)) {
    signal?.throwIfAborted();
    try {
      const { state, amount: sent, txHash } = await server.refund(refundId);
      const changed = state !== known.state;
      known = { state: String(state), amount: amount(sent), txHash: txHash ?? null, refundId };
      if (changed) onState?.(known);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      // the server is away: the refund is recorded, and sent all the same
    }
    if (ENDS.has(known.state) || (until === "confirmed" && known.state === "confirmed")) return known;
    if (Date.now() + wait > end) {
      throw Object.assign(
        new Problem(`The refund is ${known.state} after ${Math.round(timeoutMs / 1000)} s.`, "It comes by itself; ask again later.", "refund_pending"),
        { refund: known },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
