// The way from a price to a running session.

import { Problem, page, qr, resources, schema } from "./api.js";
import * as memory from "./memory.js";
import { amount, clock, coins, grouped, short, spoken } from "./money.js";
import { proofOf, readOffer } from "./offer.js";
import { Session } from "./session.js";
import { use } from "./use.js";
import { $, announce, clear, copyButtons, element, show, tell } from "./view.js";
import { BurnerWallet } from "./wallets/burner.js";
import { browserWallets, devWallet } from "./wallets/evm.js";
import { solanaWallets } from "./wallets/solana.js";

const listing = new Map();
const DECIMALS = { ETH: 18, SOL: 9, USDC: 6 };
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
let wallets = [];
let offer = null;
let expiring = 0;

// --- Choose ----------------------------------------------------------------------------------------------------

async function load() {
  clear();
  try {
    const found = await resources();
    listing.clear();
    found.forEach((each) => listing.set(each.id, each));
    drawResources(found);
  } catch (problem) {
    $("loading")?.remove();
    tell(problem, [["Try again", load]]);
  }
}

function drawResources(found) {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const chosen = listing.has(wanted) ? wanted : found[0]?.id;
  $("resources").replaceChildren(...found.map((each) => choice(each, each.id === chosen)));
  if (!found.length) $("resources").append(element("p", { className: "quiet", textContent: "Nothing is sold here yet." }));
  $("choose-go").disabled = !found.length;
  total();
}

function choice(each, checked) {
  const input = element("input", { type: "radio", name: "resource", value: each.id, checked });
  const price = element("span", { className: "price" });
  price.append(perMinute(each), element("br"), element("small", { className: "quiet", textContent: "a minute" }));
  const name = element("span", { className: "name", textContent: each.name || each.id });
  return element("label", { className: "choice" }, input, name, price);
}

/** A listing names no decimals: for symbols that everybody knows, coins; else smallest units. */
function inCoins(units, symbol) {
  const decimals = DECIMALS[symbol || "ETH"];
  return decimals === undefined ? `${grouped(units)} units of ${symbol}` : `${short(units, decimals)} ${symbol || "ETH"}`;
}

function perMinute({ pricing }) {
  return inCoins(amount(pricing.pricePerSecond) * 60n, pricing.currency);
}

function chosen() {
  const form = new FormData($("choose-form"));
  const own = form.get("duration") === "own";
  $("own-duration").hidden = !own;
  const seconds = own ? Math.round(Number($("own-minutes").value) * 60) : Number(form.get("duration"));
  return { resource: listing.get(form.get("resource")), seconds };
}

function total() {
  const { resource, seconds } = chosen();
  const fine = resource && Number.isInteger(seconds) && seconds > 0;
  $("choose-go").disabled = !fine;
  $("choose-total").textContent = fine
    ? inCoins(amount(resource.pricing.pricePerSecond) * BigInt(seconds), resource.pricing.currency)
    : "–";
  $("choose-note").textContent = fine ? `for ${spoken(seconds)}` : "";
}

async function ask() {
  clear();
  const { resource, seconds } = chosen();
  $("choose-go").disabled = true;
  $("choose-go").textContent = "Asking for the price …";
  try {
    offer = await readOffer(await schema(resource.id, seconds), resource.id, seconds);
    offer.name = resource.name || resource.id;
    showOffer();
  } catch (problem) {
    tell(problem);
  } finally {
    $("choose-go").textContent = "Continue";
    $("choose-go").disabled = false;
  }
}

// --- Pay -------------------------------------------------------------------------------------------------------

function showOffer() {
  const exact = `${coins(offer.units, offer.decimals)} ${offer.symbol}`;
  $("pay-amount").textContent = exact;
  $("pay-what").textContent = `${offer.name}, up to ${spoken(offer.seconds)}.`;
  $("fact-amount").textContent = exact;
  $("fact-units").textContent = `${grouped(offer.units)} ${offer.unit}`;
  $("fact-to").textContent = offer.recipient;
  $("fact-network").textContent = offer.networkName;
  for (const id of ["fact-token", "fact-token-term"]) $(id).hidden = !offer.token;
  $("fact-token").replaceChildren(element("code", { textContent: offer.token ?? "" }));
  const tie = offer.kind === "solana" ? offer.reference : offer.token ? "" : offer.tag;
  for (const id of ["fact-data-box", "fact-data-term"]) $(id).hidden = !tie;
  $("fact-data").textContent = tie;
  $("fact-data-term").textContent = offer.kind === "solana" ? "Reference" : "Data";
  $("fact-data-note").textContent = offer.kind === "solana"
    ? "A key that ties the payment to this offer; wallets that read the code add it themselves."
    : "Ties the payment to this offer, if your wallet can send data.";
  $("qr").hidden = $("pay-link").hidden = !offer.link;
  if (offer.link) {
    $("qr").src = qr(offer.link);
    $("pay-link").href = offer.link;
  }
  const usable = usableFor(offer);
  $("wallets").replaceChildren(...usable.map(payButton));
  $("no-wallet").hidden = usable.length > 0;
  $("manual").open = false;
  spell();
  clearInterval(expiring);
  expiring = setInterval(expiry, 1000);
  expiry();
  show("pay");
}

