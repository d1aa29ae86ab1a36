// The page in the frame of another site, which the server's owner has named: `?embed=` is that site's origin, `?return=` where
// it wants its visitors back. Nothing is told to others, and no address of others is led to.

const asked = new URLSearchParams(location.search);
const allowed = (document.documentElement.dataset.embed ?? "").split(" ").filter(Boolean);
const site = parent !== window && allowed.includes(asked.get("embed")) ? asked.get("embed") : null;

/** Tells the site around the page what happened; amounts are strings of digits. */
export function report(type, detail = {}) {
  if (site) parent.postMessage({ ws402: 1, type, detail: whole(detail) }, site);
}

const whole = (detail) => Object.fromEntries(Object.entries(detail).map(([name, each]) => [name, typeof each === "bigint" ? String(each) : each]));

/** What is to be done when the site asks for the session's end. Answers how to ask no more. */
export function onEnd(act) {
  const hear = ({ source, origin, data }) => {
    if (site && source === parent && origin === site && data?.ws402 === 1 && data.type === "end") act();
  };
  addEventListener("message", hear);
  return () => removeEventListener("message", hear);
}

/** Where "Back to the shop" leads: what the site asked for if it is its own, else what the owner has set. */
export function backTo(own) {
  const wanted = asked.get("return");
  if (!site || !wanted || !URL.canParse(wanted)) return own;
  const { protocol, origin, href } = new URL(wanted); // a blob's origin is its site's, too
  return /^https?:$/.test(protocol) && origin === site ? href : own; // as it was read: "https:a" as a link is another address
}

/** "Back to the shop" leaves the frame. */
export function leavesFrame(link) {
  if (!site) return;
  link.target = "_top";
  link.addEventListener("click", () => report("closed"));
}
