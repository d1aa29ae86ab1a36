// The way from a price to a running session, and back to one from before.

import { schema } from "./api.js";
import { alreadyArrived, arrived } from "./arrival.js";
import { listing, total } from "./choose.js";
import { t } from "./language.js";
import * as memory from "./memory.js";
import { amount } from "./money.js";
import { proofOf, readOffer } from "./offer.js";
import { drawExpiry, drawOffer } from "./pay_view.js";
import { kept, same } from "./price.js";
import { delayed, failed, last, progress, step } from "./progress.js";
import { leaveReceipt } from "./receipt.js";
import { Session } from "./session.js";
import { use } from "./use.js";
import { $, clear, show, tell } from "./view.js";
import { exactly, problem } from "./words.js";
import { drawYours } from "./yours.js";

const KEPT_MS = 3_600_000; // what was paid and not shown for longer goes back by itself
const MOST_OFFERS = 5;
const CONFIRM = ["progress.confirm", "progress.confirm-note"];
const BLOCK = ["progress.block", "progress.block-note"];
const CHECK = ["progress.check", "progress.check-note"];

/** All that can pay here: filled when the page starts. */
export const wallets = [];
const usableFor = (what) => wallets.filter((each) => each.pays(what));

let offer = null;
let expiring = 0;
/** Ends the wait for a payment from elsewhere. */
let watching = new AbortController();
/** Ends what `progress` shows, when somebody goes back. */
let way = new AbortController();
/** { offer, session }: the socket of the offer that is shown, open before anything is paid. */
let entrance = null;

/** Asks for the price and shows it, once the server has opened the socket that the payment is for. */
export async function priced(resource, seconds) {
  try {
    const found = await readOffer(await schema(resource.id, seconds), resource.id, seconds);
    found.name = resource.name || resource.id;
    await reach(found);
    offer = found;
    showOffer();
  } catch (why) {
    tell(why);
  }
}

/** What was paid before, and is used before another is paid. */
export function unusedPayment({ offer: paid }) {
  return problem("unused_payment", { amount: exactly(paid.units, paid), name: paid.name });
}

/** The socket that the next payment is shown on. Throws Problem when there is none to be had. */
async function reach(what) {
  if (entrance?.offer !== what) {
    entrance?.session.abandon();
    entrance = { offer: what, session: new Session(what.socketUrl, what.resourceId, what.units, what.price) };
    entrance.session.addEventListener("waiting", () => {
      if ($("choose").hidden) delayed("reach", "progress.reach-note");
      else $("choose-note").textContent = t("wait.reach");
    });
  }
  await entrance.session.reach();
  return entrance.session;
}

// --- The offer -------------------------------------------------------------------------------------------------

export function showOffer(shown = offer) {
  offer = shown;
  memory.shown.set(offer);
  memory.offers.set(offer);
  drawOffer(offer, usableFor(offer), pay);
  clearInterval(expiring);
  expiring = setInterval(expiry, 1000);
  show("pay");
  expiry();
  watch(offer);
}

/** An offer that was about to be paid: its payment can be typed in. */
export function showPayment(paid) {
  showOffer(paid.offer);
  $("manual").open = true;
  $("manual-from").value = paid.from;
  $("manual-tx").focus();
}

/** Goes on by itself once the offer is paid, wherever that was done. */
async function watch(what) {
  unwatch();
  const { signal } = watching;
  const asked = (answered) => ($("pay-watch").textContent = t(answered ? "pay.watch" : "pay.watch-away"));
  asked(true);
  $("pay-watch").hidden = false;
  const status = await arrived(what, signal, asked);
  if (signal.aborted) return;
  $("pay-watch").hidden = true;
  if (status?.state === "arrived") {
    clear();
    progress([["progress.received", "progress.check-note"], CHECK], back);
    const paid = { offer: what, tx: status.tx, from: status.sender };
    memory.payments.set(paid);
    await prove(paid);
  } else if (status?.state === "returned") {
    forget(what);
    tell(returned(what, status), [[t("pay.new"), renew]]);
  } else if (status?.state === "paid") {
    forget(what);
    tell(problem("elsewhere"), [[t("act.restart"), back]]);
  }
}

const returned = (what, status) => problem("returned", { amount: exactly(amount(status.amount), what) });

function unwatch() {
  watching.abort();
  watching = new AbortController();
}

/** Nothing is to come of this offer any more. */
function forget(what) {
  memory.offers.drop(what);
  memory.shown.set(null);
}

/** The same for today's price. */
export function renew() {
  const { resourceId, seconds } = offer;
  const resource = listing.get(resourceId);
  back();
  if (resource) priced(resource, seconds);
}

function expiry() {
  if (drawExpiry(offer)) return;
  clearInterval(expiring);
  memory.shown.set(null);
}

// --- Its payment -----------------------------------------------------------------------------------------------

