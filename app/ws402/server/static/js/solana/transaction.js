// The transaction that pays an offer on Solana: one transfer with the reference among its accounts, a memo before it.

import { encode, key } from "./base58.js";

const SYSTEM = "11111111111111111111111111111111";
const MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";
const TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
const TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb";
const ASSOCIATED = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL";
const TRANSFER = 2; // of the system program
const TRANSFER_CHECKED = 12; // of both token programs

const P = 2n ** 255n - 19n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n; // of edwards25519 (RFC 8032)
const utf8 = new TextEncoder();

export const PROGRAMS = new Set([TOKEN, TOKEN_2022]);

/** @type {(value: bigint | number, size: number) => Uint8Array<ArrayBuffer>} */
const little = (value, size) => Uint8Array.from({ length: size }, (_, at) => Number((BigInt(value) >> BigInt(8 * at)) & 255n));
/** @param {...Iterable<number>} parts */
const joined = (...parts) => new Uint8Array(parts.flatMap((each) => [...each]));

/** @param {string} address */
function bytesOf(address) {
  const bytes = key(address);
  if (!bytes) throw new TypeError("not a key of Solana");
  return bytes;
}

/**
 * @param {bigint} base
 * @param {bigint} exponent
 */
function power(base, exponent) {
  let result = 1n;
  for (let square = base % P, rest = exponent; rest; rest >>= 1n, square = (square * square) % P) {
    if (rest & 1n) result = (result * square) % P;
  }
  return result;
}

/**
 * Whether 32 bytes are a point of the curve, that is, may have a private key.
 * @param {Uint8Array} bytes
 */
export function isOnCurve(bytes) {
  const y = [...bytes].reduceRight((value, each) => value * 256n + BigInt(each), 0n) & (2n ** 255n - 1n);
  const square = (y * y) % P;
  const x = ((square + P - 1n) * power((D * square + 1n) % P, P - 2n)) % P; // x²
  return x === 0n || power(x, (P - 1n) / 2n) === 1n;
}

/**
 * The associated token account of an owner: the first address of its seeds that no key can sign for.
 * @param {string} owner
 * @param {string} mint
 * @param {string} program
 */
export async function tokenAccount(owner, mint, program) {
  for (let bump = 255; bump >= 0; bump--) {
    const seeds = joined(bytesOf(owner), bytesOf(program), bytesOf(mint), [bump], bytesOf(ASSOCIATED), utf8.encode("ProgramDerivedAddress"));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", seeds));
    if (!isOnCurve(hash)) return encode(hash);
  }
  throw new Error("there is no such account");
}

/**
 * @typedef {{ address: string, writable: boolean, signer: boolean }} AccountRole
 * @typedef {{ program: string, accounts: AccountRole[], data: Uint8Array }} Instruction
 */

/** @type {(address: string, writable?: boolean, signer?: boolean) => AccountRole} */
const account = (address, writable = false, signer = false) => ({ address, writable, signer });

/**
 * @param {import("../offer.js").SolanaOffer} offer
 * @param {string} payer
 * @returns {Promise<Instruction>}
 */
async function transfer({ units, recipient, token, tokenProgram, decimals, reference }, payer) {
  const last = account(reference);
  if (!token) {
    const accounts = [account(payer, true, true), account(recipient, true), last];
    return { program: SYSTEM, accounts, data: joined(little(TRANSFER, 4), little(units, 8)) };
  }
  if (!tokenProgram) throw new TypeError("a token without its program");
  const [from, to] = await Promise.all([payer, recipient].map((owner) => tokenAccount(owner, token, tokenProgram)));
  const accounts = [account(from, true), account(token), account(to, true), account(payer, false, true), last];
  return { program: tokenProgram, accounts, data: joined([TRANSFER_CHECKED], little(units, 8), [decimals]) };
}

/**
 * Lengths in seven bits a byte.
 * @param {number} value
 */
function length(value) {
  const bytes = [];
  for (; value > 127; value >>= 7) bytes.push((value & 127) | 128);
  return [...bytes, value];
}

/**
 * The message that `payer` signs (the format without version): keys by their rights, the payer first.
 * @param {Instruction[]} instructions
 * @param {string} payer
 * @param {string} blockhash
 */
function compile(instructions, payer, blockhash) {
  const rights = new Map([[payer, { writable: true, signer: true }]]);
  for (const { program, accounts } of instructions) {
    for (const { address, writable, signer } of [...accounts, account(program)]) {
      const known = rights.get(address) ?? { writable: false, signer: false };
      rights.set(address, { writable: known.writable || writable, signer: known.signer || signer });
    }
  }
  /** @param {{ writable: boolean, signer: boolean }} rights */
  const rank = ({ writable, signer }) => (signer ? 0 : 2) + (writable ? 0 : 1);
  const keys = [...rights].sort(([, one], [, two]) => rank(one) - rank(two)); // the payer stays first: sorting is stable
  /** @type {(signer: boolean, writable: boolean) => number} */
  const count = (signer, writable) => keys.filter(([, each]) => each.signer === signer && each.writable === writable).length;
  const order = keys.map(([address]) => address);
  return joined(
    [count(true, true) + count(true, false), count(true, false), count(false, false)],
    length(keys.length),
    ...keys.map(([address]) => bytesOf(address)),
    bytesOf(blockhash),
    length(instructions.length),
    ...instructions.map(({ program, accounts, data }) =>
      joined([order.indexOf(program)], length(accounts.length), accounts.map(({ address }) => order.indexOf(address)), length(data.length), data),
    ),
  );
}

/**
 * The message of an offer's payment.
 * @param {import("../offer.js").SolanaOffer} offer
 * @param {string} payer
 * @param {string} blockhash
 */
export async function paymentMessage(offer, payer, blockhash) {
  const memo = offer.memo ? [{ program: MEMO, accounts: [], data: utf8.encode(offer.memo) }] : [];
  return compile([...memo, await transfer(offer, payer)], payer, blockhash);
}

/**
 * A transaction with one signature; without one, what a wallet is to sign.
 * @param {Uint8Array} message
 */
export const transaction = (message, signature = new Uint8Array(64)) => joined([1], signature, message);
