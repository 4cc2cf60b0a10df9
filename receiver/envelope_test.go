package receiver_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ringback/ringback/receiver"
)

func envelope(data string) string {
	return `{"type":"scan.succeeded","timestamp":"2026-01-02T03:04:05.006Z","data":{"job":{"id":"job_1","operation":"scan",` +
		`"status":"succeeded","created_at":"2026-01-02T03:00:00Z","links":{}},"content_type":"x/y"` + data + `}}`
}

func TestEnvelopeHasTypeTimeAndJob(t *testing.T) {
	t.Parallel()
	e, err := receiver.ParseEnvelope([]byte(envelope(`,"state":"order=7","unknown":[1]`)))
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != "scan.succeeded" || !e.Timestamp.Equal(time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)) {
		t.Errorf("type %q, timestamp %v", e.Type, e.Timestamp)
	}
	want := receiver.Job{ID: "job_1", Operation: "scan", Status: "succeeded", CreatedAt: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
	if e.Data.Job != want {
		t.Errorf("job %+v, want %+v", e.Data.Job, want)
	}
	if e.Data.ContentType != "x/y" || e.Data.State != "order=7" || e.Data.Error != nil {
		t.Errorf("data %+v", e.Data)
	}
}

func TestBytesReturnsTheResultHoweverItIsCarried(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data, want string
		err        error
	}{
		"JSON as it stands": {`,"result":{"b": 1.0,  "a":"\u20ac"}`, `{"b": 1.0,  "a":"\u20ac"}`, nil},
		"JSON null":         {`,"result":null`, "null", nil},
		"JSON false":        {`,"result":false`, "false", nil},
		"text":              {`,"result_text":"Euro \u20ac\n"`, "Euro €\n", nil},
		"empty text":        {`,"result_text":""`, "", nil},
		"base64":            {`,"result_base64":"AP/+"`, "\x00\xff\xfe", nil},
		"empty base64":      {`,"result_base64":""`, "", nil},
		"link":              {`,"result_url":"https://api.example.com/r"`, "", receiver.ErrResultByLink},
		"none":              {``, "", receiver.ErrNoResult},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := receiver.ParseEnvelope([]byte(envelope(tc.data)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Data.Bytes()
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("%q, error %v, want %q, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

func TestFailedJobsEnvelopeHasTheError(t *testing.T) {
	t.Parallel()
	e, err := receiver.ParseEnvelope([]byte(envelope(`,"error":{"code":"timeout","message":"took too long","detail":"x"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if e.Data.Error == nil || *e.Data.Error != (receiver.Error{Code: "timeout", Message: "took too long", Detail: "x"}) {
		t.Fatalf("error %+v", e.Data.Error)
	}
	if got := e.Data.Error.Error(); got != "timeout: took too long" {
		t.Errorf("printed %q", got)
	}
}

func TestParseEnvelopeRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":          "",
		"not JSON":       "hello",
		"array":          "[]",
		"null":           "null",
		"no type":        `{"data":{"job":{"id":"job_1"}}}`,
		"no job":         `{"type":"scan.succeeded","data":{}}`,
		"bad base64":     envelope(`,"result_base64":"?"`),
		"bad time":       `{"type":"a.b","timestamp":"yesterday","data":{"job":{"id":"job_1"}}}`,
		"two results":    envelope(`,"result":1,"result_text":"x"`),
		"text and more":  envelope(``) + "x",
		"number as text": envelope(`,"result_text":1`),
	} {
		if e, err := receiver.ParseEnvelope([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, e)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	f.Add([]byte(envelope(`,"result":{"a":1}`)))
	f.Add([]byte(envelope(`,"result_base64":"AP/+","error":null`)))
	f.Add([]byte(`{"type":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := receiver.ParseEnvelope(body)
		if err != nil {
			return
		}
		if e.Type == "" || e.Data.Job.ID == "" {
			t.Errorf("accepted without type or job: %+v", e)
		}
		_, err = e.Data.Bytes()
		if err != nil && !errors.Is(err, receiver.ErrNoResult) && !errors.Is(err, receiver.ErrResultByLink) {
			t.Errorf("error %v is none of those promised", err)
		}
	})
}
