// Turns a schema into an offer that is safe to show and to pay. What contradicts itself is refused, nothing is guessed.

import { Problem } from "./problem.js";
import { amount } from "./money.js";
import { evmOffer } from "./offers/evm.js";
import { refuse } from "./offers/refuse.js";
import { solanaOffer } from "./offers/solana.js";
import { quote, readPrice, same } from "./price.js";

/**
 * What any offer has: `units` smallest units are asked for, at `price`, for `seconds` and `counts` of other units.
 * @typedef {{
 *   resourceId: string, name?: string, seconds: number, units: bigint, price: import("./price.js").Price,
 *   counts: Record<string, number>, reference: string, claimToken?: string, expiresAt: number, socketUrl: string,
 *   longest?: number, unique: boolean, ties: string[] | null,
 * }} Terms
 * @typedef {Terms & Awaited<ReturnType<typeof evmOffer>>} EvmOffer
 * @typedef {Terms & Awaited<ReturnType<typeof solanaOffer>>} SolanaOffer
 * @typedef {EvmOffer | SolanaOffer} Offer
 */

/** @type {Record<string, (details: any, amounts: { units: bigint }) => Promise<any>>} */
const KINDS = { base: evmOffer, solana: solanaOffer };

/**
 * Checks a schema for `seconds` of a resource. Throws Problem.
 * @param {any} schema
 * @param {string} resourceId
 * @param {number} seconds
 * @returns {Promise<Offer>}
 */
export async function readOffer(schema, resourceId, seconds) {
  const details = schema.paymentDetails ?? {};
  const kind = KINDS[details.type];
  if (!kind) {
    throw new Problem("This resource is paid on a network that this page cannot pay on.", "Use a wallet app of that network.", "network");
  }
  try {
    const units = amount(details.amount);
    const price = readPrice(schema.pricing);
    if (details.pricePerSecond !== undefined && !same(readPrice(details), price)) refuse("its invoice has another price");
    if (schema.resourceId !== resourceId || schema.pricing.estimatedDuration !== seconds) refuse("it is for something else");
    const counts = schema.pricing.estimatedUnits ?? {};
    const most = quote(price, seconds, counts);
    const more = details.uniqueAmount === true ? most / 100n : most / 1000n; // what makes it one of a kind
    if (units === 0n || units > most + more) refuse("it costs more than its price says");
    return {
      resourceId,
      seconds,
      units,
      price,
      counts,
      reference: details.reference,
      claimToken: details.claimToken,
      expiresAt: details.expiresAt,
      socketUrl: schema.websocketEndpoint,
      longest: schema.maxSessionDuration,
      unique: details.uniqueAmount === true,
      ties: Array.isArray(details.binding) ? details.binding : null,
      ...(await kind(details, { units })),
    };
  } catch (error) {
    if (error instanceof Problem) throw error;
    return refuse("an amount is no whole number");
  }
}

/**
 * What the server wants to see of a payment.
 * @param {Pick<Offer, "kind" | "reference">} offer
 * @param {string} tx
 * @param {string} from
 */
export function proofOf(offer, tx, from) {
  const { reference } = offer;
  return offer.kind === "solana" ? { signature: tx, reference, senderWallet: from } : { txHash: tx, reference, senderAddress: from };
}
