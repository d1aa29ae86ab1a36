// The page's parts: which one shows, what went wrong, what is read out. Text from elsewhere only ever becomes text.

const STEPS = { choose: "choose", pay: "pay", progress: "pay", use: "use", done: "done" };

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
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
  $("problem-text").textContent = problem.message;
  $("problem-remedy").textContent = problem.remedy ?? "";
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
    button.setAttribute("aria-label", `Copy ${button.closest("dd, p")?.previousElementSibling?.textContent?.trim() || "it"}`);
    button.addEventListener("click", async () => {
      const source = $(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
      announce(button.textContent);
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
}
