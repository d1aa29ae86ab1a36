// What this browser knows of the visitor's sessions and payments from before, each with its way on.

import { t, when } from "./language.js";
import * as memory from "./memory.js";
import { askOwing, drawReceipts, owing, stateOf } from "./receipt.js";
import { $, element } from "./view.js";
import { exactly } from "./words.js";

const ALIVE_MS = 90_000; // browsers let windows in the background write once a minute
const OLD_MS = 3_600_000; // a session that was left for longer is settled everywhere
let acts = null;

/** `does`: { goOn(session), end(session), use(payment), show(payment) }. */
export function keepYours(does) {
  acts = does;
  const redraw = () => $("choose").hidden || draw();
  addEventListener("storage", redraw); // another window writes
  addEventListener("visibilitychange", redraw);
}

/** Draws the list, and again when it is known where the refunds are. */
export async function drawYours() {
  draw();
  if (!owing().length) return;
  await askOwing();
  draw();
}

function draw() {
  const items = [
    ...memory.sessions.all().map(sessionItem),
    ...memory.payments.all().map(paymentItem),
    ...owing().map(receiptItem),
  ];
  $("yours").hidden = !items.length;
  $("yours-list").replaceChildren(...items);
  drawReceipts();
}

/** Text and buttons: [key of its words, what it does], the first one is the way on. */
function item(text, ...ways) {
  const buttons = ways.map(([key, act], at) => {
    const button = element("button", { type: "button", className: at ? "" : "primary", textContent: t(key) });
    button.onclick = act;
    return button;
  });
  return element("li", {}, element("p", { textContent: text }), element("div", { className: "row" }, ...buttons));
}

function sessionItem(left) {
  const { name, alive = 0, seen = left.began } = left;
  if (alive > Date.now() - ALIVE_MS) return item(t("yours.live", { name }), ["yours.bring", () => acts.goOn(left)]);
  const open = seen > Date.now() - OLD_MS;
  return item(
    open ? t("yours.open", { name }) : t("yours.old", { name, when: when(seen) }),
    ["yours.go-on", () => acts.goOn(left)],
    open ? ["yours.end", () => acts.end(left)] : ["yours.forget", () => drop(memory.sessions, left)],
  );
}

function paymentItem(paid) {
  const { offer } = paid;
  if (paid.tx) return item(t("yours.paid", { name: offer.name, amount: exactly(offer.units, offer) }), ["yours.use", () => acts.use(paid)]);
  return item(
    t("yours.about-to", offer),
    ["yours.show", () => acts.show(paid)],
    ["yours.forget", () => drop(memory.payments, paid)],
  );
}

function receiptItem(receipt) {
  const amount = exactly(receipt.refund, receipt);
  const text = t("yours.refund", { name: receipt.name, amount, state: stateOf(receipt) });
  return item(text, ["yours.see", () => (location.hash = `#receipt/${receipt.id}`)]);
}

function drop(kept, what) {
  kept.drop(what);
  draw();
}
