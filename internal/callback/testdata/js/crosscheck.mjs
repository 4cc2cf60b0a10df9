// Reads [{headers, body}], bodies in base64, from stdin. Answers on stdout with a list:
// what the SDK makes of each request, its data in base64 where they are octets.
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";

const events = JSON.parse(readFileSync(0, "utf8")).map(({ headers, body }) => {
  const event = HTTP.toEvent({ headers, body: Buffer.from(body ?? "", "base64").toString("utf8") });
  event.validate();
  const { id, type, source, subject, specversion, time, datacontenttype, dataref, data } = event;
  return { id, type, source, subject, specversion, time, datacontenttype, dataref, data };
});

process.stdout.write(JSON.stringify(events));
