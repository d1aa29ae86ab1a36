// What the page reads of its server, over real HTTP; run by `node --test`.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

const { resources, schema } = await import(new URL("../../../../app/ws402/server/static/js/api.js", import.meta.url).href);

let answer = null;
let asked = "";
const server = createServer((request, response) => {
  asked = request.url;
  answer(response);
});
const plain = globalThis.fetch;

before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  globalThis.fetch = (path, options) => plain(new URL(path, `http://127.0.0.1:${server.address().port}/`), options);
});

after(() => {
  server.closeAllConnections();
  server.close();
});

const says = (body, status = 200) => (response) => response.writeHead(status).end(body);

test("an answer is read, and the address says what is wanted", async () => {
  answer = says(JSON.stringify({ resources: [{ id: "a" }] }));
  assert.deepEqual(await resources(), [{ id: "a" }]);
  answer = says("{}");
  await schema("a b", 60, { sessionId: "s", token: "t" });
  assert.equal(asked, "/ws402/schema/a%20b?duration=60&sessionId=s&token=t");
});

test("an error has the server's words, or our own", async () => {
  answer = says(JSON.stringify({ message: "No.", remedy: "Wait.", code: "busy" }), 503);
  await assert.rejects(resources(), { message: "No.", remedy: "Wait.", code: "busy" });
  answer = says("<html>", 502);
  await assert.rejects(resources(), { message: "The server answered 502.", code: "http_502" });
  answer = says("<html>");
  await assert.rejects(resources(), { message: "The server’s answer cannot be read." });
});

test("a47 an answer without end is not read to its end", async () => {
  let sent = 0;
  answer = (response) => {
    const more = () => {
      while (!response.destroyed && sent < 2 ** 28) {
        sent += 65536;
        if (!response.write(" ".repeat(65536))) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
  };
  await assert.rejects(resources(), { message: "The server’s answer cannot be read." });
  assert.ok(sent < 2 ** 27, `${sent} bytes were taken`);
});
