// What follows the first look: the wallets at hand, and what was going on before.

import { chosen, listing } from "./choose.js";
import { t } from "./language.js";
import * as memory from "./memory.js";
import { again, back, goOn, priced, renew, seekPaid, showOffer, showPayment, typed, unusedPayment, wallets } from "./paying.js";
import { addressed, showReceipt } from "./receipt.js";
import { $, clear, copyButtons, tell } from "./view.js";
import { BurnerWallet } from "./wallets/burner.js";
import { browserWallets, devWallet } from "./wallets/evm.js";
import { solanaWallets } from "./wallets/solana.js";
import { drawYours, keepYours } from "./yours.js";

/** Fulfilled once it is known which wallets there are. */
let ready = null;

/** Asks for the price of what is chosen; a payment that was made for it before is used first. */
export async function ask() {
  clear();
  const { resource, seconds } = chosen();
  await ready;
  const paid = memory.unused(resource.id);
  if (paid) {
    tell(unusedPayment(paid), [[t("act.use"), () => again(paid)], [t("act.pay"), () => priced(resource, seconds)]]);
  } else await priced(resource, seconds);
}

function listen() {
  copyButtons();
  keepYours({ goOn, end: (left) => goOn(left, { end: true }), use: again, show: showPayment });
  $("manual-form").addEventListener("submit", (event) => {
    event.preventDefault();
    typed();
  });
  $("pay-back").addEventListener("click", back);
  $("pay-new").addEventListener("click", renew);
  $("again").addEventListener("click", back);
  $("print").addEventListener("click", () => print());
  addEventListener("hashchange", () => {
    const receipt = addressed();
    if (receipt && $("use").hidden && $("progress").hidden) showReceipt(receipt);
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}

async function find({ devRpcUrl, devSolanaRpcUrl }) {
  wallets.push(...(await Promise.all([browserWallets(), solanaWallets()])).flat());
  if (devRpcUrl) wallets.push(devWallet(devRpcUrl));
  if (devSolanaRpcUrl) wallets.push(new BurnerWallet(devSolanaRpcUrl));
}

/** `settings`: as the server tells them to the page. */
export async function begin(settings) {
  memory.upgrade();
  listen();
  ready = find(settings);
  await ready;
  const receipt = addressed();
  if (receipt) {
    showReceipt(receipt);
    return;
  }
  const left = memory.shown.get();
  if (left && left.expiresAt > Date.now() && listing.has(left.resourceId)) {
    showOffer(left);
    return;
  }
  drawYours();
  await seekPaid();
  drawYours();
}
