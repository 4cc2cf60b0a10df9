package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestIdempotencyKeyIsAStructuredStringOrBare(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", maxKeyChars)
	for sent, want := range map[string]string{
		"k-1": "k-1", `"k-1"`: "k-1", `"a b, c; d"`: "a b, c; d", `"a\"b\\c"`: `a"b\c`, "order:7/a+b=": "order:7/a+b=",
		long: long, `"` + long + `"`: long,
	} {
		if got, p := readIdempotencyKey(http.Header{"Idempotency-Key": {sent}}); p != nil || got != want {
			t.Errorf("%.40q is %.40q, %v; want %.40q", sent, got, p, want)
		}
	}
	if got, p := readIdempotencyKey(http.Header{}); got != "" || p != nil {
		t.Errorf("no key is %q, %v", got, p)
	}
}

func TestMalformedIdempotencyKeyIsRefused(t *testing.T) {
	t.Parallel()
	for _, values := range [][]string{
		{""}, {`""`}, {`"never closed`}, {`"`}, {`"a"b`}, {`"a";x=1`}, {`"a\n"`}, {`"a\`}, {"a b"}, {"a,b"}, {"a;b"}, {`a"b`}, {`a\b`},
		{"a\x01b"}, {"\"a\x01\""}, {"schlüssel"}, {`"schlüssel"`}, {"a\x7fb"},
		{strings.Repeat("k", maxKeyChars+1)}, {`"` + strings.Repeat("k", maxKeyChars+1) + `"`}, {"a", "a"},
	} {
		if got, p := readIdempotencyKey(http.Header{"Idempotency-Key": values}); p == nil || p.Code != "idempotency_key_invalid" {
			t.Errorf("%.40q is taken for %.40q, %v", values, got, p)
		}
	}
}

func FuzzParseIdempotencyKey(f *testing.F) {
	for _, s := range []string{"k", `"k"`, `"a\"b"`, `"`, `"\`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, ok := parseIdempotencyKey(s)
		if !ok {
			return
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := parseIdempotencyKey(quoted); !ok || again != key {
			t.Fatalf("%q is %q, which is written %q and read as %q, %v", s, key, quoted, again, ok)
		}
	})
}

func TestFingerprintChangesWithWhatARequestSays(t *testing.T) {
	t.Parallel()
	op := &operation{readHeaders: []string{"X-Answer-To"}}
	sum := func(method, target string, headers ...string) string {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
		return string(op.newFingerprint(r, rawPath(r)).Sum(nil))
	}
	seen := map[string]bool{}
	for _, s := range []string{
		sum("POST", "/scan"), sum("PUT", "/scan"), sum("POST", "/scan?a=1"), sum("POST", "/scan%3Fa=1"), sum("POST", "/scan?"),
		sum("POST", "/scan?a=1&callbackURL=x"), sum("POST", "/scan", "X-Callback", "x"), sum("POST", "/scan", "X-Callback-State", "x"),
		sum("POST", "/scan", "Content-Type", "x"), sum("POST", "/scan", "X-Answer-To", "x"),
	} {
		seen[s] = true
	}
	if len(seen) != 9 { // "/scan" and "/scan?" have the same path and query
		t.Errorf("%d fingerprints, want 9", len(seen))
	}
	if sum("POST", "/scan") != sum("POST", "/scan", "User-Agent", "x", "Traceparent", "y") {
		t.Error("a header that means nothing changes the fingerprint")
	}
}
