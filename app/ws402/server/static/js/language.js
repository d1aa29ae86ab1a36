// Every word that the page says, in the language of who reads it; numbers, dates and units as Intl writes them there.

import en from "./languages/en.js";

/** Languages beside English: a file each. */
const OTHERS = { de: () => import("./languages/de.js") };

let words = en;
let locale = "en";
let plurals = new Intl.PluralRules(locale);

export const LANGUAGES = { en: "English", de: "Deutsch" };

/** The first of these tags ("de-AT") that there is a file for, as [language, tag]; else English. */
export function pick(tags) {
  for (const tag of tags.filter(Boolean)) {
    const language = tag.toLowerCase().split("-")[0];
    if (Object.hasOwn(LANGUAGES, language)) return [language, tag];
  }
  return ["en", "en"];
}

/** Speaks the first of these tags that there is a file for; answers its language. */
export async function speak(tags) {
  const [language, tag] = pick(tags);
  words = language === "en" ? en : (await OTHERS[language]()).default;
  try {
    [locale] = Intl.getCanonicalLocales(tag);
  } catch {
    locale = language; // a tag that somebody made up
  }
  plurals = new Intl.PluralRules(locale);
  return language;
}

export const knows = (key) => Object.hasOwn(words, key);

/** The words of a key; `{name}` in them becomes a value, and where there are several forms, `count` chooses. */
export const t = (key, values = {}) => parts(key, values).join("");

/** The same in parts, so that a value may be a node. */
export function parts(key, values = {}) {
  const found = words[key];
  const form = typeof found === "string" ? found : (found[plurals.select(Number(values.count))] ?? found.other);
  return form.split(/\{(\w+)\}/).map((part, at) => (at % 2 ? values[part] : part)).filter((part) => part !== "");
}

/** Digits in groups where there are many: a BigInt, or the digits of one. */
const grouped = (whole) => new Intl.NumberFormat(locale, { useGrouping: String(whole).length > 4 }).format(BigInt(whole));

/** A decimal number, written "1234.5", as people write it here: no digit is lost. */
export function decimal(text) {
  const [whole, part] = text.split(".");
  if (part === undefined) return grouped(whole);
  const point = new Intl.NumberFormat(locale).formatToParts(0.5).find(({ type }) => type === "decimal").value;
  return `${grouped(whole)}${point}${part}`;
}

/** A number with its unit of CLDR ("minute", "megabyte"). */
export const measured = (value, unit, unitDisplay = "short") =>
  new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay, maximumSignificantDigits: 3 }).format(value);

export const money = (value, currency) => new Intl.NumberFormat(locale, { style: "currency", currency }).format(value);

export const when = (ms) => new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(ms);

export const timeOf = (ms) => new Intl.DateTimeFormat(locale, { timeStyle: "short" }).format(ms);
