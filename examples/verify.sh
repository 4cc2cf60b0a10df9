#!/bin/sh
# Verifies a callback with openssl alone. It exits with 0 if it is genuine.
#
#   RINGBACK_SECRET=whsec_… examples/verify.sh ID TIMESTAMP SIGNATURE <BODY
#
# The arguments are the headers webhook-id, webhook-timestamp and webhook-signature; the
# body is that of the request, to the byte.
set -eu
id=$1 timestamp=$2 signatures=$3

refuse() {
	echo "refused: $1" >&2
	exit 1
}

case $timestamp in '' | 0* | *[!0-9]* | ????????????*) refuse "webhook-timestamp is not a number of seconds" ;; esac
age=$(($(date +%s) - timestamp))
[ "${age#-}" -le 300 ] || refuse "webhook-timestamp is $age s in the past; is the clock right?"

case $RINGBACK_SECRET in whsec_*) ;; *) refuse "the secret does not begin with whsec_" ;; esac
key=$(printf %s "${RINGBACK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
hmac() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A; }

want=v1,$({ printf '%s.%s.' "$id" "$timestamp" && cat; } | hmac)
# v1 signs nothing but the body: without one, whoever has seen a callback could have changed it.
[ "$want" != "v1,$(printf '%s.%s.' "$id" "$timestamp" | hmac)" ] || refuse "there is no body, and v1 signs nothing else"
# During a rotation there are two. Their digests are compared, so that the time that it
# takes tells nothing.
set -f
for signature in $signatures; do
	if [ "$(printf %s "$signature" | hmac)" = "$(printf %s "$want" | hmac)" ]; then
		echo "genuine: $id"
		exit 0
	fi
done
refuse "no signature matches: another secret, or another body"
