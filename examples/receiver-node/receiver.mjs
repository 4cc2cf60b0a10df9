// Is called back: verifies each callback with the official Standard Webhooks library,
// and handles it once. It is for the format envelope: the library takes a body for JSON
// and its octets for UTF-8, and refuses genuine callbacks that are neither, which
// node:crypto verifies (docs/receiving.md).
//
//   npm ci && RINGBACK_SECRET=whsec_… node receiver.mjs
//
// RINGBACK_SECRET is the secret of the endpoint, or the app's; PORT where to listen.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.RINGBACK_SECRET);
const maxBodyBytes = 4 << 20;

// Would be a table, written in the transaction that does the work.
const handled = new Set();

function handle({ type, data }) {
  console.log(type, data.job.id, JSON.stringify(data.result));
}

// Returns the status to answer with: 2xx settles the callback, else it is repeated.
async function receive(request) {
  const body = await read(request);
  if (body === null) return 413;
  if (!body.length) return 403; // v1 signs the body alone: the URL says what anybody likes
  try {
    // The bytes as they came: JSON that was parsed and written again is another body.
    webhook.verify(body, request.headers);
  } catch (err) {
    const reason = err instanceof SyntaxError ? "the body is no JSON: is the format envelope?" : err.message;
    console.error("refused:", reason);
    return 403;
  }
  const id = request.headers["webhook-id"];
  if (!handled.has(id)) handle(JSON.parse(body)); // else our first answer was lost
  handled.add(id);
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
