// What use costs: exact, in BigInt, rounded once, down, when one looks. As the server and the gateway count.

import { amount, grouped, short } from "./money.js";

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** `message` has `pricePerSecond` and, from servers that know it, `price` in full. Throws TypeError. */
export function readPrice(message) {
  const rounded = amount(message.pricePerSecond);
  if (message.price === undefined) return bySecond(rounded);
  const [rate, ...more] = message.price.rates;
  const per = amount(rate.per);
  if (more.length || rate.unit !== "seconds" || per === 0n || per > 2n ** 53n) throw new TypeError("not a price of time");
  const parts = amount(rate.amount);
  const common = gcd(parts, per);
  const price = { time: parts / common, divisor: (per / common) * 1000n };
  if (price.time === 0n || rounded !== quote(price, 1)) throw new TypeError("not one price");
  return price;
}

/** Whole smallest units a second. */
export const bySecond = (units) => ({ time: units, divisor: 1000n });

/** A price that an earlier version of this page kept was a number. */
export const kept = (price) => (typeof price === "bigint" ? bySecond(price) : price);

export const same = (one, other) => one.time === other.time && one.divisor === other.divisor;

/** What so many milliseconds cost: rounded down. */
export const cost = (price, ms) => (BigInt(ms) * price.time) / price.divisor;

/** What to pay for so many seconds: rounded up. */
export const quote = (price, seconds) => (BigInt(seconds) * 1000n * price.time + price.divisor - 1n) / price.divisor;

/** For how many whole seconds an amount is enough. */
export const lasts = (price, units) => (price.time ? Number((units * price.divisor) / (price.time * 1000n)) : 0);

/** For the eye, never less than it costs: by the minute where that is a whole number of smallest units, else by the hour or the day. */
export function spokenPrice(price, decimals, symbol) {
  const spans = [[60, "a minute"], [3600, "an hour"], [86_400, "a day"]];
  const [seconds, words] = spans.find(([each]) => (BigInt(each) * 1000n * price.time) % price.divisor === 0n) ?? spans[2];
  const units = quote(price, seconds);
  return { words, coins: decimals === undefined ? `${grouped(units)} units of ${symbol}` : `${short(units, decimals)} ${symbol}` };
}
