// How large the package is in a browser's bundle: all that `@ws402/client` exports, minified.

import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const { outputFiles: [{ contents }] } = await build({
  stdin: { contents: 'export * from "@ws402/client";', resolveDir: import.meta.dirname ?? new URL(".", import.meta.url).pathname },
  bundle: true, minify: true, format: "esm", platform: "browser", write: false,
});
console.log(`${(contents.length / 1000).toFixed(1)} kB, ${(gzipSync(contents, { level: 9 }).length / 1000).toFixed(1)} kB by gzip`);
