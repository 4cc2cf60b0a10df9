package sign_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ringback/ringback/sign"
)

func encode(prefix string, size int) string {
	return prefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, size))
}

func TestParseSecretAccepts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"vector A":           secretA,
		"vector B":           secretB,
		"vector K, private":  privateK,
		"vector K, public":   publicK,
		"shared of 24 bytes": encode("whsec_", 24),
		"shared of 64 bytes": encode("whsec_", 64),
	} {
		if got := parse(t, text).Reveal(); got != text {
			t.Errorf("%s: revealed %q, want %q", name, got, text)
		}
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()
	foreignHalf := privateK[:len(privateK)-4] + "vA=="
	for name, text := range map[string]string{
		"empty":                            "",
		"prefix alone":                     "whsec_",
		"no prefix":                        strings.TrimPrefix(secretA, "whsec_"),
		"other prefix":                     "sk_" + strings.TrimPrefix(secretA, "whsec_"),
		"prefix in capitals":               strings.Replace(secretA, "whsec_", "WHSEC_", 1),
		"shared of 23 bytes":               encode("whsec_", 23),
		"shared of 65 bytes":               encode("whsec_", 65),
		"no padding":                       strings.TrimRight(publicK, "="),
		"URL alphabet":                     strings.ReplaceAll(secretB, "+", "-"),
		"not base64":                       "whsec_!!!!",
		"line break at the end":            secretA + "\n",
		"line break inside":                secretA[:20] + "\n" + secretA[20:],
		"stray bits at the end":            strings.TrimSuffix(encode("whsec_", 25), "Bw==") + "Bx==",
		"private: seed alone":              encode("whsk_", 32),
		"private: halves that disagree":    foreignHalf,
		"private key with a public prefix": strings.Replace(privateK, "whsk_", "whpk_", 1),
		"public of 31 bytes":               encode("whpk_", 31),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := sign.ParseSecret(text)
			if !errors.Is(err, sign.ErrSecret) {
				t.Fatalf("error %v, want %v", err, sign.ErrSecret)
			}
			if !got.IsZero() {
				t.Error("a refused secret is handed out")
			}
			if len(text) > 10 && strings.Contains(err.Error(), strings.TrimSpace(text)[6:]) {
				t.Errorf("the error quotes the secret: %v", err)
			}
		})
	}
}

func TestNewSecretHolds32BytesAndIsNeverTheSame(t *testing.T) {
	t.Parallel()
	first, second := sign.NewSecret(), sign.NewSecret()
	if first.Reveal() == second.Reveal() {
		t.Error("two new secrets are the same")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(first.Reveal(), "whsec_"))
	if err != nil || len(raw) != 32 {
		t.Errorf("%d bytes, error %v, want 32 bytes", len(raw), err)
	}
	m := messageM()
	if _, err := sign.Verify(signed(t, m, first), m.Body, m.Timestamp, parse(t, first.Reveal())); err != nil {
		t.Errorf("signed by a new secret, verified by its parsed text: %v", err)
	}
}

// holder is what a configuration or a row looks like: fmt does not call the methods
// of unexported fields.
type holder struct {
	Name   string
	Shown  sign.Secret
	hidden sign.Secret
	list   []sign.Secret
	ptr    *sign.Secret
}

func TestSecretNeverPrintsItself(t *testing.T) {
	t.Parallel()
	for _, text := range []string{secretA, privateK, publicK} {
		secret := parse(t, text)
		h := holder{Name: "shop", Shown: secret, hidden: secret, list: []sign.Secret{secret}, ptr: &secret}
		_, encoded, _ := strings.Cut(text, "_")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%p", "%o", "%e", "%c", "%U"} {
			fmt.Fprintf(&out, verb+verb+verb+verb+"\n", secret, &secret, h, &h)
		}
		fmt.Fprintln(&out, secret.String(), secret)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("x", "secret", secret, "pointer", &secret, "holder", h)
		}
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
			b, err := marshal(secret)
			if err != nil || !bytes.Contains(b, []byte("[secret]")) {
				t.Errorf("marshalled to %s, error %v, want [secret]", b, err)
			}
			out.Write(b)
		}
		for _, leak := range []string{
			encoded, fmt.Sprintf("%x", raw[:8]), fmt.Sprintf("%X", raw[:8]), fmt.Sprintf("% x", raw[:8]),
			strings.Trim(fmt.Sprintf("%d", raw[:8]), "[]"), string(raw[:8]), fmt.Sprintf("%x", encoded[:8]),
		} {
			if strings.Contains(out.String(), leak) {
				t.Errorf("the output holds the secret, spelled %q", leak)
			}
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, text := range []string{secretA, secretB, privateK, publicK, "", "whsec_", "whsk_AA==", "whpk_=", secretA + "\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := sign.ParseSecret(text)
		if err != nil {
			if !errors.Is(err, sign.ErrSecret) || !secret.IsZero() {
				t.Errorf("error %v, zero: %v", err, secret.IsZero())
			}
			return
		}
		if got := secret.Reveal(); got != text {
			t.Errorf("revealed %q, want %q", got, text)
		}
		if got := fmt.Sprint(secret); got != "[secret]" {
			t.Errorf("printed %q", got)
		}
	})
}
