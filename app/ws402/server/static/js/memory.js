// What must outlive a reload: a payment that has opened no session yet, and a session that can be gone on with.

const PAYMENT = "ws402.payment";
const SESSION = "ws402.session";

const pack = (value) => JSON.stringify(value, (_, each) => (typeof each === "bigint" ? { big: each.toString() } : each));
const unpack = (text) => JSON.parse(text, (_, each) => (typeof each?.big === "string" ? BigInt(each.big) : each));

function read(key) {
  try {
    const text = localStorage.getItem(key);
    return text ? unpack(text) : null;
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, pack(value));
  } catch {
    // A browser that keeps nothing: the page works until it is closed.
  }
}

/** { offer, tx, from, name }; `tx` is null until the wallet has answered. */
export const payment = { get: () => read(PAYMENT), set: (value) => write(PAYMENT, value) };

/** { token, socketUrl, resourceId, paid, price, began } and what `use` is told about it. */
export const session = { get: () => read(SESSION), set: (value) => write(SESSION, value) };
