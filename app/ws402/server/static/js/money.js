// Amounts are BigInt, in an asset's smallest unit. JSON has them as numbers up to 2^53-1 and as strings above.

/**
 * Reads an amount of the wire; throws for what is no whole number.
 * @param {unknown} value
 */
export function amount(value) {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  if (typeof value === "string" && /^[0-9]{1,78}$/.test(value)) return BigInt(value);
  throw new TypeError("not an amount");
}

/**
 * Whole coins, exactly, without trailing zeros: 1500000n, 6 -> "1.5".
 * @param {bigint} units
 * @param {number} decimals
 */
export function coins(units, decimals) {
  const digits = units.toString().padStart(decimals + 1, "0");
  const whole = decimals ? digits.slice(0, -decimals) : digits;
  const part = decimals ? digits.slice(-decimals).replace(/0+$/, "") : "";
  return part ? `${whole}.${part}` : whole;
}

/**
 * For the eye: at most `places` significant decimals; exact amounts are shown where money is decided.
 * @param {bigint} units
 * @param {number} decimals
 */
export function short(units, decimals, places = 6) {
  const [whole, part = ""] = coins(units, decimals).split(".");
  if (!part) return whole;
  const zeros = part.length - part.replace(/^0+/, "").length;
  const keep = whole === "0" ? zeros + places : places;
  const cut = part.slice(0, keep).replace(/0+$/, "");
  return cut ? `${whole}.${cut}` : whole;
}

/**
 * 65 -> "1:05", 3661 -> "1:01:01".
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${String(minutes).padStart(hours ? 2 : 1, "0")}:${String(rest).padStart(2, "0")}`;
  return hours ? `${hours}:${tail}` : tail;
}
