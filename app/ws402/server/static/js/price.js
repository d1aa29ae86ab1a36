// What use costs: exact, in BigInt, rounded once, down, when one looks. As the server and the gateway count.

import { amount } from "./money.js";

const SECONDS = "seconds";
const MAX_PER = 2n ** 53n;
/** @type {(a: bigint, b: bigint) => bigint} */
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/**
 * @typedef {{ unit: string, amount: bigint, per: bigint }} Rate `amount` smallest units for `per` of a unit
 * @typedef {{ rates: Rate[], time: bigint, units: Record<string, bigint>, divisor: bigint }} Price
 * @typedef {Record<string, number>} Counts how many, by unit
 */

/**
 * `message` has `pricePerSecond` and, from servers that know it, `price` in full. Throws TypeError.
 * { rates: [{ unit, amount, per }], time, units, divisor }: a millisecond costs `time` of `divisor` parts of a smallest unit,
 * one of each unit in `units` so many as it says there.
 * @param {{ pricePerSecond?: any, price?: { rates: any[] } }} message
 * @returns {Price}
 */
export function readPrice(message) {
  const rounded = amount(message.pricePerSecond);
  if (message.price === undefined) return bySecond(rounded);
  const price = made(message.price.rates.map((rate) => ({ unit: String(rate.unit), amount: amount(rate.amount), per: amount(rate.per) })));
  if (rounded !== perSecond(price)) throw new TypeError("not one price");
  return price;
}

/**
 * @param {Rate[]} stated
 * @returns {Price}
 */
export function made(stated) {
  const rates = stated.map(({ unit, amount: parts, per }) => ({ unit, amount: parts / (gcd(parts, per) || 1n), per: per / (gcd(parts, per) || 1n) }));
  const names = new Set(rates.map(({ unit }) => unit));
  const fine = rates.every(({ unit, amount: parts, per }) => parts > 0n && per > 0n && per <= MAX_PER && /^[a-z][a-z0-9_]{0,31}$/.test(unit));
  if (!rates.length || rates.length > 8 || names.size < rates.length || !fine) throw new TypeError("not a price");
  const sizes = rates.map(({ unit, per }) => (unit === SECONDS ? per * 1000n : per));
  const divisor = sizes.reduce((all, each) => (all / gcd(all, each)) * each, 1n);
  /** @type {Price} */
  const price = { rates, time: 0n, units: {}, divisor };
  rates.forEach(({ unit, amount: parts }, at) => {
    const weight = (parts * divisor) / sizes[at];
    if (unit === SECONDS) price.time = weight;
    else price.units[unit] = weight;
  });
  return price;
}

/**
 * Whole smallest units a second.
 * @param {bigint} units
 */
export const bySecond = (units) => made([{ unit: SECONDS, amount: units, per: 1n }]);

/**
 * A price that an earlier version of this page kept was a number.
 * @param {Price | bigint} price
 */
export const kept = (price) => (typeof price === "bigint" ? bySecond(price) : price);

/** @param {Price} price */
const listed = ({ rates }) => rates.map(({ unit, amount: parts, per }) => `${unit} ${parts}/${per}`).sort().join();
/**
 * @param {Price} one
 * @param {Price} other
 */
export const same = (one, other) => listed(one) === listed(other);

/**
 * What so many units (counts by name) cost, in parts.
 * @param {Price} price
 * @param {Counts} counts
 */
export const charged = (price, counts) => Object.entries(price.units).reduce((sum, [unit, parts]) => sum + parts * BigInt(counts[unit] ?? 0), 0n);

/**
 * What so many milliseconds, beside what is charged, cost: rounded down.
 * @param {Price} price
 * @param {number} ms
 */
export const cost = (price, ms, parts = 0n) => (BigInt(ms) * price.time + parts) / price.divisor;

/**
 * What to pay for so many seconds and units: rounded up.
 * @param {Price} price
 * @param {number} seconds
 * @param {Counts} [counts]
 */
export const quote = (price, seconds, counts = {}) => (BigInt(seconds) * 1000n * price.time + charged(price, counts) + price.divisor - 1n) / price.divisor;

/** @param {Price} price */
const perSecond = (price) => quote(price, 1, {});

/**
 * For how many whole seconds an amount is enough, if nothing else is used. Null where time is free.
 * @param {Price} price
 * @param {bigint} units
 */
export const lasts = (price, units) => (price.time ? Number((units * price.divisor) / (price.time * 1000n)) : null);

/**
 * What one uses of other units than time in so many seconds, by what the seller expects for `span` seconds: rounded up.
 * @param {Counts | undefined} counts
 * @param {number} span
 * @param {number} seconds
 * @returns {Record<string, bigint>}
 */
export function share(counts, span, seconds) {
  /** @param {[string, number]} entry @returns {[string, bigint]} */
  const each = ([unit, count]) => [unit, (BigInt(count) * BigInt(seconds) + BigInt(span) - 1n) / BigInt(span)];
  return Object.fromEntries(Object.entries(counts ?? {}).map(each));
}
