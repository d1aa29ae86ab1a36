// The way from a price to a running session.

import { Problem, page, resources, schema } from "./api.js";
import { alreadyArrived, arrived } from "./arrival.js";
import { chosen, drawResources, limitDuration, listing, total } from "./choose.js";
import * as memory from "./memory.js";
import { amount, coins } from "./money.js";
import { kept, same } from "./price.js";
import { proofOf, readOffer } from "./offer.js";
import { drawExpiry, drawOffer } from "./pay_view.js";
import { addressed, drawReceipts, leaveReceipt, showReceipt } from "./receipt.js";
import { Session } from "./session.js";
import { use } from "./use.js";
import { $, announce, clear, copyButtons, element, show, tell } from "./view.js";
import { BurnerWallet } from "./wallets/burner.js";
import { browserWallets, devWallet } from "./wallets/evm.js";
import { solanaWallets } from "./wallets/solana.js";

const KEPT_MS = 3_600_000; // what was paid and not shown for longer goes back by itself
const MOST_OFFERS = 5;
const ALIVE_MS = 90_000; // browsers let windows in the background write once a minute
let wallets = [];
let offer = null;
let expiring = 0;
/** Ends the wait for a payment from elsewhere. */
let watching = new AbortController();
/** { offer, session }: the socket of the offer that is shown, open before anything is paid. */
let entrance = null;

// --- Choose ----------------------------------------------------------------------------------------------------

async function load() {
  clear();
  try {
    const found = await resources();
    drawResources(found);
  } catch (problem) {
    $("loading")?.remove();
    tell(problem, [["Try again", load]]);
  }
}

async function ask() {
  clear();
  const { resource, seconds } = chosen();
  $("choose-go").disabled = true;
  $("choose-go").textContent = "Asking for the price …";
  try {
    const paid = memory.unused(resource.id);
    if (paid) {
      tell(unusedPayment(paid), [["Use it", () => again(paid)], ["Pay again", () => priced(resource, seconds)]]);
    } else await priced(resource, seconds);
  } catch (problem) {
    tell(problem);
  } finally {
    $("choose-go").textContent = "Continue";
    $("choose-go").disabled = false;
  }
}

const unusedPayment = ({ offer: { name, units, decimals, symbol } }) => new Problem(
  `You have paid ${coins(units, decimals)} ${symbol} for ${name} already, and not used it yet.`,
  "Use that payment; nothing more is paid.",
  "unused_payment",
);

/** Asks for the price and shows it, once the server has opened the socket that the payment is for. */
async function priced(resource, seconds) {
  try {
    const found = await readOffer(await schema(resource.id, seconds), resource.id, seconds);
    found.name = resource.name || resource.id;
    await reach(found);
    offer = found;
    showOffer();
  } catch (problem) {
    tell(problem);
  }
}

/** The socket that the next payment is shown on. Throws Problem when there is none to be had. */
async function reach(what) {
  if (entrance?.offer !== what) {
    entrance?.session.abandon();
    entrance = { offer: what, session: new Session(what.socketUrl, what.resourceId, what.units, what.price) };
  }
  await entrance.session.reach();
  return entrance.session;
}

// --- Pay -------------------------------------------------------------------------------------------------------

function showOffer() {
  memory.shown.set(offer);
  memory.offers.set(offer);
  drawOffer(offer, usableFor(offer), pay);
  clearInterval(expiring);
  expiring = setInterval(expiry, 1000);
  show("pay");
  expiry();
  watch(offer);
}

