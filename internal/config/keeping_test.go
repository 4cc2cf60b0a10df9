package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestWhatIsKeptOfAnOperation(t *testing.T) {
	t.Parallel()
	s, err := loadText(t, `
operations:
  pay:
    route: POST /pay
    backend: {relay: {}}
    retention: 90d
    body_retention: 1d
    redact: {request: [/card/number, /items/*/name], result: [""], not_json: keep}
`, Sources{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	op := s.Options.Operations[0]
	want := job.Redaction{Request: []string{"/card/number", "/items/*/name"}, Result: []string{""}, KeepOther: true}
	if op.Retention != 90*24*time.Hour || op.BodyRetention != 24*time.Hour || !reflect.DeepEqual(op.Redact, want) {
		t.Errorf("%v, %v, %+v", op.Retention, op.BodyRetention, op.Redact)
	}
}

func TestWrongRedactionsAreSaidWithTheirPlace(t *testing.T) {
	t.Parallel()
	for block, want := range map[string]string{
		"{request: [card]}":     `"card" is no JSON pointer`,
		"{answer: [/a~2]}":      "~ must be followed by 0 or 1",
		"{not_json: encrypt}":   `"encrypt" is neither`,
		"{requests: [/number]}": "requests",
	} {
		_, err := loadText(t, "operations:\n  pay:\n    route: POST /pay\n    backend: {relay: {}}\n    redact: "+block+"\n", Sources{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", block, err)
		}
	}
}
