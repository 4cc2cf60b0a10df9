// Reads {secret, received: [{headers, body}], send: [{id, timestamp, body}]} from
// stdin. Answers on stdout with {verdicts, signatures}: for each received message
// "ok" or what the library objects to, and the signature of each message to send.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, received = [], send = [] } = JSON.parse(readFileSync(0, "utf8"));
const webhook = new Webhook(secret);

const verdicts = received.map(({ headers, body }) => {
  try {
    webhook.verify(body, headers, { jsonParse: false });
    return "ok";
  } catch (err) {
    return err.message;
  }
});
const signatures = send.map(({ id, timestamp, body }) =>
  webhook.sign(id, new Date(timestamp * 1000), body),
);

process.stdout.write(JSON.stringify({ verdicts, signatures }));
