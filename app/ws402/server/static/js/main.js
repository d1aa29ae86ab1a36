// The page's start: its language, and what is sold for how much. All that comes after that is loaded meanwhile.

import { page, resources } from "./api.js";
import { drawResources, limitDuration, total } from "./choose.js";
import { backTo, leavesFrame } from "./embed.js";
import { useRates } from "./fiat.js";
import { LANGUAGES, measured, speak, t } from "./language.js";
import { $, clear, element, entitle, tell, translate } from "./view.js";
import { problem } from "./words.js";

/** What the address wants, else what the site's owner set, else what the browser asks for. */
async function translated() {
  const root = document.documentElement;
  root.lang = await speak([new URLSearchParams(location.search).get("lang"), root.dataset.language, ...navigator.languages]);
  translate();
  entitle();
  const { name } = root.dataset;
  const shop = backTo(root.dataset.return);
  if (name) $("brand").textContent = name;
  $("back-to-shop").hidden = !shop;
  if (shop) $("back-to-shop").href = shop;
  leavesFrame($("back-to-shop"));
  for (const each of document.querySelectorAll("[data-seconds]")) {
    const seconds = Number(each.dataset.seconds);
    each.textContent = seconds < 3600 ? measured(seconds / 60, "minute") : measured(seconds / 3600, "hour", "long");
  }
}

/** The page's address with other parameters. */
const here = (changed) => `?${new URLSearchParams({ ...Object.fromEntries(new URLSearchParams(location.search)), ...changed })}`;

/** The other languages, by their own names. */
function offerLanguages() {
  const others = Object.entries(LANGUAGES).filter(([language]) => language !== document.documentElement.lang);
  $("languages").replaceChildren(...others.map(([lang, textContent]) => (
    element("a", { lang, hreflang: lang, textContent, href: here({ lang }) })
  )));
}

async function load() {
  clear();
  try {
    drawResources(await resources());
  } catch (why) {
    $("loading")?.remove();
    tell(why, [[t("act.again"), load]]);
  }
}

async function set(settings) {
  const { maxSessionDuration, fiat } = await settings;
  limitDuration(maxSessionDuration);
  useRates(fiat);
}

async function start() {
  await translated();
  offerLanguages();
  const settings = page();
  $("choose-form").addEventListener("input", total);
  $("choose-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("choose-go").disabled = true;
    $("choose-go").textContent = t("choose.asking");
    await (await flow)?.ask();
    $("choose-go").textContent = t("choose.continue");
    total();
  });
  const drawn = Promise.all([set(settings), load()]);
  const flow = drawn.then(() => import("./flow.js").catch(unloaded));
  await drawn;
  total();
  (await flow)?.begin(await settings);
}

/** The connection went before all was here: browsers remember that of a module, so the page begins anew. */
function unloaded() {
  tell(problem("offline"), [[t("act.again"), () => location.reload()]]);
}

start();
