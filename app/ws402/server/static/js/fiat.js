// About what an amount is in a currency that people count in: for the eye only, nothing is reckoned with it.

import { money, t, timeOf } from "./language.js";

const GOOD_MS = 3_600_000; // an older rate is not shown

let rates = null;

/** `told`: { currency: "EUR", at: ms, rates: { ETH: "3012.5" } } of the server, or undefined. */
export function useRates(told) {
  rates = told ?? null;
}

/** "≈ 0.36 €, rate of 12:00"; empty where no fresh rate is known. */
export function inFiat(units, { decimals, symbol }) {
  const rate = Number(rates?.rates[symbol]);
  if (!Number.isFinite(rate) || rate <= 0 || Date.now() - rates.at > GOOD_MS) return "";
  return t("about", { amount: money((Number(units) / 10 ** decimals) * rate, rates.currency), time: timeOf(rates.at) });
}
