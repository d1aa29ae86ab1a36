// What only Node has: a folder that payments and payees are kept in.

import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * A file an entry in a folder that only its owner may read. Several processes may use it.
 * @param {string} folder
 * @returns {import("./store.js").Storage}
 */
export function folderStorage(folder) {
  const path = (/** @type {string} */ name) => join(folder, `${encodeURIComponent(name)}.json`);
  return {
    async getItem(name) {
      return readFile(path(name), "utf8").catch((error) => {
        if (error.code === "ENOENT") return null;
        throw error;
      });
    },
    async setItem(name, text) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const draft = `${path(name)}.${process.pid}.${Math.random().toString(36).slice(2)}`;
      await writeFile(draft, text, { mode: 0o600, flush: true });
      await rename(draft, path(name));
    },
    async removeItem(name) {
      await rm(path(name), { force: true });
    },
    async names() {
      const files = await readdir(folder).catch((error) => {
        if (error.code === "ENOENT") return [];
        throw error;
      });
      return files.filter((each) => each.endsWith(".json")).map((each) => decodeURIComponent(each.slice(0, -5)));
    },
  };
}
