package callback

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/job"
)

const jsFolder = "testdata/js"

type jsRequest struct {
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"` // base64
}

type jsEvent struct {
	ID, Type, Source, Subject, SpecVersion, Time string
	DataContentType, DataRef                     string
	Data                                         json.RawMessage
}

// TestTheJavaScriptSDKReadsTheEvents gives what is sent to the official SDK.
func TestTheJavaScriptSDKReadsTheEvents(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, sampleTemplate)
	var requests []jsRequest
	type sent struct{ format, what string }
	var order []sent
	for _, format := range []string{job.FormatCloudEvents, job.FormatCloudEventsStructured} {
		for _, what := range []string{"json", "text", "failed", "large", "canceled", "state"} {
			cb, j := owed(t, s, format, cases()[what])
			c := render(t, cb, j)
			r := jsRequest{Headers: map[string]string{}, Body: c.Body}
			for name := range c.Header {
				r.Headers[strings.ToLower(name)] = c.Header.Get(name)
			}
			if c.Type != "" {
				r.Headers["content-type"] = c.Type
			}
			requests, order = append(requests, r), append(order, sent{format, what})
		}
	}
	for i, e := range readByJS(t, requests) {
		cb, _ := owed(t, s, order[i].format, cases()[order[i].what])
		if e.SpecVersion != "1.0" || e.ID != cb.ID.Callback() || e.Type != "scan."+string(cb.Event) || e.Source != "/operations/scan" ||
			e.Subject != "job_01k8000001e0080tkfc9n6yrh1" || e.Time != "2026-03-04T05:06:09.008Z" {
			t.Errorf("%v: %+v", order[i], e)
		}
		want := map[string]string{
			"json":   `{"infected":true,"signature":"Eicar-Test-Signature"}`,
			"state":  `{"infected":true,"signature":"Eicar-Test-Signature"}`,
			"text":   `"line one\nline \"two\" & é"`,
			"failed": `{"code":"exit_status","message":"the command ended with exit code 3","detail":"convert: no \"decode\"\n"}`,
		}[order[i].what]
		if got := string(e.Data); got != want && (want != "" || got != `""` && got != "null") {
			t.Errorf("%v: data %s, want %s", order[i], e.Data, want)
		}
		if (order[i].what == "large") != (e.DataRef == cb.Link && e.DataRef != "") {
			t.Errorf("%v: dataref %q", order[i], e.DataRef)
		}
	}
}

func readByJS(t *testing.T, requests []jsRequest) (events []jsEvent) {
	t.Helper()
	npmtest.Run(t, jsFolder, "crosscheck.mjs", requests, &events)
	if len(events) != len(requests) {
		t.Fatalf("%d events of %d requests", len(events), len(requests))
	}
	return events
}
