#!/bin/sh
# Registers a callback URL, calls an operation, and follows its job, with curl alone.
#
#   RINGBACK_KEY=rb_… examples/curl.sh CALLBACK_URL [OPERATION] <DOCUMENT
#
# RINGBACK_URL is the gateway, http://127.0.0.1:8080 if it is not set. OPERATION is the
# path of one, /notify if it is not given.
set -eu
: "${RINGBACK_KEY:?is the key of an app; with --dev any text will do}"
url=${RINGBACK_URL:-http://127.0.0.1:8080} callback=$1 operation=${2:-/notify}

# The key goes through a pipe: arguments can be seen by everybody on the machine.
ask() {
	printf 'header = "Ringback-Key: %s"\n' "$RINGBACK_KEY" |
		curl --config - --silent --show-error --fail-with-body "$@"
}

# The same for what has to succeed; $answer is what was answered.
must() {
	answer=$(ask "$@") || {
		echo "$answer" >&2
		exit 1
	}
}

# PATCH where the endpoint is there from the last time.
ask --request PATCH --json "{\"url\": \"$callback\"}" "$url/v1/endpoints/curl" >/dev/null 2>&1 ||
	must --json "{\"name\": \"curl\", \"url\": \"$callback\"}" "$url/v1/endpoints"
must "$url/v1/endpoints/curl/secret"
echo "the secret to verify with: $answer"

# The document goes to a file, since it may have to be sent again. The key makes all
# attempts one call.
document=$(mktemp)
trap 'rm -f "$document"' EXIT
cat >"$document"
must --retry 5 --retry-connrefused --header "Idempotency-Key: $$-$(date +%s)" \
	--header 'Content-Type: application/octet-stream' --data-binary "@$document" \
	"$url$operation?callback=curl"
job=$(printf %s "$answer" | sed -n 's/.*"id": *"\(job_[^"]*\)".*/\1/p')
echo "accepted: $job"

# Ends when the job and its callback have come to their end.
ask --no-buffer "$url/v1/jobs/$job/events" | sed -n 's/^event: //p'
echo "the result:"
ask "$url/v1/jobs/$job/result"
