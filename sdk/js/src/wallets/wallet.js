// What pays. Whoever has another way to pay than the wallets here writes one with these four functions.

/**
 * @typedef {import("../js/offer.js").Offer} Offer
 */

/**
 * @typedef {object} Wallet
 * @property {string} name for people
 * @property {(offer: Offer) => boolean} pays whether it can pay this offer at all
 * @property {(offer: any) => Promise<string>} account that will pay, once it has agreed
 * @property {(account: string, offer: any, server: import("../js/server.js").Server) => Promise<string>} send
 *   pays exactly what the offer asks for; answers the transaction's hash or signature
 * @property {(tx: string, options?: { signal?: AbortSignal }) => Promise<void>} included waits until it is in a block. Throws
 *   Problem `transfer_failed` when it failed there, `pending` when it takes too long
 */

export {};
