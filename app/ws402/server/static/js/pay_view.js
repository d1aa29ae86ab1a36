// What an offer looks like: the ways to pay it, and what to type in where there is no wallet.

import { qr } from "./api.js";
import { clock, coins, grouped, spoken } from "./money.js";
import { $, element } from "./view.js";

/** What people type in by hand, by kind of network. */
const SPELLING = {
  evm: {
    tx: ["0x[0-9a-fA-F]{64}", "0x and 64 hexadecimal digits"],
    from: ["0x[0-9a-fA-F]{40}", "0x and 40 hexadecimal digits"],
    start: "0x…",
  },
  solana: {
    tx: ["[1-9A-HJ-NP-Za-km-z]{64,88}", "64 to 88 letters and digits"],
    from: ["[1-9A-HJ-NP-Za-km-z]{32,44}", "32 to 44 letters and digits"],
    start: "",
  },
};

/** Shows an offer; `wallets` are those that can pay it, `pay` is called with the chosen one. */
export function drawOffer(offer, wallets, pay) {
  const exact = `${coins(offer.units, offer.decimals)} ${offer.symbol}`;
  $("pay-amount").textContent = exact;
  $("pay-what").textContent = `${offer.name}, up to ${spoken(offer.seconds)}.`;
  $("fact-amount").textContent = exact;
  $("fact-units").textContent = `${grouped(offer.units)} ${offer.unit}`;
  $("fact-to").textContent = offer.recipient;
  $("fact-network").textContent = offer.networkName;
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
  $("manual").open = false;
  const { tx, from, start } = SPELLING[offer.kind];
  for (const [id, [pattern, title]] of [["manual-tx", tx], ["manual-from", from]]) {
    Object.assign($(id), { pattern, title, placeholder: start, value: "" });
  }
}

/** What ties a payment to this offer, for who pays by hand. */
function drawTie(offer) {
  const solana = offer.kind === "solana";
  const tie = solana ? offer.reference : offer.token ? "" : offer.tag;
  for (const id of ["fact-data-box", "fact-data-term"]) $(id).hidden = !tie;
  $("fact-data").textContent = tie;
  $("fact-data-term").textContent = solana ? "Reference" : "Data";
  $("fact-data-note").textContent = solana
    ? "A key that ties the payment to this offer; wallets that read the code add it themselves."
    : offer.plain
      ? "Ties the payment to this offer, if your wallet can send data."
      : "Must be sent along as the payment’s data; a payment without it goes back to you.";
}

function payButton(wallet, at, pay) {
  const button = element("button", {
    type: "button",
    className: at ? "wide" : "primary wide",
    textContent: `Pay with ${wallet.name}`,
  });
  button.addEventListener("click", () => pay(wallet));
  return button;
}

/** Tells how long the price holds; whether it does. What is paid later comes too late: then nothing asks for it any more. */
export function drawExpiry(offer) {
  const left = Math.floor((offer.expiresAt - Date.now()) / 1000);
  $("pay-expiry").textContent = left > 0 ? `This price holds for ${clock(left)}.` : "This price has expired.";
  if (left > 0) return true;
  $("pay-ways").hidden = $("pay-code").hidden = $("pay-watch").hidden = true;
  $("qr").removeAttribute("src");
  $("pay-link").removeAttribute("href");
  for (const id of ["fact-to", "fact-data", "fact-amount", "fact-units"]) $(id).textContent = "";
  $("wallets").replaceChildren();
  $("pay-new").hidden = false;
  return false;
}
