// From a resource's address to a running session: the offer, its check, the payment, the proof.

import { proofOf, readOffer } from "./js/offer.js";
import { made } from "./js/price.js";
import { Problem } from "./js/problem.js";
import { Server } from "./js/server.js";
import { Session } from "./js/session.js";
import { PaidSession } from "./paid.js";
import { Policy } from "./policy.js";
import { socketClass } from "#socket";
import { Store, defaultStorage } from "./store.js";
import { readTarget, refusePlaintext } from "./target.js";

/**
 * @typedef {import("./js/offer.js").Offer} Offer
 * @typedef {import("./paid.js").Ticket} Ticket
 * @typedef {import("./store.js").Payment} Payment
 * @typedef {import("./wallets/wallet.js").Wallet} Wallet
 */

/**
 * @typedef {object} SocketOptions
 * @property {boolean} [allowPlaintext] speak plain HTTP to other machines: everybody on the way can read and use the proof
 * @property {string} [userId] what servers log, before a random part
 * @property {number} [maxBacklogBytes] of messages that nobody has taken yet, 64 MiB by default; beyond, the session is ended
 * @property {typeof globalThis.WebSocket} [WebSocket] another kind of socket than this program has
 * @property {(why: string) => void} [onWait] told why it is tried again
 */

/**
 * @typedef {object} PayOptions
 * @property {Wallet} wallet
 * @property {number} [seconds] to pay for, 300 by default; what is not used comes back
 * @property {import("./store.js").Storage} [store] what must not be forgotten; `localStorage` in browsers, else this process
 * @property {AbortSignal} [signal] calls it off, as long as nothing has been paid
 * @property {(offer: Offer) => void} [onOffer] told what is about to be paid, after the checks; throws to refuse it
 * @property {(payment: Payment) => void} [onPayment] told of a payment that was sent
 * @property {(payment: Payment) => void} [onReuse] told that a payment from before is used, and nothing more is paid
 */

/** @typedef {PayOptions & SocketOptions & import("./policy.js").Limits} ConnectOptions */
/** @typedef {SocketOptions & Partial<PayOptions & import("./policy.js").Limits>} ResumeOptions */

const BACKLOG = 64 * 1024 * 1024;

/**
 * The offer for so many seconds of a resource, checked: what contradicts itself is refused. Nothing is paid. Throws Problem.
 * @param {string | URL} address such as `https://host/#resource`
 * @param {{ seconds?: number, allowPlaintext?: boolean }} [options]
 * @returns {Promise<Offer>}
 */
export async function fetchOffer(address, { seconds = 300, allowPlaintext = false } = {}) {
  const target = readTarget(address, allowPlaintext);
  const server = new Server(target.base);
  return offered(server, target.resourceId ?? (await onlyOne(server)), seconds, allowPlaintext);
}

/**
 * Pays for a resource and opens its session. A payment that was sent earlier for the same resource, and has opened no session, is
 * used first. Throws Problem.
 * @param {string | URL} address such as `https://host/#resource`
 * @param {ConnectOptions} options
 */
export async function connect(address, options) {
  const { wallet, seconds = 300, allowPlaintext = false, signal, onOffer, onPayment, onReuse } = options;
  const target = readTarget(address, allowPlaintext);
  if (!wallet?.pays) throw new Problem("No wallet was given.", "Pass one: viemWallet(…), kitWallet(…), eip1193Wallet(…) or standardWallet(…).", "no_wallet");
  const policy = new Policy(options);
  const store = new Store(options.store ?? defaultStorage());
  const server = new Server(target.base);
  const payer = { wallet, policy, store };
  const resourceId = target.resourceId ?? (await onlyOne(server));
  const earlier = await store.unused(target.base, resourceId);
  if (earlier) {
    const { offer } = earlier;
    onReuse?.(earlier);
    await store.keep(earlier);
    const session = await entrance(offer.socketUrl, resourceId, offer.units, offer.price, options);
    return prove(earlier, session, { server, origin: target.origin, payer, options });
  }
  const offer = await offered(server, resourceId, seconds, allowPlaintext);
  if (!wallet.pays(offer)) {
    throw new Problem(`The server wants to be paid on ${offer.network}, where this wallet cannot pay.`, "Nothing was paid. Use a wallet of that network.", "network_refused");
  }
  await policy.check(offer, { origin: target.origin, spent: 0n, store });
  onOffer?.(offer);
  signal?.throwIfAborted();
  const session = await entrance(offer.socketUrl, resourceId, offer.units, offer.price, options);
  await session.reach();
  /** @type {Payment} */
  const payment = { base: target.base, offer, from: "", tx: null, held: 0 };
  try {
    payment.from = await wallet.account(offer);
    signal?.throwIfAborted();
    await store.keep(payment);
  } catch (error) {
    session.abandon();
    throw error;
  }
  const hold = store.hold(payment);
  try {
    payment.tx = await wallet.send(payment.from, offer, server);
    await store.keep(payment);
    onPayment?.(payment);
    await wallet.included(payment.tx);
  } catch (error) {
    session.abandon();
    if (!payment.tx || (error instanceof Problem && error.code === "transfer_failed")) await hold.drop();
    else await hold.release();
    throw error;
  }
  return prove(/** @type {Payment & { tx: string }} */ (payment), session, { server, origin: target.origin, payer, options, hold });
}

