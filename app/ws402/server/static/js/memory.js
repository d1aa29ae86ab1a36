// What must outlive a reload: payments that have opened no session yet, and sessions that can be gone on with.
// One entry each, so that tabs do not overwrite each other's.

const PAYMENT = "ws402.payment.";
const SESSION = "ws402.session.";
const OFFER = "ws402.offer.";
const RECEIPT = "ws402.receipt.";
const SHOWN = "ws402.shown";

const pack = (value) => JSON.stringify(value, (_, each) => (typeof each === "bigint" ? { big: each.toString() } : each));
const unpack = (text) => JSON.parse(text, (_, each) => (typeof each?.big === "string" ? BigInt(each.big) : each));

/** Entries under a prefix; `nameOf` tells one from another. A browser that keeps nothing: the page works until it is closed. */
function entries(prefix, nameOf) {
  return {
    all() {
      const found = [];
      try {
        for (const key of Object.keys(localStorage).filter((each) => each.startsWith(prefix)).sort()) {
          try {
            found.push(unpack(localStorage.getItem(key)));
          } catch {
            localStorage.removeItem(key); // not ours, or broken off: nothing can be made of it
          }
        }
      } catch {
        // no storage
      }
      return found;
    },
    set(value) {
      try {
        localStorage.setItem(prefix + nameOf(value), pack(value));
      } catch {
        // no storage
      }
    },
    drop(value) {
      try {
        localStorage.removeItem(prefix + nameOf(value));
      } catch {
        // no storage
      }
    },
  };
}

/** { offer, tx, from }; `tx` is null until the wallet has answered. */
export const payments = entries(PAYMENT, ({ offer }) => offer.reference);

/** Offers that are shown and not paid from here: somebody may pay them from another device. */
export const offers = entries(OFFER, ({ reference }) => reference);

/** What sessions cost: see `receipt.js`. */
export const receipts = entries(RECEIPT, ({ id }) => id);

/** The offer that this very tab shows: a reload goes on with it. */
export const shown = {
  get() {
    try {
      return unpack(sessionStorage.getItem(SHOWN));
    } catch {
      return null;
    }
  },
  set(offer) {
    try {
      if (offer) sessionStorage.setItem(SHOWN, pack(offer));
      else sessionStorage.removeItem(SHOWN);
    } catch {
      // no storage
    }
  },
};

/** { id, token, socketUrl, resourceId, paid, price, began } and what `use` is told about it. */
export const sessions = entries(SESSION, ({ id }) => id);

/** A payment for this resource that was sent and not used yet. */
export const unused = (resourceId) => payments.all().find(({ offer, tx }) => tx && offer.resourceId === resourceId);

/** Takes over what an earlier version of this page kept in one place for all. */
export function upgrade() {
  for (const [key, keep] of [["ws402.payment", payments.set], ["ws402.session", (left) => sessions.set({ id: "before", ...left })]]) {
    try {
      const text = localStorage.getItem(key);
      if (text === null) continue;
      localStorage.removeItem(key);
      keep(unpack(text));
    } catch {
      // no storage, or nothing that can be read
    }
  }
}
