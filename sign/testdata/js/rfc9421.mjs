// Reads {keys: [{id, alg, key}], received: [request], send: [{id, request}]} from
// stdin; a key is the base64 of the shared secret, or of an Ed25519 public key (SPKI) or
// private key (PKCS #8). Answers on stdout with {verdicts, sent}: whether each received
// request verifies, and the headers of each request that was to be signed.
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSigner, createVerifier, httpbis } from "http-message-signatures";

const { keys, received = [], send = [] } = JSON.parse(readFileSync(0, "utf8"));

const bytes = ({ key }) => Buffer.from(key, "base64");
const verifying = (k) =>
  k.alg === "ed25519" ? createPublicKey({ key: bytes(k), format: "der", type: "spki" }) : bytes(k);

const keyLookup = async ({ keyid }) => {
  const k = keys.find(({ id }) => id === keyid);
  return k && { id: k.id, algs: [k.alg], verify: createVerifier(verifying(k), k.alg) };
};

const verdicts = [];
for (const request of received) {
  try {
    verdicts.push(String(await httpbis.verifyMessage({ keyLookup, all: true }, request)));
  } catch (err) {
    verdicts.push(err.message);
  }
}

const sent = [];
for (const { id, alg, key, request } of send) {
  const secret = alg === "ed25519"
    ? createPrivateKey({ key: bytes({ key }), format: "der", type: "pkcs8" })
    : bytes({ key });
  const { headers } = await httpbis.signMessage({
    key: createSigner(secret, alg, id),
    name: "theirs",
    fields: ["@method", "@target-uri", "content-type", "content-digest", "webhook-id"],
    params: ["created", "keyid", "alg", "tag"],
    paramValues: { tag: "ringback" },
  }, request);
  sent.push(headers);
}

process.stdout.write(JSON.stringify({ verdicts, sent }));
