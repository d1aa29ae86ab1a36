// The way of a payment: what is done, what is waited for, why, and how to go back.

import { t } from "./language.js";
import { $, announce, element, show, tell } from "./view.js";

let notes = [];

/** Shows the steps, each [its name, why it takes time and what comes next], by their keys. `leave` is what "Back" does. */
export function progress(steps, leave) {
  $("checks").replaceChildren(...steps.map(([key]) => element("li", { textContent: t(key) })));
  notes = steps.map(([, each]) => each);
  $("progress-tx").textContent = "";
  $("progress-back").onclick = leave;
  step(0);
  show("progress");
}

export function step(now, tx = null) {
  [...$("checks").children].forEach((each, at) => {
    each.className = at < now ? "past" : at === now ? "now" : "";
    if (at === now) announce(each.textContent);
  });
  note(t(notes[now]));
  if (tx) $("progress-tx").replaceChildren(t("transaction"), " ", element("code", { textContent: tx }));
}

export const last = () => $("checks").childElementCount - 1;

function note(text) {
  $("progress-note").textContent = text;
}

/** It takes longer, for this reason; it is tried again by itself. */
export function delayed(reason, key = "progress.again-note") {
  const text = t(key, { reason: t(`wait.${reason}`) });
  if ($("progress-note").textContent !== text) announce(text);
  note(text);
}

export function failed(problem, actions) {
  $("checks").querySelector(".now")?.classList.remove("now");
  note("");
  tell(problem, actions);
}
