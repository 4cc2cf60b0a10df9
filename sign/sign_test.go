package sign_test

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/sign"
)

// The vectors that the specification and its libraries publish.
const (
	secretA  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB  = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	privateK = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	publicK  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

	signatureAM = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	signatureBN = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
	signatureKM = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

	signatureOfNobody = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
)

func messageM() sign.Message {
	return sign.Message{
		ID:        "msg_p5jXN8AQM9LWM0D4loKWxJek",
		Timestamp: time.Unix(1614265330, 0),
		Body:      []byte(`{"test": 2432232314}`),
	}
}

func messageN() sign.Message {
	return sign.Message{
		ID:        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
		Timestamp: time.Unix(1649367553, 0),
		Body:      []byte(`{"email":"test@example.com","username":"test_user"}`),
	}
}

func parse(t testing.TB, text string) sign.Secret {
	t.Helper()
	s, err := sign.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t testing.TB, m sign.Message, secrets ...sign.Secret) http.Header {
	t.Helper()
	header := http.Header{}
	if err := sign.Sign(header, m, secrets...); err != nil {
		t.Fatal(err)
	}
	return header
}

func headerOf(m sign.Message, signature string) http.Header {
	header := http.Header{}
	header.Set("webhook-id", m.ID)
	header.Set("webhook-timestamp", strconv.FormatInt(m.Timestamp.Unix(), 10))
	header.Set("webhook-signature", signature)
	return header
}

func TestPublishedVectorsAreReproducedAndAccepted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name           string
		signer, reader string
		message        sign.Message
		want           string
	}{
		{"A signs M", secretA, secretA, messageM(), signatureAM},
		{"B signs N", secretB, secretB, messageN(), signatureBN},
		{"K signs M", privateK, publicK, messageM(), signatureKM},
		{"K reads its own", privateK, privateK, messageM(), signatureKM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			header := signed(t, tc.message, parse(t, tc.signer))
			if got := header.Get("webhook-signature"); got != tc.want {
				t.Errorf("signature %s, want %s", got, tc.want)
			}
			if got := header.Get("webhook-id"); got != tc.message.ID {
				t.Errorf("id %s, want %s", got, tc.message.ID)
			}
			got, err := sign.Verify(header, tc.message.Body, tc.message.Timestamp, parse(t, tc.reader))
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != tc.message.ID || !got.Timestamp.Equal(tc.message.Timestamp) || !bytes.Equal(got.Body, tc.message.Body) {
				t.Errorf("verified %+v, want %+v", got, tc.message)
			}
		})
	}
}

