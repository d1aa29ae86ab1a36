// Base58, as Solana spells keys and signatures.

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** @param {Uint8Array} bytes */
export function encode(bytes) {
  let value = 0n;
  for (const each of bytes) value = value * 256n + BigInt(each);
  let text = "";
  for (; value; value /= 58n) text = ALPHABET[Number(value % 58n)] + text;
  const zeros = bytes.findIndex((each) => each !== 0);
  return ALPHABET[0].repeat(zeros < 0 ? bytes.length : zeros) + text;
}

/**
 * The bytes; null for what is not base58.
 * @param {unknown} text
 */
export function decode(text) {
  if (typeof text !== "string" || text.length > 200) return null;
  let value = 0n;
  for (const each of text) {
    const digit = ALPHABET.indexOf(each);
    if (digit < 0) return null;
    value = value * 58n + BigInt(digit);
  }
  /** @type {number[]} */
  const bytes = [];
  for (; value; value /= 256n) bytes.unshift(Number(value % 256n));
  const ones = [...text].findIndex((each) => each !== ALPHABET[0]);
  return new Uint8Array([...new Array(ones < 0 ? text.length : ones).fill(0), ...bytes]);
}

/**
 * The 32 bytes of a key; null for what is none.
 * @param {unknown} text
 */
export function key(text) {
  const bytes = decode(text);
  return bytes?.length === 32 ? bytes : null;
}
