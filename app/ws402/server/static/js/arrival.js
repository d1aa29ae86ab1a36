// Waits for a payment that was made elsewhere: with a phone, from an exchange, by a link.

import { arrival } from "./api.js";

const LEAST_MS = 1_000; // between two questions
const AGAIN_MS = 5_000; // after one that was not answered
const LATE_MS = 5 * 60_000;

const pause = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  });
});

/**
 * The first answer that is not "waiting": { state, tx, sender, amount }, or null when it was called off. `asked` is told
 * of each question whether it was answered.
 */
export async function arrived(offer, signal, asked = () => {}) {
  while (!signal.aborted && Date.now() < offer.expiresAt + LATE_MS) {
    const began = Date.now();
    let status = null;
    try {
      status = await arrival(offer, { signal });
    } catch {
      // the server is away, or too busy: the payment is not lost by that
    }
    if (signal.aborted) return null;
    asked(status !== null);
    if (status && status.state !== "waiting") return status;
    await pause(status ? Math.max(0, LEAST_MS - (Date.now() - began)) : AGAIN_MS, signal);
  }
  return null;
}

/** [offer, answer] of those of several offers for which a payment has come, asked once. */
export async function alreadyArrived(offers) {
  const found = [];
  for (const offer of offers) {
    try {
      const status = await arrival(offer, { wait: false });
      if (status.state !== "waiting") found.push([offer, status]);
    } catch {
      // asked again at the next visit
    }
  }
  return found;
}
