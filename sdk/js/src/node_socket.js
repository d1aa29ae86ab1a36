// A WebSocket for Node 20, which has none of its own: RFC 6455 over Node's HTTP, no extensions, as much of the browsers'
// interface as a session needs.

import { createHash, randomBytes } from "node:crypto";
import { request as overHttp } from "node:http";
import { request as overHttps } from "node:https";
import { isUtf8 } from "node:buffer";
import { BINARY, CLOSE, FrameError, FrameReader, PING, PONG, TEXT, frame } from "./frames.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, section 1.3
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const OPEN_MS = 30_000;
const CLOSE_MS = 5_000;
const LOST = 1006;
const NO_CODE = 1005;

export class NodeSocket {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;

  readyState = NodeSocket.CONNECTING;
  binaryType = "arraybuffer";
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: { data: string | ArrayBuffer }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;
  #reader = new FrameReader(MAX_MESSAGE_BYTES);
  #code = LOST;
  #reason = "";
  #request;
  /** @type {import("node:stream").Duplex | null} */
  #socket = null;

  /** @param {string | URL} address */
  constructor(address) {
    const url = new URL(address);
    if (!/^wss?:$/.test(url.protocol)) throw new SyntaxError(`'${url.protocol}' is no scheme of a WebSocket`);
    const secure = url.protocol === "wss:";
    const key = randomBytes(16).toString("base64");
    this.#request = (secure ? overHttps : overHttp)({
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (secure ? 443 : 80),
      path: url.pathname + url.search,
      agent: false,
      headers: {
        host: url.host, connection: "Upgrade", upgrade: "websocket", "sec-websocket-key": key, "sec-websocket-version": "13",
      },
    });
    const accept = createHash("sha1").update(key + GUID).digest("base64");
    this.#request.setTimeout(OPEN_MS, () => this.#request.destroy());
    this.#request.on("upgrade", ({ headers }, socket, head) => {
      if (headers["sec-websocket-accept"] !== accept || headers["sec-websocket-extensions"]) socket.destroy();
      this.#opened(socket, head);
    });
    this.#request.on("response", () => this.#request.destroy());
    this.#request.on("error", () => {}); // `close` follows
    this.#request.on("close", () => {
      if (!this.#socket) this.#closed();
    });
    this.#request.end();
  }

  /** @param {string | ArrayBuffer | Uint8Array} data */
  send(data) {
    if (this.readyState !== NodeSocket.OPEN) return;
    if (typeof data === "string") this.#write(TEXT, Buffer.from(data));
    else this.#write(BINARY, data instanceof ArrayBuffer ? new Uint8Array(data) : data);
  }

  /**
   * @param {number} [code]
   * @param {string} [reason]
   */
  close(code = 1000, reason = "") {
    if (this.readyState === NodeSocket.CONNECTING) this.#request.destroy();
    else if (this.readyState === NodeSocket.OPEN) this.#leave(code, reason);
  }

  /**
   * @param {import("node:stream").Duplex} socket
   * @param {Buffer} head
   */
  #opened(socket, head) {
    this.#socket = socket;
    /** @type {import("node:net").Socket} */ (socket).setTimeout(0);
    socket.on("data", (bytes) => this.#take(bytes));
    socket.on("error", () => {}); // `close` follows
    socket.on("end", () => socket.end());
    socket.on("close", () => this.#closed());
    if (socket.destroyed) return;
    this.readyState = NodeSocket.OPEN;
    this.onopen?.();
    if (head.length) this.#take(head);
  }

  /** @param {Buffer} bytes */
  #take(bytes) {
    this.#reader.push(bytes);
    try {
      for (let found = this.#reader.next(); found; found = this.#reader.next()) this.#hear(found);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#code = error.code;
      this.#reason = error.message;
      this.#leave(error.code, error.message);
      this.#socket?.end();
    }
  }

  /** @param {{ opcode: number, payload: Buffer }} found */
  #hear({ opcode, payload }) {
    if (opcode === PING) this.#write(PONG, payload);
    else if (opcode === CLOSE) {
      this.#code = payload.length >= 2 ? payload.readUInt16BE(0) : NO_CODE;
      this.#reason = payload.subarray(2).toString();
      if (this.readyState === NodeSocket.OPEN) this.#write(CLOSE, payload.subarray(0, 2));
      this.readyState = NodeSocket.CLOSING;
      this.#socket?.end();
      this.#hurry();
    } else if (opcode !== PONG && this.readyState === NodeSocket.OPEN) {
      if (opcode === TEXT && !isUtf8(payload)) throw new FrameError(1007, "a text that is none");
      this.onmessage?.({ data: opcode === TEXT ? payload.toString() : new Uint8Array(payload).buffer });
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #leave(code, reason) {
    const text = Buffer.from(reason).subarray(0, 123);
    const payload = Buffer.alloc(2 + text.length);
    payload.writeUInt16BE(code, 0);
    payload.set(text, 2);
    this.#write(CLOSE, payload);
    this.readyState = NodeSocket.CLOSING;
    this.#hurry();
  }

  /** The other end has so long to close. */
  #hurry() {
    setTimeout(() => this.#socket?.destroy(), CLOSE_MS).unref();
  }

  /**
   * @param {number} opcode
   * @param {Uint8Array} payload
   */
  #write(opcode, payload) {
    if (this.#socket?.writable) this.#socket.write(frame(opcode, payload));
  }

  #closed() {
    if (this.readyState === NodeSocket.CLOSED) return;
    this.readyState = NodeSocket.CLOSED;
    this.onclose?.({ code: this.#code, reason: this.#reason });
  }
}
