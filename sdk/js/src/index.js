// Pays WS402 servers by the second, in browsers and in Node 20 and newer.

export { connect, fetchOffer, resume } from "./connect.js";
export { PaidSession } from "./paid.js";
export { Problem } from "./js/problem.js";
export { memoryStorage, webStorage } from "./store.js";
export { amount, coins } from "./js/money.js";
export { explorer } from "./js/networks.js";
export { browserWallets, eip1193Wallet, standardWallet } from "./wallets/browser.js";
export { viemWallet } from "./wallets/viem.js";
export { kitWallet } from "./wallets/kit.js";

/**
 * @typedef {import("./connect.js").ConnectOptions} ConnectOptions
 * @typedef {import("./connect.js").ResumeOptions} ResumeOptions
 * @typedef {import("./policy.js").Limits} Limits
 * @typedef {import("./js/offer.js").Offer} Offer
 * @typedef {import("./js/session.js").Settlement} Settlement
 * @typedef {import("./paid.js").Ticket} Ticket
 * @typedef {import("./paid.js").Usage} Usage
 * @typedef {import("./refunds.js").Refund} Refund
 * @typedef {import("./refunds.js").RefundOptions} RefundOptions
 * @typedef {import("./store.js").Payment} Payment
 * @typedef {import("./store.js").Storage} Storage
 * @typedef {import("./wallets/wallet.js").Wallet} Wallet
 */
