package sign_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/sign"
)

// crosscheckBodies are bodies that both sides have to read as the same bytes.
var crosscheckBodies = []string{
	`{"test": 2432232314}`,
	"",
	" \n{\"a\":\r\n1}\n",
	`{"euro":"€ 😀","nul":"` + "\u0000" + `"}`,
	strings.Repeat("x", 1<<16),
}

func crosscheckMessages() []sign.Message {
	var messages []sign.Message
	for _, body := range crosscheckBodies {
		messages = append(messages, sign.Message{
			ID: "cb_01890a5d-ac96-774b-bcce-b302099a8057", Timestamp: time.Now(), Body: []byte(body),
		})
	}
	return messages
}

func TestOfficialGoLibraryAcceptsOurSignatures(t *testing.T) {
	t.Parallel()
	old, secret := sign.NewSecret(), sign.NewSecret()
	theirs, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range crosscheckMessages() {
		for name, secrets := range map[string][]sign.Secret{
			"one secret":         {secret},
			"rotation, ours 1st": {secret, old},
			"rotation, ours 2nd": {old, secret},
			"with v1a":           {parse(t, privateK), secret},
		} {
			header := signed(t, m, secrets...)
			if err := theirs.Verify(m.Body, header); err != nil {
				t.Errorf("%s: body %.30q: %v", name, m.Body, err)
			}
			if err := theirs.Verify(append(m.Body, 'x'), header); err == nil {
				t.Errorf("%s: they accept another body: this test shows nothing", name)
			}
		}
	}
}

func TestWeAcceptTheOfficialGoLibrarysSignatures(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	theirs, err := standardwebhooks.NewWebhook(secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range crosscheckMessages() {
		signature, err := theirs.Sign(m.ID, m.Timestamp, m.Body)
		if err != nil {
			t.Fatal(err)
		}
		verifyTheirs(t, m, signature, secret)
	}
}

func TestOfficialJavaScriptLibraryAcceptsOurSignatures(t *testing.T) {
	t.Parallel()
	old, secret := sign.NewSecret(), sign.NewSecret()
	task := jsTask{Secret: secret.Reveal()}
	var want []string
	for _, m := range crosscheckMessages() {
		for _, secrets := range [][]sign.Secret{{secret}, {old, secret}, {parse(t, privateK), secret}} {
			header := signed(t, m, secrets...)
			task.receive(header, string(m.Body))
			task.receive(header, string(m.Body)+"x")
			want = append(want, "ok", "No matching signature found")
		}
		task.receive(signed(t, m, old), string(m.Body))
		want = append(want, "No matching signature found")
	}
	got := task.run(t).Verdicts
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}

func TestWeAcceptTheOfficialJavaScriptLibrarysSignatures(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	task := jsTask{Secret: secret.Reveal()}
	messages := crosscheckMessages()
	for _, m := range messages {
		task.Send = append(task.Send, jsMessage{ID: m.ID, Timestamp: m.Timestamp.Unix(), Body: string(m.Body)})
	}
	signatures := task.run(t).Signatures
	if len(signatures) != len(messages) {
		t.Fatalf("%d signatures for %d messages", len(signatures), len(messages))
	}
	for i, m := range messages {
		verifyTheirs(t, m, signatures[i], secret)
	}
}

func verifyTheirs(t *testing.T, m sign.Message, signature string, secret sign.Secret) {
	t.Helper()
	header := headerOf(m, signature)
	if _, err := sign.Verify(header, m.Body, time.Now(), secret); err != nil {
		t.Errorf("body %.30q: %v", m.Body, err)
	}
	if ours := signed(t, m, secret).Get("webhook-signature"); ours != signature {
		t.Errorf("body %.30q: we sign %s, they %s", m.Body, ours, signature)
	}
}

// jsTask is what testdata/js/crosscheck.mjs reads, jsReport what it answers.
type jsTask struct {
	Secret   string       `json:"secret"`
	Received []jsReceived `json:"received,omitempty"`
	Send     []jsMessage  `json:"send,omitempty"`
}

type jsReceived struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

type jsMessage struct {
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"`
	Body      string `json:"body"`
}

type jsReport struct {
	Verdicts   []string `json:"verdicts"`
	Signatures []string `json:"signatures"`
}

func (task *jsTask) receive(header http.Header, body string) {
	r := jsReceived{Headers: map[string]string{}, Body: body}
	for name := range header {
		r.Headers[name] = header.Get(name)
	}
	task.Received = append(task.Received, r)
}

func (task *jsTask) run(t *testing.T) jsReport {
	t.Helper()
	var report jsReport
	npmtest.Run(t, jsFolder, "crosscheck.mjs", task, &report)
	return report
}

const jsFolder = "testdata/js"