func TestVerifyAcceptsAnyMatchingSignature(t *testing.T) {
	t.Parallel()
	m := messageM()
	for name, tc := range map[string]struct {
		signature string
		secrets   []string
	}{
		"both schemes, shared secret":          {signatureAM + " " + signatureKM, []string{secretA}},
		"both schemes, public key":             {signatureAM + " " + signatureKM, []string{publicK}},
		"the last of several":                  {signatureOfNobody + " v2,Ceo5 " + signatureAM, []string{secretA}},
		"unknown version with commas":          {"v9,a,b,c nonsense " + signatureAM, []string{secretA}},
		"receiver still knows the old secret":  {signatureAM, []string{secretB, secretA}},
		"receiver knows the new secret only":   {signatureOfNobody + " " + signatureAM, []string{secretA}},
		"spaces around":                        {"  " + signatureAM + " ", []string{secretA}},
		"receiver with keys of both schemes":   {signatureKM, []string{secretA, publicK}},
		"sixteen signatures, the last matches": {strings.Repeat(signatureOfNobody+" ", 15) + signatureAM, []string{secretA}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var secrets []sign.Secret
			for _, text := range tc.secrets {
				secrets = append(secrets, parse(t, text))
			}
			if _, err := sign.Verify(headerOf(m, tc.signature), m.Body, m.Timestamp, secrets...); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRotationSendsOldAndNewSignature(t *testing.T) {
	t.Parallel()
	m := messageM()
	header := signed(t, m, parse(t, secretB), parse(t, secretA))
	if members := strings.Split(header.Get("webhook-signature"), " "); len(members) != 2 || members[1] != signatureAM {
		t.Errorf("signatures %q, want two, the second one %s", members, signatureAM)
	}
	for _, text := range []string{secretA, secretB} {
		if _, err := sign.Verify(header, m.Body, m.Timestamp, parse(t, text)); err != nil {
			t.Errorf("receiver with one of the two secrets: %v", err)
		}
	}
}

func TestVerifyRejects(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(http.Header, *sign.Message)
		want   error
	}{
		"signature of nobody": {set("webhook-signature", signatureOfNobody), sign.ErrMismatch},
		"v1, alone":           {set("webhook-signature", "v1,"), sign.ErrMismatch},
		"v1 alone":            {set("webhook-signature", "v1"), sign.ErrMismatch},
		"unknown versions only": {
			set("webhook-signature", strings.Replace(signatureAM, "v1", "v2", 1)), sign.ErrMismatch,
		},
		"cut signature":       {set("webhook-signature", signatureAM[:20]), sign.ErrMismatch},
		"signature with more": {set("webhook-signature", signatureAM+",x"), sign.ErrMismatch},
		"other scheme's":      {set("webhook-signature", signatureKM), sign.ErrMismatch},
		"other body":          {func(_ http.Header, m *sign.Message) { m.Body = []byte(`{"test": 2432232315}`) }, sign.ErrMismatch},
		"other id":            {set("webhook-id", "msg_x"), sign.ErrMismatch},
		"other timestamp":     {set("webhook-timestamp", "1614265331"), sign.ErrMismatch},
		"timestamp with a leading zero": {
			set("webhook-timestamp", "01614265330"), sign.ErrMismatch,
		},
		"no id":               {del("webhook-id"), sign.ErrHeader},
		"no timestamp":        {del("webhook-timestamp"), sign.ErrHeader},
		"no signature":        {del("webhook-signature"), sign.ErrHeader},
		"empty signature":     {set("webhook-signature", ""), sign.ErrHeader},
		"dot in the id":       {set("webhook-id", "msg.1"), sign.ErrHeader},
		"space in the id":     {set("webhook-id", "msg 1"), sign.ErrHeader},
		"timestamp hello":     {set("webhook-timestamp", "hello"), sign.ErrHeader},
		"timestamp signed":    {set("webhook-timestamp", "+1614265330"), sign.ErrHeader},
		"timestamp fraction":  {set("webhook-timestamp", "1614265330.5"), sign.ErrHeader},
		"timestamp negative":  {set("webhook-timestamp", "-1"), sign.ErrHeader},
		"timestamp overflows": {set("webhook-timestamp", "9223372036854775808"), sign.ErrHeader},
		"timestamp at the end of time": {
			set("webhook-timestamp", "9223372036854775807"), sign.ErrTimestamp,
		},
		"two ids":        {add("webhook-id", "msg_2"), sign.ErrHeader},
		"two timestamps": {add("webhook-timestamp", "1614265330"), sign.ErrHeader},
		"two signature headers": {
			add("webhook-signature", signatureAM), sign.ErrHeader,
		},
		"seventeen signatures": {
			set("webhook-signature", strings.Repeat(signatureOfNobody+" ", 16)+signatureAM), sign.ErrHeader,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := messageM()
			header := headerOf(m, signatureAM)
			tc.change(header, &m)
			got, err := sign.Verify(header, m.Body, m.Timestamp, parse(t, secretA))
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if got.ID != "" || got.Body != nil {
				t.Errorf("a rejected message is handed out: %+v", got)
			}
		})
	}
}

func TestVerifyRejectsOtherSpellingsOfAnEd25519Signature(t *testing.T) {
	t.Parallel()
	m := messageM()
	for name, signature := range map[string]string{
		"stray bits":   strings.Replace(signatureKM, "TBAg==", "TBAh==", 1),
		"line break":   strings.Replace(signatureKM, "==", "\n==", 1),
		"no padding":   strings.TrimRight(signatureKM, "="),
		"empty":        "v1a,",
		"as v1":        strings.Replace(signatureKM, "v1a", "v1", 1),
		"another byte": strings.Replace(signatureKM, "TBAg==", "TBAw==", 1),
	} {
		if _, err := sign.Verify(headerOf(m, signature), m.Body, m.Timestamp, parse(t, publicK)); !errors.Is(err, sign.ErrMismatch) {
			t.Errorf("%s: error %v, want %v", name, err, sign.ErrMismatch)
		}
	}
}

func set(name, value string) func(http.Header, *sign.Message) {
	return func(h http.Header, _ *sign.Message) { h.Set(name, value) }
}

func add(name, value string) func(http.Header, *sign.Message) {
	return func(h http.Header, _ *sign.Message) { h.Add(name, value) }
}

func del(name string) func(http.Header, *sign.Message) {
	return func(h http.Header, _ *sign.Message) { h.Del(name) }
}

func TestToleranceIsFiveMinutesBothWays(t *testing.T) {
	t.Parallel()
	m := messageM()
	for offset, accepted := range map[time.Duration]bool{
		0:                  true,
		300 * time.Second:  true,
		-300 * time.Second: true,
		301 * time.Second:  false,
		-301 * time.Second: false,
	} {
		_, err := sign.Verify(headerOf(m, signatureAM), m.Body, m.Timestamp.Add(offset), parse(t, secretA))
		if accepted && err != nil {
			t.Errorf("%v off: %v", offset, err)
		}
		if !accepted && !errors.Is(err, sign.ErrTimestamp) {
			t.Errorf("%v off: error %v, want %v", offset, err, sign.ErrTimestamp)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change  func(http.Header, *sign.Message)
		secrets []sign.Secret
		want    error
	}{
		"no secret":           {nil, nil, sign.ErrSecret},
		"zero secret":         {nil, []sign.Secret{{}}, sign.ErrSecret},
		"public key":          {nil, []sign.Secret{parse(t, publicK)}, sign.ErrSecret},
		"second one is zero":  {nil, []sign.Secret{parse(t, secretA), {}}, sign.ErrSecret},
		"no id":               {func(_ http.Header, m *sign.Message) { m.ID = "" }, []sign.Secret{parse(t, secretA)}, sign.ErrHeader},
		"dot in the id":       {func(_ http.Header, m *sign.Message) { m.ID = "a.1" }, []sign.Secret{parse(t, secretA)}, sign.ErrHeader},
		"line break in id":    {func(_ http.Header, m *sign.Message) { m.ID = "a\n" }, []sign.Secret{parse(t, secretA)}, sign.ErrHeader},
		"id outside of ASCII": {func(_ http.Header, m *sign.Message) { m.ID = "é" }, []sign.Secret{parse(t, secretA)}, sign.ErrHeader},
		"no timestamp":        {func(_ http.Header, m *sign.Message) { m.Timestamp = time.Time{} }, []sign.Secret{parse(t, secretA)}, sign.ErrHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := messageM()
			if tc.change != nil {
				tc.change(nil, &m)
			}
			header := http.Header{}
			if err := sign.Sign(header, m, tc.secrets...); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if len(header) != 0 {
				t.Errorf("headers are set all the same: %v", header)
			}
		})
	}
}

func TestVerifyRefusesUnusableSecrets(t *testing.T) {
	t.Parallel()
	m := messageM()
	for name, secrets := range map[string][]sign.Secret{
		"none":                     nil,
		"zero":                     {{}},
		"zero after the right one": {parse(t, secretA), {}},
	} {
		if _, err := sign.Verify(headerOf(m, signatureAM), m.Body, m.Timestamp, secrets...); !errors.Is(err, sign.ErrSecret) {
			t.Errorf("%s: error %v, want %v", name, err, sign.ErrSecret)
		}
	}
}

// TestSecretIsSharedBetweenGoroutines is for the race detector: one parsed Secret
// serves all senders.
func TestSecretIsSharedBetweenGoroutines(t *testing.T) {
	t.Parallel()
	m, secret := messageM(), parse(t, secretA)
	results := make(chan string)
	for range 8 {
		go func() {
			last := ""
			for range 100 {
				header := http.Header{}
				if err := sign.Sign(header, m, secret); err != nil {
					last = err.Error()
					break
				}
				last = header.Get("webhook-signature")
				if _, err := sign.Verify(header, m.Body, m.Timestamp, secret); err != nil || last != signatureAM {
					break
				}
			}
			results <- last
		}()
	}
	for range 8 {
		if got := <-results; got != signatureAM {
			t.Errorf("signature %s, want %s", got, signatureAM)
		}
	}
}

func FuzzVerify(f *testing.F) {
	m := messageM()
	secrets := []sign.Secret{parse(f, secretA), parse(f, privateK)}
	f.Add(m.ID, "1614265330", signatureAM, m.Body)
	f.Add(m.ID, "1614265330", signatureOfNobody+" "+signatureKM, m.Body)
	f.Add("a.1", "hello", "v1, v1a, ,", []byte{})
	f.Add("", "-1", "v1", []byte("x"))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		header := http.Header{}
		header.Set("webhook-id", id)
		header.Set("webhook-timestamp", timestamp)
		header.Set("webhook-signature", signature)
		got, err := sign.Verify(header, body, m.Timestamp, secrets...)
		if err != nil {
			return
		}
		again := signed(t, got, secrets...)
		for _, want := range strings.Fields(again.Get("webhook-signature")) {
			if strings.Contains(signature, want) {
				return
			}
		}
		t.Errorf("accepted %q, but the secrets sign %q", signature, again.Get("webhook-signature"))
	})
}

