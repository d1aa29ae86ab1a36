// What passed through a session's socket, as this end saw it.

export class Passed {
  constructor() {
    /** @type {Record<string, number>} */
    this.counts = { messages: 0, bytes: 0 }; // both ways
    this.unseen = false; // what was lost with a socket, we have not seen
    this.overHttp = false; // some bytes pass elsewhere
  }

  /**
   * A message of the session, either way.
   * @param {string | { byteLength: number }} data
   */
  count(data) {
    this.counts.messages += 1;
    this.counts.bytes += typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
  }

  /**
   * How many units may be charged for: as the server says, but of messages and bytes no more than passed here.
   * @param {Record<string, number>} said
   */
  allowed(said) {
    if (this.unseen) {
      this.unseen = false;
      for (const unit of Object.keys(this.counts)) this.counts[unit] = Math.max(this.counts[unit], said[unit] ?? 0);
    }
    const allowed = { ...said };
    for (const unit of Object.keys(this.counts)) {
      if (unit in allowed && !(unit === "bytes" && this.overHttp)) allowed[unit] = Math.min(allowed[unit], this.counts[unit]);
    }
    return allowed;
  }
}
