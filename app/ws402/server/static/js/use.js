// The running session: the meter, the resource's messages, top-ups, the end, and where the refund is.

import { schema } from "./api.js";
import { onEnd, report } from "./embed.js";
import { t } from "./language.js";
import * as memory from "./memory.js";
import { clock } from "./money.js";
import { lasts, quote, same, share } from "./price.js";
import { proofOf, readOffer } from "./offer.js";
import { keepReceipt, showReceipt } from "./receipt.js";
import { $, announce, clear, element, entitle, show, tell } from "./view.js";
import { exactly, problem, roughly, spoken, spokenUnits, walletName } from "./words.js";

const MAX_MESSAGES = 200;
const SAY_EVERY_S = 60;
const BEAT_MS = 5_000; // how often other windows are told that the session runs here

/**
 * `about`: name, symbol, decimals, and what tells which wallets can pay; `wallets`: what can top up; `closed` is called
 * when it goes on elsewhere.
 */
export function use(session, about, wallets, closed) {
  const money = (units) => roughly(units, about);
  let said = null;
  let lowSaid = false;
  let elapsed = 0;

  $("use-name").textContent = about.name;
  entitle(about.name);
  $("messages").replaceChildren();
  $("http-access").hidden = true;
  $("talk").hidden = false;
  $("top-up-form").hidden = true;
  $("top-up").hidden = !wallets.length || !session.token;
  state("live");
  show("use");
  announce(t("use.started", { time: spoken(seconds()) }));
  draw();
  const drawing = setInterval(draw, 250);

  function seconds() {
    const rest = session.longest ? Math.max(0, session.longest - (Date.now() - session.began) / 1000) : 0;
    return session.price ? (lasts(session.price, session.left) ?? rest) : 0;
  }

  /** `note`: why the session is not live, what comes next. */
  function state(name, note = "") {
    $("use-state").textContent = t(`use.${name}`);
    $("use-state").classList.toggle("away", name === "away");
    $("use-note").textContent = note && t(note);
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
      if (said !== null) announce(t("use.time-left", { time: spoken(lasts) }));
      said = performance.now();
      $("bar").setAttribute("aria-valuenow", String(Math.round(share)));
      $("bar").setAttribute("aria-valuetext", t("use.time-left", { time: spoken(lasts) }));
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
    memory.sessions.set({ ...about, alive, seen: Date.now(), id, resourceId, socketUrl: url, paid, price, token, began });
  }

  async function addTime(wallet, seconds_) {
    const status = (text) => ($("top-up-status").textContent = text);
    const buttons = [...$("top-up-wallets").children];
    buttons.forEach((each) => (each.disabled = true));
    try {
      status(t("top-up.asking"));
      const topUp = { sessionId: session.id, token: session.token };
      const offer = await readOffer(await schema(session.resourceId, seconds_, topUp), session.resourceId, seconds_);
      if (!same(offer.price, session.price)) throw problem("price");
      status(t("top-up.confirm"));
      const account = await wallet.account(offer);
      if (!session.live) throw problem("away");
      const tx = await wallet.send(account, offer);
      status(t("top-up.block"));
      await wallet.included(tx);
      status(t("top-up.check"));
      about.txs = [...(about.txs ?? []), tx];
      await session.topUp(proofOf(offer, tx, account), offer.claimToken ? { claimToken: offer.claimToken } : {});
      status("");
      $("top-up-form").hidden = true;
      lowSaid = false;
      remember();
      announce(t("use.added", { time: spoken(seconds_) }));
    } catch (why) {
      status("");
      tell(why);
    } finally {
      buttons.forEach((each) => (each.disabled = false));
    }
  }

  function topUpPrice() {
    const seconds_ = Number($("top-up-minutes").value);
    const amount = exactly(quote(session.price, seconds_, share(about.counts, about.seconds, seconds_)), about);
    $("top-up-price").textContent = t("use.add-for", { amount });
  }

  $("top-up").onclick = () => {
    $("top-up-form").hidden = !$("top-up-form").hidden;
    topUpPrice();
    $("top-up-wallets").replaceChildren(
      ...wallets.map((wallet) => {
        const button = element("button", { type: "button", className: "primary", textContent: t("pay.with", { wallet: walletName(wallet) }) });
        button.onclick = () => addTime(wallet, Number($("top-up-minutes").value));
        return button;
      }),
    );
    if (!$("top-up-form").hidden) $("top-up-minutes").focus();
  };
  $("top-up-minutes").onchange = topUpPrice;
  $("top-up-form").onsubmit = (event) => event.preventDefault();
  $("end").disabled = false;
  $("end").textContent = t("use.end");
  $("end").onclick = () => {
    $("end").disabled = true;
    $("end").textContent = t("use.ending");
    if (session.live) $("use-note").textContent = t("use.ending-note");
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
    state("away", `use.${session.why}-note`);
    announce(t("use.away-said"));
  });
  session.addEventListener("usage", ({ detail }) => (elapsed = detail.elapsedSeconds));
  session.addEventListener("message", ({ detail }) => {
    line(typeof detail === "string" ? detail : t("use.bytes", { size: spokenUnits({ bytes: detail.byteLength })[0] }));
  });
  session.addEventListener("low", ({ detail }) => {
    if (lowSaid) return;
    lowSaid = true;
    announce(t("use.only", { time: spoken(detail) }));
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
  session.addEventListener("lost", ({ detail: why }) => {
    if (why.code === "superseded") {
      // The entry is the other window's now, and so is the bill.
      finish({ keep: true });
      closed();
      tell(why);
      return;
    }
    finish();
    bill({ paid: session.paid, consumed: session.paid - session.remaining, refund: session.remaining, refundId: null, exact: false });
    tell(why);
  });
  addEventListener("pagehide", () => {
    if (session.live) remember(0);
    session.leave();
  });
  remember();
  const { name, symbol, decimals, network } = about;
  report("opened", { sessionId: session.id, resource: session.resourceId, paid: session.paid, symbol, decimals, network, name });
  const deaf = onEnd(() => session.end());
  const beating = setInterval(() => session.live && remember(), BEAT_MS);

  /** The bill, at an address of its own. */
  function bill(settlement) {
    const { txs = [] } = about;
    const { paid, consumed, refund, refundId, exact } = settlement;
    report("settled", { sessionId: session.id, paid, consumed, refund, refundId, exact, symbol, decimals, network });
    const overcharged = session.overcharged === true;
    const onlyTime = !Object.keys(session.price.units).length;
    showReceipt(keepReceipt({
      ...settlement, id: session.id, name, symbol, decimals, network, txs, overcharged,
      seconds: onlyTime ? lasts(session.price, settlement.consumed) : elapsed,
      counts: session.counts, began: session.began, ended: Date.now(),
    }));
  }

  function finish({ keep = false } = {}) {
    clearInterval(drawing);
    clearInterval(beating);
    deaf();
    if (!keep) memory.sessions.drop(session);
    entitle();
  }
}
