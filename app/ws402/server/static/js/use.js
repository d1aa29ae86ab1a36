// The running session: the meter, the resource's messages, top-ups, the end, and where the refund is.

import { Problem, refund, schema } from "./api.js";
import * as memory from "./memory.js";
import { clock, coins, short, spoken } from "./money.js";
import { lasts, quote, same, share, spokenUnits } from "./price.js";
import { proofOf, readOffer } from "./offer.js";
import { $, announce, clear, element, show, tell } from "./view.js";

const MAX_MESSAGES = 200;
const SAY_EVERY_S = 60;
const REFUND_MS = 15 * 60_000;

const WHY = {
  client_ended: "You ended the session.",
  client_closed: "You left.",
  balance_exhausted: "All that was paid is used.",
  max_duration: "The session was as long as one may be.",
  resource_ended: "The resource has no more to give.",
  server_error: "The server failed; you pay only for what you got.",
  server_draining: "The server went away.",
  slow_reader: "Your connection was too slow.",
  reorged: "The payment left the chain.",
};

/** `about`: name, symbol, decimals, and what tells which wallets can pay; `wallets`: what can top up. */
export function use(session, about, wallets) {
  const money = (units) => `${short(units, about.decimals)} ${about.symbol}`;
  const exact = (units) => `${coins(units, about.decimals)} ${about.symbol}`;
  let said = null;
  let lowSaid = false;

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

  function remember() {
    if (!session.token) return;
    const { id, resourceId, url, paid, price, token, began } = session;
    memory.sessions.set({ ...about, id, resourceId, socketUrl: url, paid, price, token, began });
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
  session.addEventListener("token", remember);
  session.addEventListener("away", () => {
    state("away");
    announce("The connection was lost; reconnecting.");
  });
  session.addEventListener("waiting", () => state("away"));
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
    ended(detail, exact, session.overcharged);
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
    ended({ paid: session.paid, consumed: session.paid - session.remaining, refund: session.remaining, exact: false }, exact);
    tell(problem);
  });
  addEventListener("pagehide", () => session.leave());
  remember();

  function finish({ keep = false } = {}) {
    clearInterval(drawing);
    if (!keep) memory.sessions.drop(session);
    document.title = "Pay by the second";
  }
}

/** The bill, and then the refund's way to the chain. */
async function ended(settlement, exact, overcharged = false) {
  const about = settlement.exact ? "" : "about ";
  $("done-why").textContent = overcharged
    ? "The meter ran faster than the time, so this page ended the session. Tell the site’s owner."
    : (WHY[settlement.reason] ?? "");
  $("done-paid").textContent = exact(settlement.paid);
  $("done-used").textContent = about + exact(settlement.consumed);
  $("done-refund").textContent = about + exact(settlement.refund);
  $("refund-tx-line").hidden = true;
  $("refund-note").textContent = "";
  $("refund-box").hidden = settlement.refund === 0n;
  show("done");
  if (settlement.refund === 0n) return;
  if (!settlement.refundId) {
    $("refund-state").textContent = "The refund comes by itself";
    $("refund-note").textContent = "It goes to the account that paid, usually within minutes.";
    return;
  }
  const end = Date.now() + REFUND_MS;
  for (let wait = 1000; Date.now() < end; wait = Math.min(wait * 1.3, 6000)) {
    try {
      if (await showRefund(settlement.refundId)) return;
    } catch {
      $("refund-note").textContent = "The server does not answer now; the refund is recorded and will be sent.";
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

const REFUND = {
  waiting: ["Refund recorded", "It is sent as soon as the payment is final on the chain."],
  due: ["Refund recorded", "It is sent in a moment."],
  in_flight: ["Refund sent", "It waits for a block."],
  confirmed: ["Refunded", "The money is back in the account that paid."],
  final: ["Refunded", "The money is back in the account that paid."],
  credit: ["Kept as credit", "It is worth less than sending it; it comes with your next refund."],
  held: ["Refund held", "Your account could not take it. The operator will look into it."],
};

/** Whether nothing more is to be expected. */
async function showRefund(id) {
  const { state, txHash } = await refund(id);
  const [title, note] = REFUND[state] ?? [state, ""];
  if ($("refund-state").textContent !== title) $("refund-state").textContent = title;
  $("refund-note").textContent = note;
  $("refund-tx").textContent = txHash ?? "";
  $("refund-tx-line").hidden = !txHash;
  return ["confirmed", "final", "credit", "held"].includes(state);
}
