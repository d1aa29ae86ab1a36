// What an offer looks like: the ways to pay it, and what to type in where there is no wallet.

import { qr } from "./api.js";
import { inFiat } from "./fiat.js";
import { parts, t } from "./language.js";
import { clock } from "./money.js";
import { $, element } from "./view.js";
import { walletApps } from "./wallets/apps.js";
import { exactly, networkName, spoken, walletName } from "./words.js";

/** What people type in by hand, by kind of network. */
const SPELLING = {
  evm: {
    tx: ["0x[0-9a-fA-F]{64}", ["pay.hex", { count: 64 }]],
    from: ["0x[0-9a-fA-F]{40}", ["pay.hex", { count: 40 }]],
    start: "0x…",
  },
  solana: {
    tx: ["[1-9A-HJ-NP-Za-km-z]{64,88}", ["pay.base58", { least: 64, most: 88 }]],
    from: ["[1-9A-HJ-NP-Za-km-z]{32,44}", ["pay.base58", { least: 32, most: 44 }]],
    start: "",
  },
};

/** Shows an offer; `wallets` are those that can pay it, `pay` is called with the chosen one. */
export function drawOffer(offer, wallets, pay) {
  const exact = exactly(offer.units, offer);
  $("pay-title").replaceChildren(...parts("pay.title", { amount: element("span", { id: "pay-amount", textContent: exact }) }));
  $("pay-what").textContent = t("pay.what", { name: offer.name, time: spoken(offer.seconds) });
  $("fact-amount").textContent = exact;
  $("fact-fiat").textContent = inFiat(offer.units, offer);
  $("fact-to").textContent = offer.recipient;
  $("fact-network").textContent = networkName(offer.network, offer.chainId);
  for (const id of ["fact-token", "fact-token-term"]) $(id).hidden = !offer.token;
  $("fact-token").replaceChildren(element("code", { textContent: offer.token ?? "" }));
  drawTie(offer);
  $("pay-code").hidden = !offer.link;
  $("pay-ways").hidden = false;
  $("pay-new").hidden = true;
  if (offer.link) {
    $("qr").src = qr(offer.link);
    $("pay-link").href = offer.link;
  }
  $("wallets").replaceChildren(...wallets.map((wallet, at) => payButton(wallet, at, pay)));
  $("no-wallet").hidden = wallets.length > 0;
  $("no-wallet").textContent = t(offer.link ? "pay.none" : "pay.none-here");
  drawApps(wallets.length ? [] : walletApps(offer.kind, location));
  $("manual").open = false;
  const { tx, from, start } = SPELLING[offer.kind];
  for (const [id, [pattern, title]] of [["manual-tx", tx], ["manual-from", from]]) {
    Object.assign($(id), { pattern, title: t(...title), placeholder: start, value: "" });
  }
}

/** What ties a payment to this offer, for who pays by hand. */
function drawTie(offer) {
  const solana = offer.kind === "solana";
  const tie = solana ? offer.reference : offer.token ? "" : offer.tag;
  for (const id of ["fact-data-box", "fact-data-term"]) $(id).hidden = !tie;
  $("fact-data").textContent = tie;
  $("fact-data-term").textContent = t(solana ? "pay.reference" : "pay.data");
  $("fact-data-note").textContent = t(solana ? "pay.reference-note" : offer.plain ? "pay.data-may" : "pay.data-must");
}

/** Where no wallet is at hand: apps whose browser has one, and opens this page. */
function drawApps(apps) {
  $("wallet-apps").hidden = !apps.length;
  $("wallet-app-list").replaceChildren(...apps.map(({ name, href }) => {
    return element("li", {}, element("a", { className: "button", textContent: name, href, rel: "noopener" }));
  }));
}

function payButton(wallet, at, pay) {
  const button = element("button", {
    type: "button",
    className: at ? "wide" : "primary wide",
    textContent: t("pay.with", { wallet: walletName(wallet) }),
  });
  button.addEventListener("click", () => pay(wallet));
  return button;
}

/** Tells how long the price holds; whether it does. What is paid later comes too late: then nothing asks for it any more. */
export function drawExpiry(offer) {
  const left = Math.floor((offer.expiresAt - Date.now()) / 1000);
  $("pay-expiry").textContent = left > 0 ? t("pay.holds", { time: clock(left) }) : t("pay.expired");
  if (left > 0) return true;
  $("pay-ways").hidden = $("pay-code").hidden = $("pay-watch").hidden = true;
  $("qr").removeAttribute("src");
  $("pay-link").removeAttribute("href");
  for (const id of ["fact-to", "fact-data", "fact-amount", "fact-fiat"]) $(id).textContent = "";
  $("wallets").replaceChildren();
  $("pay-new").hidden = false;
  return false;
}
