// Amounts, times, prices, networks and problems in words, in the language of who reads them.

import { decimal, knows, measured, t } from "./language.js";
import { coins, short } from "./money.js";
import { nameOf } from "./networks.js";
import { Problem } from "./problem.js";

/** An amount with its currency: exact, or for the eye. */
export const exactly = (units, { decimals, symbol }) => `${decimal(coins(units, decimals))} ${symbol}`;
export const roughly = (units, { decimals, symbol }) => `${decimal(short(units, decimals))} ${symbol}`;

/** 90 -> "1 min 30 sec". */
export function spoken(seconds) {
  const words = [];
  let rest = Math.max(0, Math.floor(seconds));
  for (const [size, unit] of [[3600, "hour"], [60, "minute"], [1, "second"]]) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count) words.push(measured(count, unit));
  }
  return words.join(" ") || measured(0, "second");
}

const KINDS = { "base-sepolia": "test", "solana-devnet": "test", "solana-testnet": "test", "solana-localnet": "private" };

/** A network's name, and that it is none for real money; a chain's number tells those of one name apart. */
export function networkName(network, chain) {
  const kind = KINDS[network];
  const name = kind ? t(`network.${kind}`, { name: nameOf(network).replace(/( \(|, ).*$/, "") }) : nameOf(network);
  return chain ? t("network.chain", { name, chain }) : name;
}

const unitName = (unit, count) => (knows(`unit.${unit}`) ? t(`unit.${unit}`, { count }) : unit);

/** { messages: 1200, bytes: 3500000 } -> ["1200 messages", "3.5 MB"]. */
export function spokenUnits(counts) {
  return Object.entries(counts).map(([unit, count]) => {
    if (unit !== "bytes") return `${decimal(String(count))} ${unitName(unit, count)}`;
    const [power, name] = [[9, "gigabyte"], [6, "megabyte"], [3, "kilobyte"]].find(([each]) => count >= 10 ** each) ?? [0, "byte"];
    return measured(count / 10 ** power, name);
  });
}

const SPANS = {
  seconds: [[60n, "minute"], [3600n, "hour"], [86_400n, "day"]],
  bytes: [[1_000_000n, "megabyte"], [1_000_000_000n, "gigabyte"], [1_000_000_000_000n, "terabyte"]],
};
const COUNTED = [[1000n], [1_000_000n]];

/** For the eye, never less than it costs: each rate for a span in which it is a whole number of smallest units, if one is. */
export function spokenPrice(price, paidIn) {
  return price.rates.map(({ unit, amount: parts, per }) => {
    const spans = SPANS[unit] ?? COUNTED;
    const [count, name] = spans.find(([each]) => (each * parts) % per === 0n) ?? spans.at(-1);
    const words = name ? t(`price.${name}`) : t("price.per", { count: decimal(String(count)), unit: unitName(unit, count) });
    return { words, coins: roughly((count * parts + per - 1n) / per, paidIn) };
  });
}

/** What a wallet is called: those that we name ourselves have words. */
export const walletName = ({ name }) => (knows(`wallet.${name}`) ? t(`wallet.${name}`) : name);

/** A problem of the language files, by its key: the words of "problem.price", and as remedy of "problem.price+". */
export const problem = (code, values = {}) => Object.assign(new Problem(t(`problem.${code}`), t(`problem.${code}+`), code), { values });

/** [what went wrong, what to do] of a Problem: by its code in our words, else in its own, which may be a server's. */
export function told({ message, remedy, code, values = {} }) {
  const key = `problem.${code}`;
  if (knows(key)) return [t(key, values), t(`${key}+`, values)];
  if (code === "http_200") return [t("problem.unreadable"), t("problem.moment+")];
  if (/^http_\d+$/.test(code)) return [t("problem.status", { status: code.slice(5) }), t("problem.moment+")];
  return [t("problem.said", { message }), t("problem.said+", { remedy })];
}
