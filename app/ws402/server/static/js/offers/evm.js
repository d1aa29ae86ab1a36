// Offers on EVM chains: the chain's coin, or an ERC-20 token by its transfer().

import { amount, coins } from "../money.js";
import { nameOf } from "../networks.js";
import { places, refuse, trimmed } from "./refuse.js";

/** @type {Record<string, number>} */
const CHAINS = { base: 8453, "base-sepolia": 84532 };
const TRANSFER = "a9059cbb";

/**
 * @param {string} what
 * @param {unknown} text
 */
function address(what, text) {
  if (typeof text !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(text) || BigInt(text) === 0n) refuse(`${what} is no address`);
  return text;
}

/** @param {string} text */
async function hash(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((each) => each.toString(16).padStart(2, "0")).join("");
}

/**
 * Free calldata could call a function of whatever contract the recipient is: it must be the reference's hash.
 * @param {any} details
 */
async function tagOf(details) {
  if (!details.data || details.data === "0x") return "";
  const tag = details.data.slice(2).toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(tag)) refuse("its data is not a hash");
  // Browsers hash only for pages that came over HTTPS or from this machine.
  if (globalThis.crypto?.subtle && tag !== (await hash(details.reference))) refuse("its data is not the reference’s hash");
  return tag;
}

/**
 * @param {string} link
 * @param {{ recipient: string, token: string | null, chainId: number, units: bigint, tag: string }} asked
 */
function checkLink(link, { recipient, token, chainId, units, tag }) {
  const match = /^ethereum:(?:pay-)?(0x[0-9a-fA-F]{40})@(\d+)(?:\/(\w+))?\?(.*)$/.exec(link);
  if (!match) return refuse("its payment link cannot be read");
  const fields = [...new URLSearchParams(match[4])];
  /** @type {Record<string, string>} */
  const wanted = token ? { address: recipient.toLowerCase(), uint256: String(units) } : { value: String(units) };
  if (!token && tag && fields.some(([name]) => name === "data")) wanted.data = `0x${tag}`;
  const same =
    match[1].toLowerCase() === (token ?? recipient).toLowerCase() &&
    match[2] === String(chainId) &&
    (match[3] ?? "") === (token ? "transfer" : "") &&
    fields.length === Object.keys(wanted).length &&
    fields.every(([name, value]) => wanted[name] === value.toLowerCase());
  if (!same) refuse("its payment link asks for something else");
}

/**
 * What is particular to EVM chains; see `readOffer`.
 * @param {any} details
 * @param {{ units: bigint }} amounts
 */
export async function evmOffer(details, { units }) {
  if (amount(details.amountWei) !== units) refuse("it names two amounts");
  const token = details.tokenAddress ? address("its token", details.tokenAddress) : null;
  if ((details.currency === "ERC20") !== (token !== null)) refuse("its currency and its token differ");
  const recipient = address("its recipient", details.recipient);
  if ((CHAINS[details.network] ?? details.chainId) !== details.chainId) refuse("its network and its chain id differ");
  const decimals = token ? places(details.decimals ?? null) : 18;
  if (decimals !== null && trimmed(details.amountETH) !== coins(units, decimals)) refuse("it names two amounts");
  const tag = await tagOf(details);
  // The link has room for the amount only, so it is good where that alone tells whose payment it is.
  const link = details.uniqueAmount === true ? (details.eip681 ?? null) : null;
  if (details.eip681) checkLink(details.eip681, { recipient, token, chainId: details.chainId, units, tag });
  const call = token ? TRANSFER + recipient.slice(2).toLowerCase().padStart(64, "0") + units.toString(16).padStart(64, "0") : "";
  const symbol = details.asset ?? (token ? "tokens" : "ETH");
  return {
    kind: /** @type {const} */ ("evm"),
    decimals: decimals ?? 0,
    symbol,
    unit: token || symbol !== "ETH" ? "smallest units" : "wei",
    recipient,
    token,
    tag: tag ? `0x${tag}` : "",
    // Whether a payment without the data is taken, however the wallet sends it.
    plain: !Array.isArray(details.binding) || details.binding.includes("legacy"),
    link,
    network: details.network,
    networkName: `${nameOf(details.network)}, chain ${details.chainId}`,
    chainId: details.chainId,
    transaction: { to: token ?? recipient, value: token ? 0n : units, data: `0x${call}${tag}` },
  };
}
