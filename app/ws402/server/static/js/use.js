// The running session: the meter, the resource's messages, top-ups, the end, and where the refund is.

import { Problem, schema } from "./api.js";
import * as memory from "./memory.js";
import { clock, coins, short, spoken } from "./money.js";
import { lasts, quote, same, share, spokenUnits } from "./price.js";
import { proofOf, readOffer } from "./offer.js";
import { keepReceipt, showReceipt } from "./receipt.js";
import { $, announce, clear, element, show, tell } from "./view.js";

const MAX_MESSAGES = 200;
const SAY_EVERY_S = 60;
const BEAT_MS = 5_000; // how often other windows are told that the session runs here

/** `about`: name, symbol, decimals, and what tells which wallets can pay; `wallets`: what can top up. */
export function use(session, about, wallets) {
  const money = (units) => `${short(units, about.decimals)} ${about.symbol}`;
  const exact = (units) => `${coins(units, about.decimals)} ${about.symbol}`;
  let said = null;
  let lowSaid = false;
  let elapsed = 0;

  $("use-name").textContent = about.name;
  document.title = `${about.name} – pay by the second`;
  $("messages").replaceChildren();
  $("http-access").hidden = true;
  $("talk").hidden = false;
  $("top-up-form").hidden = true;
  $("top-up").hidden = !wallets.length || !session.token;
  state("live");
  show("use");
  announce(`Session started. ${spoken(seconds())} left.`);
  draw();
  const drawing = setInterval(draw, 250);

  function seconds() {
    const rest = session.longest ? Math.max(0, session.longest - (Date.now() - session.began) / 1000) : 0;
    return session.price ? (lasts(session.price, session.left) ?? rest) : 0;
  }

  function state(name) {
    $("use-state").textContent = { live: "live", away: "reconnecting" }[name];
    $("use-state").classList.toggle("away", name === "away");
  }

  function draw() {
    const left = session.left;
    const lasts = seconds();
    $("left-time").textContent = clock(lasts);
    $("left").textContent = money(left);
    $("used").textContent = [money(session.paid - left), ...spokenUnits(session.counts)].join(", ");
    $("paid").textContent = money(session.paid);
    const share = session.paid ? Number((left * 1000n) / session.paid) / 10 : 0;
    $("bar-fill").style.width = `${share}%`;
    $("bar").classList.toggle("low", share < 15);
    if (said === null || performance.now() - said > SAY_EVERY_S * 1000) {
      if (said !== null) announce(`${spoken(lasts)} left.`);
      said = performance.now();
      $("bar").setAttribute("aria-valuenow", String(Math.round(share)));
      $("bar").setAttribute("aria-valuetext", `${spoken(lasts)} left`);
    }
  }

  function line(text, mine = false) {
    const list = $("messages");
    const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
    list.append(element("li", { textContent: text.slice(0, 2000), className: mine ? "mine" : "" }));
    while (list.childElementCount > MAX_MESSAGES) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  function remember(alive = Date.now()) {
    if (!session.token) return;
    const { id, resourceId, url, paid, price, token, began } = session;
    memory.sessions.set({ ...about, alive, id, resourceId, socketUrl: url, paid, price, token, began });
  }

  async function addTime(wallet, seconds_) {
    const status = (text) => ($("top-up-status").textContent = text);
    const buttons = [...$("top-up-wallets").children];
    buttons.forEach((each) => (each.disabled = true));
    try {
      status("Asking for the price …");
      const topUp = { sessionId: session.id, token: session.token };
      const offer = await readOffer(await schema(session.resourceId, seconds_, topUp), session.resourceId, seconds_);
      if (!same(offer.price, session.price)) throw new Problem("The price has changed.", "Start a new session when this one ends.");
      status("Confirm in your wallet …");
      const account = await wallet.account(offer);
      if (!session.live) throw new Problem("The session is reconnecting.", "Nothing was paid. Try again when it goes on.", "away");
      const tx = await wallet.send(account, offer);
      status("Waiting for a block …");
      await wallet.included(tx);
      status("The server checks the payment …");
      about.txs = [...(about.txs ?? []), tx];
      await session.topUp(proofOf(offer, tx, account), offer.claimToken ? { claimToken: offer.claimToken } : {});
      status("");
      $("top-up-form").hidden = true;
      lowSaid = false;
      remember();
      announce(`Added ${spoken(seconds_)}.`);
    } catch (problem) {
      status("");
      tell(problem);
    } finally {
      buttons.forEach((each) => (each.disabled = false));
    }
  }

  function topUpPrice() {
    const seconds_ = Number($("top-up-minutes").value);
    $("top-up-price").textContent = exact(quote(session.price, seconds_, share(about.counts, about.seconds, seconds_)));
  }

  $("top-up").onclick = () => {
    $("top-up-form").hidden = !$("top-up-form").hidden;
    topUpPrice();
    $("top-up-wallets").replaceChildren(
      ...wallets.map((wallet) => {
        const button = element("button", { type: "button", className: "primary", textContent: `Pay with ${wallet.name}` });
        button.onclick = () => addTime(wallet, Number($("top-up-minutes").value));
        return button;
      }),
    );
    if (!$("top-up-form").hidden) $("top-up-minutes").focus();
  };
  $("top-up-minutes").onchange = topUpPrice;
  $("top-up-form").onsubmit = (event) => event.preventDefault();
  $("end").disabled = false;
  $("end").onclick = () => {
    $("end").disabled = true;
    session.end();
  };
  $("send-form").onsubmit = (event) => {
    event.preventDefault();
    const text = $("send-text").value;
    if (!text) return;
    session.send(text);
    line(`> ${text}`, true);
    $("send-text").value = "";
  };

  session.addEventListener("started", () => {
    state("live");
    clear();
  });
  session.addEventListener("token", () => remember());
  session.addEventListener("away", () => {
    state("away");
    announce("The connection was lost; reconnecting.");
  });
  session.addEventListener("waiting", () => state("away"));
  session.addEventListener("usage", ({ detail }) => (elapsed = detail.elapsedSeconds));
  session.addEventListener("message", ({ detail }) => {
    line(typeof detail === "string" ? detail : `[${detail.byteLength} bytes]`);
  });
  session.addEventListener("low", ({ detail }) => {
    if (lowSaid) return;
    lowSaid = true;
    announce(`Only ${spoken(detail)} left.`);
  });
  session.addEventListener("access", ({ detail }) => {
    const url = new URL(detail.resourceUrl, location.href);
    if (!["http:", "https:"].includes(url.protocol)) return;
    url.searchParams.set("token", detail.httpToken);
    $("http-link").href = url.href;
    $("http-access").hidden = false;
    $("talk").hidden = true; // such a resource says nothing here
  });
  session.addEventListener("ended", ({ detail }) => {
    finish();
    bill(detail);
  });
  session.addEventListener("lost", ({ detail: problem }) => {
    if (problem.code === "superseded") {
      // The entry is the other window's now, and so is the bill.
      finish({ keep: true });
      show("choose");
      tell(problem);
      return;
    }
    finish();
    bill({ paid: session.paid, consumed: session.paid - session.remaining, refund: session.remaining, refundId: null, exact: false });
    tell(problem);
  });
  addEventListener("pagehide", () => {
    if (session.live) remember(0);
    session.leave();
  });
  remember();
  const beating = setInterval(() => session.live && remember(), BEAT_MS);

  /** The bill, at an address of its own. */
  function bill(settlement) {
    const { name, symbol, decimals, network, txs = [] } = about;
    const overcharged = session.overcharged === true;
    const onlyTime = !Object.keys(session.price.units).length;
    showReceipt(keepReceipt({
      ...settlement, id: session.id, name, symbol, decimals, network, txs, overcharged,
      seconds: onlyTime ? lasts(session.price, settlement.consumed) : elapsed,
      counts: spokenUnits(session.counts), began: session.began, ended: Date.now(),
    }));
  }

  function finish({ keep = false } = {}) {
    clearInterval(drawing);
    clearInterval(beating);
    if (!keep) memory.sessions.drop(session);
    document.title = "Pay by the second";
  }
}