func FuzzSignedMessageIsAcceptedAndAnyOtherBodyIsNot(f *testing.F) {
	f.Add("cb_1", int64(1614265330), []byte(`{"a":1}`), []byte(`{"a":2}`))
	f.Add("a.b", int64(-1), []byte{}, []byte{0})
	secrets := []sign.Secret{parse(f, secretA), parse(f, privateK)}
	f.Fuzz(func(t *testing.T, id string, seconds int64, body, other []byte) {
		m := sign.Message{ID: id, Timestamp: time.Unix(seconds, 0), Body: body}
		for _, secret := range secrets {
			header := http.Header{}
			if err := sign.Sign(header, m, secret); err != nil {
				return
			}
			if _, err := sign.Verify(header, body, m.Timestamp, secret); err != nil {
				t.Errorf("own signature: %v", err)
			}
			if bytes.Equal(body, other) {
				continue
			}
			if _, err := sign.Verify(header, other, m.Timestamp, secret); !errors.Is(err, sign.ErrMismatch) {
				t.Errorf("other body: error %v, want %v", err, sign.ErrMismatch)
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	m := messageM()
	m.Body = bytes.Repeat([]byte("x"), 500)
	for name, text := range map[string]string{"v1": secretA, "v1a": privateK} {
		secret := parse(b, text)
		b.Run(name, func(b *testing.B) {
			header := http.Header{}
			b.ReportAllocs()
			for b.Loop() {
				if err := sign.Sign(header, m, secret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	m := messageM()
	m.Body = bytes.Repeat([]byte("x"), 500)
	for name, text := range map[string]string{"v1": secretA, "v1a": privateK} {
		secret := parse(b, text)
		b.Run(name, func(b *testing.B) {
			header := signed(b, m, secret)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sign.Verify(header, m.Body, m.Timestamp, secret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseSecret(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sign.ParseSecret(secretA); err != nil {
			b.Fatal(err)
		}
	}
}
