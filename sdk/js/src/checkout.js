// <ws402-checkout server="https://host/" resource="ticker"></ws402-checkout>: a server's checkout page in a frame of one's own.

import { readTarget } from "./target.js";

/**
 * What the page tells; amounts are strings of smallest units.
 * @typedef {object} CheckoutEvents
 * @property {CustomEvent<{ sessionId: string, resource: string, name: string, paid: string, symbol: string, decimals: number, network: string }>} opened
 * @property {CustomEvent<{
 *   sessionId: string, paid: string, consumed: string, refund: string, refundId: string | null, exact: boolean, symbol: string,
 *   decimals: number, network: string,
 * }>} settled
 * @property {CustomEvent<{ sessionId: string, refundId: string, state: string, amount: string, txHash: string | null }>} refunded
 * @property {CustomEvent<{}>} closed
 */

const EVENTS = new Set(["opened", "settled", "refunded", "closed"]);
const STYLE = ":host { display: block; min-height: 46rem } iframe { border: 0; width: 100%; height: 100%; min-height: inherit }";

/** Where there is no page, such as on a server, the module can be loaded all the same. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * The checkout page of the server at `server`, which must have this site among its `embed_origins`. Attributes: `server`, `resource`,
 * `return-url` (of this site), `lang`. Events: `opened`, `settled`, `refunded`, `closed` (`CheckoutEvents`); they bubble.
 */
export class Ws402Checkout extends Base {
  static observedAttributes = ["server", "resource", "return-url", "lang"];
  /** @type {HTMLIFrameElement | null} */
  #frame = null;
  #origin = "";
  #placed = false;
  #hear = (/** @type {MessageEvent} */ event) => this.#heard(event);

  connectedCallback() {
    this.#placed = true;
    addEventListener("message", this.#hear);
    this.#draw();
  }

  disconnectedCallback() {
    this.#placed = false;
    removeEventListener("message", this.#hear);
    this.#frame?.remove();
    this.#frame = null;
  }

  /**
   * @param {string} _name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(_name, before, now) {
    if (this.#placed && before !== now) this.#draw();
  }

  /** Ends the session that runs in the frame, if one does; `settled` follows. */
  end() {
    this.#frame?.contentWindow?.postMessage({ ws402: 1, type: "end" }, this.#origin);
  }

  #draw() {
    const server = this.getAttribute("server");
    if (!server) {
      this.#frame?.remove();
      this.#frame = null;
      return;
    }
    const { base, origin } = readTarget(new URL(server, location.href));
    const url = new URL(base);
    url.searchParams.set("embed", location.origin);
    const [back, lang] = [this.getAttribute("return-url"), this.getAttribute("lang")];
    if (back && URL.canParse(back, location.href)) url.searchParams.set("return", new URL(back, location.href).href);
    if (lang) url.searchParams.set("lang", lang);
    url.hash = this.getAttribute("resource") ?? "";
    this.#origin = origin;
    const frame = document.createElement("iframe");
    frame.title = "Checkout";
    frame.allow = "clipboard-write";
    frame.referrerPolicy = "no-referrer";
    frame.src = url.href;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet(); // a policy of the site against inline styles does not stop it
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.replaceChildren(frame);
    this.#frame = frame;
  }

  /** @param {MessageEvent} event */
  #heard({ source, origin, data }) {
    if (!this.#frame || source !== this.#frame.contentWindow || origin !== this.#origin || data?.ws402 !== 1) return;
    if (!EVENTS.has(data.type)) return;
    this.dispatchEvent(new CustomEvent(data.type, { detail: data.detail, bubbles: true, composed: true }));
  }
}

if (globalThis.customElements && !customElements.get("ws402-checkout")) customElements.define("ws402-checkout", Ws402Checkout);
