package sign_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringback/ringback/sign"
)

func TestKeysGoRound(t *testing.T) {
	t.Parallel()
	plain := sign.NewKeys()
	own, err := plain.WithOwn("It's a Secret to Everybody")
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]sign.Keys{"both parts": plain, "a secret brought along": own} {
		back, err := sign.ParseKeys(k.Reveal())
		if err != nil || back.Reveal() != k.Reveal() || back.Own.Reveal() != k.Own.Reveal() {
			t.Errorf("%s: error %v", name, err)
		}
		if !strings.HasPrefix(k.Reveal(), "whsec_") || !strings.Contains(k.Reveal(), " whsk_") {
			t.Errorf("%s: not in the shape of a text of keys", name)
		}
		if text := fmt.Sprintf("%v %+v %#v", k, k, &k); strings.Contains(text, "whs") {
			t.Errorf("%s: printed", name)
		}
	}
}

func TestParseKeysRefuses(t *testing.T) {
	t.Parallel()
	good := sign.NewKeys().Reveal()
	for name, text := range map[string]string{
		"empty": "", "shared alone": secretA, "private alone": privateK, "swapped": privateK + " " + secretA,
		"public": secretA + " " + publicK, "two spaces": secretA + "  " + privateK, "a fourth part": good + " own_YWJjZGVmZ2g= x",
		"third part": good + " x", "third part is no base64": good + " own_!", "third part is short": good + " own_YWJj",
		"shared is malformed": secretA + "x " + privateK, "private is malformed": secretA + " " + privateK + "x",
	} {
		if _, err := sign.ParseKeys(text); !errors.Is(err, sign.ErrSecret) {
			t.Errorf("%s: error %v, want %v", name, err, sign.ErrSecret)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[6:20]) {
			t.Errorf("%s: the error quotes it", name)
		}
	}
}

func TestASecretThatIsBroughtAlong(t *testing.T) {
	t.Parallel()
	k, err := sign.NewKeys().WithOwn(secretA)
	if err != nil || k.Shared.Reveal() != secretA || !k.Own.IsZero() {
		t.Errorf("a Standard Webhooks secret is not the shared one: error %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "short": "1234567", "long": strings.Repeat("x", 513), "line break": "12345678\n", "not ASCII": "geheimnüsse",
		"private key": privateK, "public key": publicK,
	} {
		if _, err := sign.NewKeys().WithOwn(text); !errors.Is(err, sign.ErrSecret) {
			t.Errorf("%s: error %v, want %v", name, err, sign.ErrSecret)
		}
	}
}

func TestTextSecretVerifiesNothingOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	m := messageM()
	_, err := sign.Verify(headerOf(m, ",x "+signatureAM), m.Body, m.Timestamp, textSecret(t, secretA))
	if !errors.Is(err, sign.ErrMismatch) {
		t.Errorf("error %v, want %v", err, sign.ErrMismatch)
	}
}

func TestKeyIDsNameKeys(t *testing.T) {
	t.Parallel()
	// RFC 8037 appendix A.3.
	raw, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	key := parse(t, "whpk_"+base64.StdEncoding.EncodeToString(raw))
	if got := key.KeyID(); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("thumbprint %s", got)
	}
	k := sign.NewKeys()
	if k.Private.KeyID() != public(t, k.Private).KeyID() {
		t.Error("both halves of a key have two names")
	}
	if id := k.Shared.KeyID(); len(id) != 16 || id == sign.NewKeys().Shared.KeyID() {
		t.Errorf("shared: %q", id)
	}
	if id := textSecret(t, "any text at all").KeyID() + (sign.Secret{}).KeyID(); id != "" {
		t.Errorf("a text and nothing have the name %q", id)
	}
}

func TestJWKSGoesRound(t *testing.T) {
	t.Parallel()
	private := rfcPrivate(t)
	jwk, err := private.JWK()
	if err != nil || jwk.X != rfcPublicX || jwk.KeyType != "OKP" || jwk.Curve != "Ed25519" || jwk.KeyID != private.KeyID() {
		t.Fatalf("%+v, error %v", jwk, err)
	}
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "n": "AQAB"}, jwk}})
	if err != nil || strings.Contains(string(set), `"d"`) {
		t.Fatalf("%s, error %v", set, err)
	}
	keys, err := sign.ParseJWKS(set)
	if err != nil || len(keys) != 1 || keys[0].Reveal() != public(t, private).Reveal() {
		t.Errorf("%d keys, error %v", len(keys), err)
	}
	m := messageM()
	if _, err := sign.Verify(signed(t, m, private), m.Body, m.Timestamp, keys...); err != nil {
		t.Error(err)
	}
	if _, err := parse(t, secretA).JWK(); !errors.Is(err, sign.ErrSecret) {
		t.Errorf("a shared secret as a JWK: error %v", err)
	}
	if _, err := (sign.Secret{}).Public(); !errors.Is(err, sign.ErrSecret) {
		t.Errorf("the public half of nothing: error %v", err)
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	t.Parallel()
	key := `{"kty":"OKP","crv":"Ed25519","x":"` + rfcPublicX + `"}`
	for name, set := range map[string]string{
		"no JSON": "x", "no keys": `{}`, "other kinds": `{"keys":[{"kty":"EC"}]}`, "for encryption": `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":""}]}`,
		"short": `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}`, "no base64": `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"!"}]}`,
		"many": `{"keys":[` + strings.Repeat(key+",", 16) + key + `]}`, "large": `{"keys":[` + key + `]` + strings.Repeat(" ", ed25519.PublicKeySize<<11) + `}`,
	} {
		if keys, err := sign.ParseJWKS([]byte(set)); !errors.Is(err, sign.ErrSecret) || keys != nil {
			t.Errorf("%s: %d keys, error %v, want %v", name, len(keys), err, sign.ErrSecret)
		}
	}
}

func FuzzParseJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfcPublicX + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := sign.ParseJWKS(data)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, error %v", len(keys), err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add(secretA + " " + privateK)
	f.Add(secretA + " " + privateK + " own_YWJjZGVmZ2g=")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := sign.ParseKeys(text); err == nil && !strings.HasPrefix(k.Reveal(), secretA[:6]) {
			t.Errorf("read %q", text)
		}
	})
}
