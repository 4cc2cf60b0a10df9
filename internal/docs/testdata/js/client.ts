// A program with a client that was generated from /openapi.json: it registers an
// endpoint, calls an operation, and follows its job. It prints what it learned.
//
//   node client.js GATEWAY CALLBACK_URL
import createClient from "openapi-fetch";
import type { paths, webhooks } from "./schema.js";

declare const process: { argv: string[]; stdin: AsyncIterable<Uint8Array> };

const [, , baseUrl, callbackURL] = process.argv as [string, string, string, string];
const gateway = createClient<paths>({ baseUrl });

const endpoint = await gateway.POST("/v1/endpoints", { body: { name: "mine", url: callbackURL, events: ["succeeded"] } });
if (endpoint.error) throw new Error(endpoint.error.code);

const accepted = await gateway.POST("/notify", {
  params: { query: { callback: endpoint.data.name, callbackState: "order-7" }, header: { "Idempotency-Key": "one" } },
  body: { order: 7 },
});
if (accepted.error) throw new Error(accepted.error.code);

const job = await gateway.GET("/v1/jobs/{id}", { params: { path: { id: accepted.data.id }, query: { wait: 10 } } });
if (job.error) throw new Error(job.error.code);

const unknown = await gateway.GET("/v1/jobs/{id}", { params: { path: { id: "job_00000000000000000000000000" } } });
const code: string | undefined = unknown.error?.code;

// @ts-expect-error: an operation that is not configured has no types
void gateway.POST("/nothing", {}).catch(() => undefined);

// What arrives is typed, too.
type Succeeded = webhooks["notify.succeeded"]["post"]["requestBody"]["content"]["application/json"];

let text = "";
const decoder = new TextDecoder();
for await (const part of process.stdin) text += decoder.decode(part, { stream: true });
const message: Succeeded = JSON.parse(text);

console.log(JSON.stringify({ id: accepted.data.id, status: job.data.status, code, type: message.type, job: message.data.job.id, state: message.data.state }));
