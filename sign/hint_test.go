package sign_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/sign"
)

func TestErrorsOfVerifySayWhatToDo(t *testing.T) {
	t.Parallel()
	m := messageM()
	for name, tc := range map[string]struct {
		missing   string
		signature string
		later     time.Duration
		want      error
		hint      string
	}{
		"clock ahead":        {later: 12*time.Minute + 5*time.Second, want: sign.ErrTimestamp, hint: "12m5s in the past"},
		"clock behind":       {later: -6 * time.Minute, want: sign.ErrTimestamp, hint: "6m0s in the future"},
		"146 years behind":   {later: -1 << 62, want: sign.ErrTimestamp, hint: "277777h46m40s in the future"},
		"header dropped":     {missing: "Webhook-Timestamp", want: sign.ErrHeader, hint: "webhook-timestamp is missing"},
		"other secret":       {signature: signatureOfNobody, want: sign.ErrMismatch, hint: "another secret"},
		"other scheme alone": {signature: signatureKM, want: sign.ErrMismatch, hint: "none of them is of the secret's scheme"},
	} {
		header := headerOf(m, signatureAM)
		if tc.signature != "" {
			header.Set("webhook-signature", tc.signature)
		}
		header.Del(tc.missing)
		_, err := sign.Verify(header, m.Body, m.Timestamp.Add(tc.later), parse(t, secretA))
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.hint) {
			t.Errorf("%s: error %v, want %v with %q", name, err, tc.want, tc.hint)
		}
	}
}

func TestErrorsOfParseSecretSayWhatToDo(t *testing.T) {
	t.Parallel()
	for text, hint := range map[string]string{
		"":              "is the variable or the file that holds it set?",
		"\n":            "is the variable or the file that holds it set?",
		" " + secretA:   "begins with a space or a quote",
		`"` + secretA:   "begins with a space or a quote",
		"rb_abcdef":     "API key",
		secretA + "\n":  "is there a line break?",
		secretA[:31]:    "is it cut off",
		"abc" + secretA: "begins with none of whsec_",
	} {
		_, err := sign.ParseSecret(text)
		if !errors.Is(err, sign.ErrSecret) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%.8q…: error %v, want %v with %q", text, err, sign.ErrSecret, hint)
		}
	}
}
