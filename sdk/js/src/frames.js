// Frames of a WebSocket (RFC 6455, section 5), as a client reads and writes them.

import { randomBytes } from "node:crypto";

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** What a server did wrong, with the code to close with. */
export class FrameError extends Error {
  /**
   * @param {number} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * A whole frame, masked as a client's must be.
 * @param {number} opcode
 * @param {Uint8Array} payload
 */
export function frame(opcode, payload) {
  const size = payload.length;
  const extra = size < 126 ? 0 : size < 65_536 ? 2 : 8;
  const made = Buffer.allocUnsafe(6 + extra + size);
  made[0] = 0x80 | opcode;
  made[1] = 0x80 | (extra === 0 ? size : extra === 2 ? 126 : 127);
  if (extra === 2) made.writeUInt16BE(size, 2);
  if (extra === 8) made.writeBigUInt64BE(BigInt(size), 2);
  const start = 6 + extra;
  const mask = randomBytes(4);
  made.set(mask, start - 4);
  for (let at = 0; at < size; at++) made[start + at] = /** @type {number} */ (payload[at]) ^ /** @type {number} */ (mask[at & 3]);
  return made;
}

/** Takes bytes as they come, and gives whole messages and control frames. */
export class FrameReader {
  /** @type {Buffer[]} */
  #parts = [];
  #size = 0;
  #opcode = 0;
  /** @type {Buffer[]} */
  #message = [];
  #messageSize = 0;
  #limit;

  /** @param {number} limit bytes of one message */
  constructor(limit) {
    this.#limit = limit;
  }

  /** @param {Buffer} bytes */
  push(bytes) {
    this.#parts.push(bytes);
    this.#size += bytes.length;
  }

  /**
   * The next message or control frame; null where more bytes are needed. Throws FrameError.
   * @returns {{ opcode: number, payload: Buffer } | null}
   */
  next() {
    for (;;) {
      const found = this.#frame();
      if (!found) return null;
      const { final, opcode, payload } = found;
      if (opcode >= CLOSE) return { opcode, payload };
      if ((opcode === 0) !== (this.#opcode !== 0)) throw new FrameError(1002, "a message within another");
      if (opcode) this.#opcode = opcode;
      this.#message.push(payload);
      this.#messageSize += payload.length;
      if (!final) continue;
      const message = { opcode: this.#opcode, payload: Buffer.concat(this.#message) };
      this.#message = [];
      this.#opcode = this.#messageSize = 0;
      return message;
    }
  }

  #frame() {
    if (this.#size < 2) return null;
    const head = this.#peek(Math.min(this.#size, 10));
    const [first = 0, second = 0] = head;
    const opcode = first & 15;
    const final = (first & 0x80) !== 0;
    let size = second & 127;
    if (first & 0x70 || second & 0x80 || ![0, TEXT, BINARY, CLOSE, PING, PONG].includes(opcode)) throw new FrameError(1002, "no frame of a server");
    if (opcode >= CLOSE && (size > 125 || !final)) throw new FrameError(1002, "a control frame that is too long");
    const start = size === 126 ? 4 : size === 127 ? 10 : 2;
    if (head.length < start) return null;
    if (size === 126) size = head.readUInt16BE(2);
    else if (size === 127) size = Number(head.readBigUInt64BE(2));
    if (opcode < CLOSE && this.#messageSize + size > this.#limit) throw new FrameError(1009, `a message of more than ${this.#limit} bytes`);
    if (this.#size < start + size) return null;
    const whole = this.#peek(start + size);
    this.#size -= whole.length;
    const rest = /** @type {Buffer} */ (this.#parts[0]).subarray(whole.length);
    if (rest.length) this.#parts[0] = rest;
    else this.#parts.shift();
    return { final, opcode, payload: whole.subarray(start) };
  }

  /**
   * So many bytes, of which there are enough, in one part.
   * @param {number} size
   */
  #peek(size) {
    if (/** @type {Buffer} */ (this.#parts[0]).length < size) this.#parts = [Buffer.concat(this.#parts)];
    return /** @type {Buffer} */ (this.#parts[0]).subarray(0, size);
  }
}
