package outbound

import (
	"strings"
	"testing"
)

func TestUsersMaySetOnlyTheirOwnHeaders(t *testing.T) {
	t.Parallel()
	reserved := `Host Content-Length Transfer-Encoding Connection Upgrade TE Trailer Keep-Alive Proxy-Authorization
		Proxy-Connection Expect Content-Type Content-Encoding Forwarded X-Forwarded-For Idempotency-Key
		webhook-id Webhook-Signature Signature Signature-Input Content-Digest Ringback-State ce-type traceparent tracestate`
	for name := range strings.FieldsSeq(reserved) {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if CheckHeader(spelling, "x") == nil {
				t.Errorf("%s is allowed", spelling)
			}
		}
	}
	for _, name := range []string{"", "a b", "a:b", "a\r\nb", "\u00e9", "a\x00"} {
		if CheckHeader(name, "x") == nil {
			t.Errorf("%q is allowed", name)
		}
	}
	for _, value := range []string{"secret\r\nA: b", "secret\n", "secret\x00", "\x1b[31msecret", "\x7fsecret"} {
		if err := CheckHeader("X-Tenant", value); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", value, err)
		}
	}
	for name, value := range map[string]string{"X-Tenant": "7", "Authorization": "Bearer x", "x-empty": "", "X-Tab": "a\tb", "X-Name": "\u00e9"} {
		if err := CheckHeader(name, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCheckHeader(f *testing.F) {
	f.Add("X-Tenant", "7")
	f.Add("X-A\r\nB", "a\r\nb")
	f.Fuzz(func(t *testing.T, name, value string) {
		if CheckHeader(name, value) == nil && strings.ContainsAny(name+value, "\r\n\x00") {
			t.Fatalf("%q: %q would break the header", name, value)
		}
	})
}
