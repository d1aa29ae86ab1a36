// What contradicts itself is refused, nothing is guessed.

import { Problem } from "../problem.js";

/**
 * @param {string} what
 * @returns {never}
 */
export function refuse(what) {
  throw new Problem(`The server’s offer contradicts itself: ${what}.`, "Nothing was paid. Tell the site’s owner.", "bad_offer");
}

/**
 * Decimal places, null where the server names none.
 * @param {any} decimals
 * @returns {number | null}
 */
export function places(decimals) {
  if (decimals === null || (Number.isInteger(decimals) && decimals >= 0 && decimals <= 77)) return decimals;
  return refuse("its decimals are no number of places");
}

/**
 * A decimal number without trailing zeros.
 * @param {unknown} decimal
 */
export function trimmed(decimal) {
  return String(decimal).includes(".") ? String(decimal).replace(/\.?0+$/, "") : String(decimal);
}
