// Is called back in the format cloudevents-structured: verifies each callback with the
// official Standard Webhooks library, reads it with the official CloudEvents SDK, and
// handles it once. The binary format has attributes in headers, which only the RFC 9421
// signature covers.
//
//   npm ci && RINGBACK_SECRET=whsec_… node receiver.mjs
//
// RINGBACK_SECRET is the secret of the endpoint, or the app's; PORT where to listen.
import { createServer } from "node:http";
import { HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.RINGBACK_SECRET);
const maxBodyBytes = 4 << 20;

// Would be a table, written in the transaction that does the work.
const handled = new Set();

function handle(event) {
  console.log(event.type, event.subject, JSON.stringify(event.data));
}

// Returns the status to answer with: 2xx settles the callback, else it is repeated.
async function receive(request) {
  const body = await read(request);
  if (body === null) return 413;
  if (!body.length) return 403; // v1 signs the body alone
  try {
    // The bytes as they came: JSON that was parsed and written again is another body.
    webhook.verify(body, request.headers, { jsonParse: false });
  } catch (err) {
    console.error("refused:", err.message);
    return 403;
  }
  // Of the headers this one alone, which says no more than the body does.
  const headers = { "content-type": "application/cloudevents+json" };
  const event = HTTP.toEvent({ headers, body: body.toString() });
  event.validate();
  if (!handled.has(event.id)) handle(event); // else our first answer was lost
  handled.add(event.id);
  return 200;
}

// Reads the body; null where it is too large.
async function read(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > maxBodyBytes) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const server = createServer((request, response) =>
  receive(request)
    .catch((err) => {
      console.error(err);
      return 500;
    })
    .then((status) => response.writeHead(status).end()),
);
server.listen(process.env.PORT ?? 9999, "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/bar`);
});
