// Offers on Solana: SOL or an SPL token, with the reference key among the transfer's accounts (Solana Pay).

import { amount, coins } from "../money.js";
import { nameOf } from "../networks.js";
import { key } from "../solana/base58.js";
import { PROGRAMS } from "../solana/transaction.js";
import { places, refuse, trimmed } from "./refuse.js";

const FIELDS = new Set(["amount", "spl-token", "reference", "label", "message", "memo"]);
const SOL_DECIMALS = 9;

/**
 * @param {string} what
 * @param {unknown} text
 */
function address(what, text) {
  if (typeof text !== "string" || !key(text)) return refuse(`${what} is no key of Solana`);
  return text;
}

/**
 * The link must ask for exactly what the details ask for; answers its memo.
 * @param {any} details
 * @param {string | null} token
 */
function checkLink(details, token) {
  const [path, query = ""] = details.solanaPayURL.split("?");
  const fields = [...new URLSearchParams(query)];
  const found = Object.fromEntries(fields);
  const same =
    path === `solana:${details.recipient}` &&
    fields.length === Object.keys(found).length &&
    fields.every(([name]) => FIELDS.has(name)) &&
    found.amount === details.amountSOL &&
    found.reference === details.reference &&
    (found["spl-token"] ?? null) === token &&
    (details.memo ?? found.memo) === found.memo;
  if (!same) refuse("its payment link asks for something else");
  return found.memo ?? "";
}

/**
 * Whether a payment that carries the reference is taken.
 * @param {{ binding?: unknown }} details
 */
const taken = ({ binding }) => !Array.isArray(binding) || binding.some((each) => each === "claim_token" || each === "legacy");

/**
 * What is particular to Solana; see `readOffer`.
 * @param {any} details
 * @param {{ units: bigint }} amounts
 */
export async function solanaOffer(details, { units }) {
  if (!String(details.network).startsWith("solana")) refuse("its network is not Solana");
  const token = details.splToken ? address("its token", details.splToken) : null;
  if ((details.currency === "SPL") !== (token !== null) || (!token && details.currency !== "SOL")) {
    refuse("its currency and its token differ");
  }
  const decimals = token ? places(details.decimals ?? null) : SOL_DECIMALS;
  if (decimals !== null && trimmed(details.amountSOL) !== coins(units, decimals)) refuse("it names two amounts");
  if (units >= 2n ** 64n) refuse("it costs more than Solana can count");
  return {
    kind: /** @type {const} */ ("solana"),
    decimals: decimals ?? 0,
    symbol: details.asset ?? details.currency,
    unit: token ? "smallest units" : "lamports",
    recipient: address("its recipient", details.recipient),
    token,
    // Without both of these only a wallet that reads the link can pay a token.
    tokenProgram: token && decimals !== null && PROGRAMS.has(details.tokenProgram) ? details.tokenProgram : null,
    reference: address("its reference", details.reference),
    memo: checkLink(details, token),
    link: taken(details) ? details.solanaPayURL : null,
    plain: false,
    network: details.network,
    networkName: nameOf(details.network),
  };
}
