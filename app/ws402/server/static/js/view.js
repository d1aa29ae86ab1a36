// The page's parts: which one shows, what went wrong, what is read out. Text from elsewhere only ever becomes text.

import { t } from "./language.js";
import { told } from "./words.js";

const STEPS = { choose: "choose", pay: "pay", progress: "pay", use: "use", done: "done" };

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** The page's title: what it is about, if anything, and whose page it is. */
export function entitle(name = "") {
  const site = document.documentElement.dataset.name || t("title");
  document.title = name ? t("title.of", { name, site }) : site;
}

/** Puts the words into what the page is made of: each element names its own. */
export function translate() {
  for (const each of document.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of document.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", t(each.dataset.tLabel));
  for (const each of document.querySelectorAll("[data-t-hint]")) each.placeholder = t(each.dataset.tHint);
  for (const each of document.querySelectorAll("[data-t-alt]")) each.alt = t(each.dataset.tAlt);
}

/** Shows one part, moves the focus to its heading, and marks the step. */
export function show(part) {
  for (const name of Object.keys(STEPS)) $(name).hidden = name !== part;
  let past = true;
  for (const step of document.querySelectorAll("[data-step]")) {
    const now = step.dataset.step === STEPS[part];
    if (now) past = false;
    step.classList.toggle("past", past);
    if (now) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  }
  $(`${part}-title`).focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

/** Tells a problem with its remedy; `actions` are [text, function]. */
export function tell(problem, actions = []) {
  [$("problem-text").textContent, $("problem-remedy").textContent] = told(problem);
  $("problem-actions").replaceChildren(
    ...actions.map(([text, act], at) => {
      const button = element("button", { type: "button", textContent: text, className: at ? "" : "primary" });
      button.addEventListener("click", () => {
        clear();
        act();
      });
      return button;
    }),
  );
  $("problem").hidden = false;
  $("problem").scrollIntoView({ block: "nearest" });
}

export function clear() {
  $("problem").hidden = true;
}

/** Read out by screen readers, politely. */
export function announce(text) {
  $("announcer").textContent = text;
}

/** Every button with `data-copy` copies the text of that element. */
export function copyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.setAttribute("aria-label", t("copy.what", { what: t(button.dataset.what) }));
    button.addEventListener("click", async () => {
      const source = $(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = t("copied");
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = t("selected");
      }
      announce(button.textContent);
      setTimeout(() => (button.textContent = t("copy")), 2000);
    });
  }
}
