/** What went wrong, what to do about it, and a code for programs. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {string} [remedy]
   * @param {string} [code]
   */
  constructor(message, remedy = "", code = "") {
    super(message);
    this.remedy = remedy;
    this.code = code;
    /** @type {boolean | undefined} whether the same may work later */
    this.again = undefined;
  }
}