/** What the form for payments made elsewhere takes. */
function spell() {
  const { tx, from, start } = SPELLING[offer.kind];
  for (const [id, [pattern, title]] of [["manual-tx", tx], ["manual-from", from]]) {
    Object.assign($(id), { pattern, title, placeholder: start, value: "" });
  }
}

function payButton(wallet, at) {
  const button = element("button", {
    type: "button",
    className: at ? "wide" : "primary wide",
    textContent: `Pay with ${wallet.name}`,
  });
  button.addEventListener("click", () => pay(wallet));
  return button;
}

function expiry() {
  const left = Math.floor((offer.expiresAt - Date.now()) / 1000);
  $("pay-expiry").textContent = left > 0 ? `This price holds for ${clock(left)}.` : "This price has expired.";
  if (left > 0) return;
  clearInterval(expiring);
  for (const button of $("wallets").children) button.disabled = true;
  if (!$("pay").hidden) tell(new Problem("The price has expired.", "Ask for a new one; do not pay this one."), [["New price", back]]);
}

async function pay(wallet) {
  clear();
  progress(["Confirm in your wallet", "Wait for a block", "The server checks the payment"]);
  try {
    const account = await wallet.account(offer);
    // Written down before the wallet sends, in case this page goes away before it answers.
    memory.payment.set({ offer, tx: null, from: account });
    const tx = await wallet.send(account, offer);
    const paid = { offer, tx, from: account };
    memory.payment.set(paid);
    step(1, tx);
    await wallet.included(tx);
    await prove(paid);
  } catch (problem) {
    const paid = memory.payment.get();
    if (problem.code === "declined" || problem.code === "transfer_failed" || !paid?.tx) memory.payment.set(null);
    if (paid?.tx && problem.code === "pending") failed(problem, [["Look again", () => again(paid)]]);
    else failed(problem, [["Try again", showOffer]]);
  }
}

async function again(paid) {
  offer = paid.offer;
  progress(["The server checks the payment"]);
  await prove(paid);
}

/** Opens the session that a payment pays for; never throws. */
async function prove(paid) {
  clearInterval(expiring);
  const checks = $("checks").childElementCount;
  step(checks - 1, paid.tx);
  const session = new Session(paid.offer.socketUrl, paid.offer.resourceId, paid.offer.units, paid.offer.price);
  session.addEventListener("waiting", ({ detail }) => announce(detail));
  const proof = proofOf(paid.offer, paid.tx, paid.from);
  try {
    await session.prove(proof, paid.offer.claimToken ? { claimToken: paid.offer.claimToken } : {});
  } catch (problem) {
    const forGood = !problem.again && problem.code !== "closed";
    if (forGood) memory.payment.set(null);
    failed(problem, forGood ? [["Start again", restart]] : [["Try again", () => again(paid)]]);
    return;
  }
  memory.payment.set(null);
  if (session.price !== paid.offer.price) {
    session.overcharged = true;
    session.end();
  }
  use(session, about(paid.offer), usableFor(paid.offer));
}

/** What a session must know of its offer: how to show amounts, and which wallets can pay more of it. */
const about = ({ name, symbol, decimals, kind, network, token, tokenProgram }) => (
  { name, symbol, decimals, kind, network, token, tokenProgram }
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
function offerToGoOn() {
  const left = memory.session.get();
  const paid = memory.payment.get();
  if (!left && !paid) return;
  $("waiting-text").textContent = left
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
  $("waiting-drop").textContent = left ? "End it" : paid.tx ? "Not now" : "Forget it";
  $("waiting-drop").onclick = () => {
    $("waiting-session").hidden = true;
    if (left) {
      goOn(left, (session, ...rest) => {
        use(session, ...rest);
        session.end();
      });
    } else if (!paid.tx) memory.payment.set(null);
  };
}

async function goOn(left, then) {
  progress(["Back to your session"]);
  const session = new Session(left.socketUrl, left.resourceId, left.paid, left.price);
  memory.session.set(null); // its token is for one use
  try {
    await session.resume(left.token, left.began);
    then(session, about(left), usableFor(left));
  } catch (problem) {
    failed(new Problem(problem.message, "What was not used goes back to the account that paid.", problem.code), [["Start again", restart]]);
  }
}

function back() {
  clearInterval(expiring);
  clear();
  show("choose");
  total();
}

function restart() {
  memory.payment.set(null);
  back();
}

async function start() {
  copyButtons();
  $("choose-form").addEventListener("input", total);
  $("choose-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("pay-back").addEventListener("click", back);
  $("progress-back").addEventListener("click", back);
  $("again").addEventListener("click", restart);
  $("manual-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = $("manual-tx").value.trim();
    const paid = { offer, tx: offer.kind === "evm" ? typed.toLowerCase() : typed, from: $("manual-from").value.trim() };
    memory.payment.set(paid);
    clear();
    again(paid);
  });
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  const [settings, ...found] = await Promise.all([page(), browserWallets(), solanaWallets()]);
  wallets = found.flat();
  if (settings.devRpcUrl) wallets.push(devWallet(settings.devRpcUrl));
  if (settings.devSolanaRpcUrl) wallets.push(new BurnerWallet(settings.devSolanaRpcUrl));
  await load();
  offerToGoOn();
}

start();
