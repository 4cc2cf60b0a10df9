// Validates the OpenAPI document on standard input: its form against the schema of the
// OpenAPI Initiative, and with Redocly's linter what the form does not tell, such as
// examples that do not match their schemas. Prints what is wrong, a line each.
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { Validator } from "@seriousme/openapi-schema-validator";
import { text } from "node:stream/consumers";

const source = await text(process.stdin);
const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(source));
if (!valid) {
  for (const error of [errors].flat()) console.log("schema:", JSON.stringify(error));
} else if (validator.version !== "3.1") {
  console.log("schema: the version is", validator.version);
}

const config = await createConfig({
  extends: ["recommended-strict"],
  rules: {
    "no-invalid-media-type-examples": { severity: "error", allowAdditionalProperties: false },
    "no-invalid-parameter-examples": "error",
    "no-invalid-schema-examples": "error",
    "spec-components-invalid-map-name": "error",
    "operation-parameters-unique": "error",
    "path-params-defined": "error",
    // Problems are the default response, whatever their status.
    "operation-4xx-response": "off",
    // A gateway that is tried out runs on this machine.
    "no-server-example.com": "off",
  },
});
for (const { ruleId, message, location } of await lintFromString({ source, absoluteRef: "openapi.json", config })) {
  console.log(`${ruleId}: ${location.map((l) => l.pointer).join(" ")}: ${message}`);
}
