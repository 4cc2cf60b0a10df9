package expression_test

import (
	"errors"
	"net/url"
	"testing"

	"github.com/ringback/ringback/internal/expression"
)

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"https%3A%2F%2Fa.example%2F", "a+b", "%zz", "%", "%e2%82%ac", "%ff", "a;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := expression.Unescape(s)
		want, wantErr := url.QueryUnescape(s)
		if err == nil && (wantErr != nil || got != want) {
			t.Fatalf("%q is %q, net/url says %q, %v", s, got, want, wantErr)
		}
	})
}

func TestOnlyWellFormedValuesAreDecoded(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https%3A%2F%2Fa.example%2F%250d": "https://a.example/%0d", "a+b": "a b", "%2B": "+", "a;b=1": "a;b=1", "%E2%82%AC": "€",
	} {
		if got, err := expression.Unescape(raw); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", raw, got, err, want)
		}
	}
	for raw, want := range map[string]error{
		"%zz": expression.ErrEscape, "%": expression.ErrEscape, "%4": expression.ErrEscape, "%ff%fe": expression.ErrNotUTF8, "%c0%80": expression.ErrNotUTF8, "\xff": expression.ErrNotEncoded, "a b": expression.ErrNotEncoded, "é": expression.ErrNotEncoded,
	} {
		if got, err := expression.Unescape(raw); !errors.Is(err, want) {
			t.Errorf("%q is %q, %v; want %v", raw, got, err, want)
		}
	}
}