/** Goes on by itself once the offer is paid, wherever that was done. */
async function watch(what) {
  unwatch();
  const { signal } = watching;
  $("pay-watch").hidden = false;
  const status = await arrived(what, signal);
  if (signal.aborted) return;
  $("pay-watch").hidden = true;
  if (status?.state === "arrived") {
    clear();
    progress(["Payment received", "The server checks the payment"]);
    const paid = { offer: what, tx: status.tx, from: status.sender };
    memory.payments.set(paid);
    await prove(paid);
  } else if (status?.state === "returned") {
    forget(what);
    tell(new Problem(
      `A payment came that is too small, or too late: ${coins(amount(status.amount), what.decimals)} ${what.symbol}.`,
      "It goes back by itself to the account that paid. Ask for a new price.",
    ), [["New price", renew]]);
  } else if (status?.state === "paid") {
    forget(what);
    tell(new Problem("This offer has been paid, and its session was opened in another window.", "Go on there, or start anew here."), [["Start again", back]]);
  }
}

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
function renew() {
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

async function pay(wallet) {
  clear();
  unwatch();
  memory.shown.set(null);
  const paid = { offer, tx: null, from: null };
  progress(["Confirm in your wallet", "Wait for a block", "The server checks the payment"]);
  try {
    paid.from = await wallet.account(offer);
    await reach(offer);
    // Written down before the wallet sends, in case this page goes away before it answers.
    memory.payments.set(paid);
    paid.tx = await wallet.send(paid.from, offer);
    memory.payments.set(paid);
    step(1, paid.tx);
    await wallet.included(paid.tx);
  } catch (problem) {
    if (!paid.tx || problem.code === "transfer_failed") memory.payments.drop(paid);
    if (!paid.tx || problem.code === "transfer_failed") failed(problem, [["Try again", showOffer]]);
    else failed(problem, [["Look again", () => again(paid)]]);
    return;
  }
  await prove(paid);
}

async function again(paid) {
  offer = paid.offer;
  progress(["The server checks the payment"]);
  await prove(paid);
}

/** Opens the session that a payment pays for; never throws. */
async function prove(paid) {
  clearInterval(expiring);
  unwatch();
  const checks = $("checks").childElementCount;
  step(checks - 1, paid.tx);
  const { socketUrl, resourceId, units, price } = paid.offer;
  const session = entrance?.offer === paid.offer ? entrance.session : new Session(socketUrl, resourceId, units, price);
  entrance = null;
  session.addEventListener("waiting", ({ detail }) => announce(detail));
  const proof = proofOf(paid.offer, paid.tx, paid.from);
  try {
    await session.prove(proof, paid.offer.claimToken ? { claimToken: paid.offer.claimToken } : {});
  } catch (problem) {
    const forGood = !problem.again && problem.code !== "closed";
    if (forGood) {
      memory.payments.drop(paid);
      forget(paid.offer);
    }
    failed(problem, forGood ? [["Start again", back]] : [["Try again", () => again(paid)]]);
    return;
  }
  memory.payments.drop(paid);
  forget(paid.offer);
  if (!same(session.price, kept(paid.offer.price))) {
    session.overcharged = true;
    session.end();
  }
  use(session, { ...about(paid.offer), txs: [paid.tx] }, usableFor(paid.offer));
}

/** What a session must know of its offer: how to show amounts, and which wallets can pay more of it. */
const about = ({ name, symbol, decimals, kind, network, token, tokenProgram, counts, seconds, txs }) => (
  { name, symbol, decimals, kind, network, token, tokenProgram, counts, seconds, txs }
);
const usableFor = (what) => wallets.filter((each) => each.pays(what));

function progress(texts) {
  $("checks").replaceChildren(...texts.map((text) => element("li", { textContent: text })));
  $("progress-tx").textContent = "";
  $("progress-back").hidden = true;
  step(0);
  show("progress");
}

function step(now, tx = null) {
  [...$("checks").children].forEach((each, at) => {
    each.className = at < now ? "past" : at === now ? "now" : "";
    if (at === now) announce(each.textContent);
  });
  if (tx) $("progress-tx").replaceChildren("Transaction ", element("code", { textContent: tx }));
}

function failed(problem, actions) {
  $("checks").querySelector(".now")?.classList.remove("now");
  $("progress-back").hidden = false;
  tell(problem, actions);
}

// --- Going on, and starting over ---------------------------------------------------------------------------------

/** A payment or a session from before this page was loaded. */
function offerToGoOn(passed = []) {
  const fresh = (each) => !passed.includes(each.id ?? each.offer.reference);
  const left = memory.sessions.all().find(fresh);
  const paid = memory.payments.all().find(fresh);
  if (!left && !paid) return;
  const pass = () => offerToGoOn([...passed, left ? left.id : paid.offer.reference]);
  const elsewhere = left && left.alive > Date.now() - ALIVE_MS;
  $("waiting-text").textContent = elsewhere
    ? `${left.name} is running in another window, and is metered there.`
    : left
      ? `You have an open session: ${left.name}. Its meter stands still, for some minutes.`
      : paid.tx
        ? `You paid for ${paid.offer.name}, but the session has not begun.`
        : `You were about to pay for ${paid.offer.name}. If your wallet has sent it, show the payment.`;
  $("waiting-session").hidden = false;
  $("waiting-go").onclick = () => {
    $("waiting-session").hidden = true;
    if (left) goOn(left, use);
    else if (paid.tx) again(paid);
    else {
      offer = paid.offer;
      showOffer();
      $("manual").open = true;
      $("manual-from").value = paid.from;
      $("manual-tx").focus();
    }
  };
  $("waiting-go").textContent = elsewhere ? "Bring it here" : "Go on with it";
  $("waiting-drop").textContent = elsewhere ? "Leave it there" : left ? "End it" : paid.tx ? "Not now" : "Forget it";
  $("waiting-drop").onclick = () => {
    $("waiting-session").hidden = true;
    if (left && !elsewhere) {
      goOn(left, (session, ...rest) => {
        use(session, ...rest);
        session.end();
      });
      return;
    }
    if (!left && !paid.tx) memory.payments.drop(paid);
    pass();
  };
}

async function goOn(left, then) {
  progress(["Back to your session"]);
  const session = new Session(left.socketUrl, left.resourceId, left.paid, left.price);
  memory.sessions.drop(left); // its token is for one use
  try {
    await session.resume(left.token, left.began);
    then(session, about(left), usableFor(left));
  } catch (problem) {
    failed(new Problem(problem.message, "What was not used goes back to the account that paid.", problem.code), [["Start again", back]]);
  }
}

function back() {
  clearInterval(expiring);
  unwatch();
  memory.shown.set(null);
  entrance?.session.abandon();
  entrance = null;
  clear();
  leaveReceipt();
  drawReceipts();
  show("choose");
  total();
}

async function start() {
  memory.upgrade();
  copyButtons();
  $("choose-form").addEventListener("input", total);
  $("choose-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("pay-back").addEventListener("click", back);
  $("pay-new").addEventListener("click", renew);
  $("progress-back").addEventListener("click", back);
  $("again").addEventListener("click", back);
  $("print").addEventListener("click", () => print());
  addEventListener("hashchange", () => {
    const receipt = addressed();
    if (receipt && $("use").hidden && $("progress").hidden) showReceipt(receipt);
  });
  $("manual-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = $("manual-tx").value.trim();
    const paid = { offer, tx: offer.kind === "evm" ? typed.toLowerCase() : typed, from: $("manual-from").value.trim() };
    memory.payments.set(paid);
    clear();
    again(paid);
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  const [settings, ...found] = await Promise.all([page(), browserWallets(), solanaWallets()]);
  wallets = found.flat();
  limitDuration(settings.maxSessionDuration);
  if (settings.devRpcUrl) wallets.push(devWallet(settings.devRpcUrl));
  if (settings.devSolanaRpcUrl) wallets.push(new BurnerWallet(settings.devSolanaRpcUrl));
  await load();
  const receipt = addressed();
  if (receipt) {
    showReceipt(receipt);
    return;
  }
  drawReceipts();
  const left = memory.shown.get();
  if (left && left.expiresAt > Date.now() && listing.has(left.resourceId)) {
    offer = left;
    showOffer();
    return;
  }
  await seekPaid();
  offerToGoOn();
}

/** Offers that were shown before this page was loaded may have been paid since. */
async function seekPaid() {
  const open = memory.offers.all();
  const late = Date.now() - KEPT_MS;
  open.filter(({ expiresAt }) => expiresAt < late).forEach(memory.offers.drop);
  const paid = await alreadyArrived(open.filter(({ expiresAt }) => expiresAt >= late).slice(-MOST_OFFERS));
  paid.forEach(memory.payments.set);
}

start();