async function pay(wallet) {
  clear();
  unwatch();
  memory.shown.set(null);
  const paid = { offer, tx: null, from: null };
  progress([CONFIRM, BLOCK, CHECK], back);
  const { signal } = way;
  try {
    paid.from = await wallet.account(offer);
    if (signal.aborted) return;
    await reach(paid.offer);
    if (signal.aborted) return;
    // Written down before the wallet sends, in case this page goes away before it answers.
    memory.payments.set(paid);
    paid.tx = await wallet.send(paid.from, paid.offer);
    memory.payments.set(paid);
    if (!signal.aborted) step(1, paid.tx);
    await wallet.included(paid.tx, { signal });
  } catch (why) {
    const failedOnChain = why.code === "transfer_failed";
    if (!paid.tx || failedOnChain) memory.payments.drop(paid);
    if (signal.aborted) drawYours();
    else if (!paid.tx || failedOnChain) failed(why, [[t("act.again"), () => showOffer()]]);
    else failed(why, [[t("act.look"), () => again(paid)]]);
    return;
  }
  if (signal.aborted) drawYours();
  else await prove(paid);
}

/** Uses a payment that was made before. */
export async function again(paid) {
  offer = paid.offer;
  progress([CHECK], back);
  await prove(paid);
}

/** One that somebody typed in. */
export function typed() {
  const tx = $("manual-tx").value.trim();
  const paid = { offer, tx: offer.kind === "evm" ? tx.toLowerCase() : tx, from: $("manual-from").value.trim() };
  memory.payments.set(paid);
  clear();
  again(paid);
}

/** Opens the session that a payment pays for; never throws. */
async function prove(paid) {
  clearInterval(expiring);
  unwatch();
  step(last(), paid.tx);
  const { signal } = way;
  const { socketUrl, resourceId, units, price } = paid.offer;
  const session = entrance?.offer === paid.offer ? entrance.session : new Session(socketUrl, resourceId, units, price);
  entrance = null;
  session.addEventListener("waiting", () => signal.aborted || delayed(session.why));
  signal.addEventListener("abort", () => session.live || session.abandon());
  const proof = proofOf(paid.offer, paid.tx, paid.from);
  try {
    await session.prove(proof, paid.offer.claimToken ? { claimToken: paid.offer.claimToken } : {});
  } catch (why) {
    const forGood = !why.again && why.code !== "closed";
    if (forGood) {
      memory.payments.drop(paid);
      forget(paid.offer);
    }
    if (signal.aborted) drawYours();
    else failed(why, forGood ? [[t("act.restart"), back]] : [[t("act.again"), () => again(paid)]]);
    return;
  }
  memory.payments.drop(paid);
  forget(paid.offer);
  if (!same(session.price, kept(paid.offer.price))) {
    session.overcharged = true;
    session.end();
  }
  use(session, { ...about(paid.offer), txs: [paid.tx] }, usableFor(paid.offer), back);
}

/** What a session must know of its offer: how to show amounts, and which wallets can pay more of it. */
const about = ({ name, symbol, decimals, kind, network, token, tokenProgram, counts, seconds, txs }) => (
  { name, symbol, decimals, kind, network, token, tokenProgram, counts, seconds, txs }
);

// --- Going on, and starting over ---------------------------------------------------------------------------------

/** Goes on with a session of this browser; or ends it, as soon as it is here. */
export async function goOn(left, { end = false } = {}) {
  clear();
  progress([["progress.back-to", "progress.resume-note"]], back);
  const { signal } = way;
  const session = new Session(left.socketUrl, left.resourceId, left.paid, left.price);
  session.addEventListener("waiting", () => signal.aborted || delayed(session.why, "progress.resume-again-note"));
  signal.addEventListener("abort", () => session.live || session.abandon());
  memory.sessions.drop(left); // its token is for one use
  try {
    await session.resume(left.token, left.began);
  } catch (why) {
    if (signal.aborted || why.again) memory.sessions.set(left); // nobody has used its token
    if (signal.aborted) drawYours();
    else failed(problem("not-back"), why.again ? [[t("act.again"), () => goOn(left, { end })]] : [[t("act.restart"), back]]);
    return;
  }
  use(session, about(left), usableFor(left), back);
  if (end) session.end();
}

export function back() {
  clearInterval(expiring);
  unwatch();
  way.abort();
  way = new AbortController();
  memory.shown.set(null);
  entrance?.session.abandon();
  entrance = null;
  clear();
  leaveReceipt();
  drawYours();
  show("choose");
  total();
}

/** Offers that were shown before this page was loaded may have been paid since. */
export async function seekPaid() {
  const open = memory.offers.all();
  const late = Date.now() - KEPT_MS;
  open.filter(({ expiresAt }) => expiresAt < late).forEach(memory.offers.drop);
  for (const [what, status] of await alreadyArrived(open.filter(({ expiresAt }) => expiresAt >= late).slice(-MOST_OFFERS))) {
    if (status.state === "arrived") memory.payments.set({ offer: what, tx: status.tx, from: status.sender });
    else memory.offers.drop(what);
    if (status.state === "returned") tell(returned(what, status));
  }
}
