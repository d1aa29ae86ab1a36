// What a server says on a session's socket.

/** Why a proof is refused that may be accepted later. */
export const AGAIN = new Set([
  "transfer_not_found", "transfer_unconfirmed", "chain_unavailable",
  // the gateway does not take this server; another one may open
  "client_certificate_required", "unauthorized", "forbidden",
]);

const OURS = new Set([
  "session_started", "http_access_granted", "usage_update", "balance_low", "balance_updated", "balance_exhausted",
  "max_duration_reached", "payment_rejected", "draining", "session_ended", "error",
]);

/**
 * A message of the protocol, or undefined for one of the resource.
 * @param {unknown} data
 * @returns {any}
 */
export function read(data) {
  if (typeof data !== "string" || !data.startsWith("{")) return undefined;
  try {
    const message = JSON.parse(data);
    return OURS.has(message.type) ? message : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What to do when a proof is refused.
 * @param {string | undefined} code
 */
export function remedyFor(code) {
  switch (code) {
    case "invoice_expired":
    case "unknown_invoice":
    case "transfer_failed":
      return "Ask for a new price and pay that.";
    case "transfer_too_late":
    case "amount_short":
    case "amount_mismatch":
      return "Nothing is lost: the payment goes back to the account that paid.";
    case "wrong_recipient":
    case "wrong_asset":
    case "sender_mismatch":
    case "transfer_too_old":
      return "Check the transaction’s hash and the address that paid.";
    case "binding_required":
      return "Your wallet left out the data. Pay with a wallet in this browser.";
    case "already_claimed":
      return "This payment has opened a session already.";
    default:
      return "Your payment is remembered here. Try again in a moment.";
  }
}