/**
 * Goes on with a session that was left. Throws Problem.
 * @param {Ticket} ticket of `session.leave()` or `session.ticket`
 * @param {ResumeOptions} [options] with a wallet and limits, for `topUp`
 */
export async function resume(ticket, options = {}) {
  const { allowPlaintext = false, wallet, maxAmount } = options;
  const { base, origin } = readTarget(ticket.base, allowPlaintext);
  refusePlaintext(ticket.socketUrl, allowPlaintext);
  const price = made(ticket.price.map(({ unit, amount, per }) => ({ unit, amount: BigInt(amount), per: BigInt(per) })));
  const payer = wallet && maxAmount !== undefined
    ? { wallet, policy: new Policy({ ...options, maxAmount }), store: new Store(options.store ?? defaultStorage()) }
    : null;
  const core = await entrance(ticket.socketUrl, ticket.resourceId, BigInt(ticket.paid), price, options);
  const { network, symbol, decimals } = ticket;
  const session = new PaidSession(core, {
    server: new Server(base), origin, price, spent: BigInt(ticket.spent), currency: { network, symbol, decimals }, payer, maxBacklogBytes: options.maxBacklogBytes ?? BACKLOG,
  });
  await core.resume(ticket.token, ticket.began);
  return session;
}

/**
 * @param {Server} server
 * @param {string} resourceId
 * @param {number} seconds
 * @param {boolean} allowPlaintext
 */
async function offered(server, resourceId, seconds, allowPlaintext) {
  if (!Number.isSafeInteger(seconds) || seconds <= 0) throw new Problem(`${seconds} is no number of seconds.`, "Pass a whole number above zero.", "bad_duration");
  const offer = await readOffer(await server.schema(resourceId, seconds), resourceId, seconds);
  if (!URL.canParse(offer.socketUrl) || !/^wss?:\/\//.test(offer.socketUrl)) {
    throw new Problem("The server's offer names no socket.", "Nothing was paid. Tell the server's owner.", "bad_offer");
  }
  refusePlaintext(offer.socketUrl, allowPlaintext);
  return offer;
}

/**
 * The resource of a server that sells only one.
 * @param {Server} server
 * @returns {Promise<string>}
 */
async function onlyOne(server) {
  const found = await server.resources();
  if (found.length === 1) return String(found[0].id);
  const names = found.slice(0, 20).map(({ id }) => id).join(", ") || "none";
  throw new Problem(`The server sells ${found.length} resources: ${names}.`, `Name one: ${server.base}#${found[0]?.id ?? "resource"}.`, "which_resource");
}

/**
 * @param {string} socketUrl
 * @param {string} resourceId
 * @param {bigint} paid
 * @param {import("./js/price.js").Price} price
 * @param {SocketOptions} options
 */
async function entrance(socketUrl, resourceId, paid, price, { WebSocket, userId = "client", onWait }) {
  const session = new Session(socketUrl, resourceId, paid, price, { WebSocket: WebSocket ?? (await socketClass()), userId });
  if (onWait) session.addEventListener("waiting", (event) => onWait(/** @type {CustomEvent} */ (event).detail));
  return session;
}

/**
 * Opens the session that a payment pays for.
 * @param {Payment & { tx: string }} payment
 * @param {Session} core
 * @param {{
 *   server: Server, origin: string, payer: NonNullable<import("./paid.js").Context["payer"]>, options: ConnectOptions,
 *   hold?: ReturnType<Store["hold"]>,
 * }} context
 */
async function prove(payment, core, { server, origin, payer, options, hold = payer.store.hold(payment) }) {
  const { offer, tx, from } = payment;
  const { price, network, symbol, decimals } = offer;
  const session = new PaidSession(core, {
    server, origin, price, spent: offer.units, currency: { network, symbol, decimals }, payer, maxBacklogBytes: options.maxBacklogBytes ?? BACKLOG,
  });
  try {
    await core.prove(proofOf(offer, tx, from), offer.claimToken ? { claimToken: offer.claimToken } : {});
  } catch (error) {
    const later = error instanceof Problem && (error.again || error.code === "closed");
    await (later ? hold.release() : hold.drop());
    throw error;
  }
  await hold.drop();
  return session;
}
