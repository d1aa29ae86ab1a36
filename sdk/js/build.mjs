// Makes dist/: our modules, those of the checkout page that they import, and the types of all. There is one source of each:
// the page's modules are in the server's package, which serves them.

import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const OURS = join(here, "src");
const SHARED = join(root, "app/ws402/server/static");
const DIST = join(here, "dist");
const ENTRIES = ["index.js", "checkout.js", "node.js", "socket.js", "socket.node.js"];

/** Modules whose names begin with js/ are the page's. */
const source = (name) => join(name.startsWith("js/") ? SHARED : OURS, name);

const found = new Set(ENTRIES);
for (const name of found) {
  const text = await readFile(source(name), "utf8");
  for (const [, wanted] of text.matchAll(/(?:from |import |import\()"(\.[^"]+)"/g)) found.add(posix.join(posix.dirname(name), wanted));
}

await rm(DIST, { recursive: true, force: true });
for (const name of found) {
  await mkdir(dirname(join(DIST, name)), { recursive: true });
  await copyFile(source(name), join(DIST, name));
}
await copyFile(join(root, "LICENSE"), join(here, "LICENSE"));
execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
