// Turns a schema into an offer that is safe to show and to pay. What contradicts itself is refused, nothing is guessed.

import { Problem } from "./api.js";
import { amount, coins } from "./money.js";

const NETWORKS = { base: [8453, "Base"], "base-sepolia": [84532, "Base Sepolia (test network)"] };
const TRANSFER = "a9059cbb";

function refuse(what) {
  throw new Problem(`The server’s offer contradicts itself: ${what}.`, "Nothing was paid. Tell the site’s owner.", "bad_offer");
}

function address(what, text) {
  if (typeof text !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(text) || BigInt(text) === 0n) refuse(`${what} is no address`);
  return text;
}

async function hash(text) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(bytes)].map((each) => each.toString(16).padStart(2, "0")).join("");
}

/** Free calldata could call a function of whatever contract the recipient is: it must be the reference's hash. */
async function tagOf(details) {
  if (!details.data || details.data === "0x") return "";
  const tag = details.data.slice(2).toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(tag)) refuse("its data is not a hash");
  // Browsers hash only for pages that came over HTTPS or from this machine.
  if (globalThis.crypto?.subtle && tag !== (await hash(details.reference))) refuse("its data is not the reference’s hash");
  return tag;
}

function checkLink(link, { recipient, token, chainId, units, tag }) {
  const match = /^ethereum:(?:pay-)?(0x[0-9a-fA-F]{40})@(\d+)(?:\/(\w+))?\?(.*)$/.exec(link);
  if (!match) refuse("its payment link cannot be read");
  const fields = [...new URLSearchParams(match[4])];
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

/** Checks a schema for `seconds` of a resource. Throws Problem. */
export async function readOffer(schema, resourceId, seconds) {
  const details = schema.paymentDetails ?? {};
  if (details.type !== "base") {
    throw new Problem("This resource is paid on a network that this page cannot pay on.", "Use a wallet app of that network.");
  }
  const { pricing } = schema;
  let units;
  let price;
  try {
    units = amount(details.amount);
    price = amount(pricing.pricePerSecond);
    if (amount(details.amountWei) !== units) refuse("it names two amounts");
  } catch (error) {
    if (error instanceof Problem) throw error;
    refuse("an amount is no whole number");
  }
  if (schema.resourceId !== resourceId || pricing.estimatedDuration !== seconds) refuse("it is for something else");
  const most = price * BigInt(seconds);
  if (units === 0n || units > most + most / 1000n) refuse("it costs more than its price says");
  const token = details.tokenAddress ? address("its token", details.tokenAddress) : null;
  if ((details.currency === "ERC20") !== (token !== null)) refuse("its currency and its token differ");
  const recipient = address("its recipient", details.recipient);
  const [knownId, networkName] = NETWORKS[details.network] ?? [details.chainId, details.network];
  if (knownId !== details.chainId) refuse("its network and its chain id differ");
  const decimals = token ? (details.decimals ?? null) : 18;
  if (decimals !== null && trimmed(details.amountETH) !== coins(units, decimals)) refuse("it names two amounts");
  const tag = await tagOf(details);
  const link = details.eip681 ?? (token ? null : `ethereum:${recipient}@${details.chainId}?value=${units}`);
  if (details.eip681) checkLink(details.eip681, { recipient, token, chainId: details.chainId, units, tag });
  const call = token ? TRANSFER + recipient.slice(2).toLowerCase().padStart(64, "0") + units.toString(16).padStart(64, "0") : "";
  return {
    resourceId,
    seconds,
    units,
    price,
    decimals: decimals ?? 0,
    symbol: details.asset ?? (token ? "tokens" : "ETH"),
    recipient,
    token,
    tag: tag ? `0x${tag}` : "",
    link,
    network: networkName,
    chainId: details.chainId,
    reference: details.reference,
    claimToken: details.claimToken,
    expiresAt: details.expiresAt,
    socketUrl: schema.websocketEndpoint,
    longest: schema.maxSessionDuration,
    transaction: { to: token ?? recipient, value: token ? 0n : units, data: `0x${call}${tag}` },
  };
}

function trimmed(decimal) {
  return String(decimal).includes(".") ? String(decimal).replace(/\.?0+$/, "") : String(decimal);
}
