package callback

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 3, 4, 5, 6, 7, 8_999_999, time.UTC)

// fixture is a job that has succeeded, and the callback that tells of it.
func fixture() (*job.Callback, *job.Job) {
	var id, cb job.ID
	copy(id[:], "\x01\x9a\x00\x00\x00\x01\x70\x00\x80jobjob!")
	copy(cb[:], "\x01\x9a\x00\x00\x00\x02\x70\x00\x80backbac")
	j := &job.Job{ID: id, App: "shop", Operation: "scan", State: job.Succeeded, CreatedAt: at, StartedAt: at.Add(time.Second),
		FinishedAt: at.Add(2 * time.Second), Runs: 1, Result: &job.Result{Status: 200, ContentType: "application/json",
			Body: job.Body{Inline: []byte(`{"infected": true, "signature": "Eicar-Test-Signature"}`), Size: 54}}}
	return &job.Callback{ID: cb, JobID: id, App: "shop", Operation: "scan", Event: job.EventSucceeded, Method: "POST",
		URL: "https://my.server/bar", CreatedAt: at.Add(2 * time.Second), State: job.Pending}, j
}

func link(id job.ID) string { return "https://api.example.com/v1/jobs/" + id.Job() + "/result?token=t" }

func TestEnvelopeIsAsDocumented(t *testing.T) {
	t.Parallel()
	inline := func(contentType string, content string) func(*job.Callback, *job.Job) {
		return func(_ *job.Callback, j *job.Job) {
			j.Result.ContentType = contentType
			j.Result.Body = job.Body{Inline: []byte(content), Size: int64(len(content))}
		}
	}
	for name, change := range map[string]func(*job.Callback, *job.Job){
		"json":         func(*job.Callback, *job.Job) {},
		"problem_json": inline("application/problem+json; charset=utf-8", `{"type":"about:blank"}`),
		"broken_json":  inline("application/json", `{"never closed`),
		"text":         inline("text/plain; charset=utf-8", "line one\nline \"two\" </script> é\u2028"),
		"binary":       inline("image/png", "\x89PNG\r\n\x1a\n\x00\xff"),
		"empty":        inline("", ""),
		"large": func(cb *job.Callback, j *job.Job) {
			j.Result.Body, cb.Link = job.Body{Ref: "ab", Size: 1 << 20}, link(j.ID)
		},
		"echo": func(_ *job.Callback, j *job.Job) {
			j.Result = &job.Result{Status: 200, ContentType: "text/plain", Echo: true}
			j.Request.Body = job.Body{Inline: []byte("as it came"), Size: 10}
		},
		"state": func(_ *job.Callback, j *job.Job) { j.Echo = "order=7&\"quoted\"\n" },
		"failed": func(cb *job.Callback, j *job.Job) {
			cb.Event, j.State, j.Result = job.EventFailed, job.Failed, nil
			j.Error = &job.Error{Code: job.CodeExit, Message: "the command ended with exit code 3", Detail: "convert: no \x1b[31mdecode\x1b[0m\n"}
		},
		"canceled": func(cb *job.Callback, j *job.Job) {
			cb.Event, j.State, j.Result, j.StartedAt = job.EventCanceled, job.Canceled, nil, time.Time{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cb, j := fixture()
			change(cb, j)
			body := appendEnvelope(nil, cb, j)
			if !json.Valid(body) {
				t.Fatalf("not JSON: %s", body)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, body, "", "  "); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "envelope_"+name+".json")
			if *update {
				if err := os.WriteFile(golden, append(pretty.Bytes(), '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := append(pretty.Bytes(), '\n'); !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestStringsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want, _ := json.Marshal(s)
		if got := appendString(nil, s); !bytes.Equal(got, want) {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func FuzzEnvelopeIsAlwaysJSON(f *testing.F) {
	f.Add("application/json", []byte(`{"a":1}`), "state")
	f.Add("text/plain", []byte("\xff\x00"), "\xff")
	f.Fuzz(func(t *testing.T, contentType string, content []byte, echo string) {
		cb, j := fixture()
		j.Result.ContentType, j.Result.Body, j.Echo = contentType, job.Body{Inline: content, Size: int64(len(content))}, echo
		if body := appendEnvelope(nil, cb, j); !json.Valid(body) {
			t.Fatalf("not JSON: %q", body)
		}
	})
}

func BenchmarkEnvelope(b *testing.B) {
	cb, j := fixture()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEnvelope(buf[:0], cb, j)
	}
}
