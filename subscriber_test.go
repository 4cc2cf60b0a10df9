package ringback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// subscriberTemplate is the one that the documentation has for OGC API - Processes.
func subscriberTemplate(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "  subscriber: true\n  format: template\n  template: |\n")
	block, _, ends := strings.Cut(block, "```\n")
	if !ok || !ends {
		t.Fatal("docs/formats.md has no template for subscribers")
	}
	return block
}

func TestASubscriberOfOGCAPIProcessesGetsResultsAndStatusInfo(t *testing.T) {
	t.Parallel()
	work := ringback.Func(func(ctx context.Context, call *ringback.Call, result *ringback.Result) error {
		switch call.Header.Get("X-End") {
		case "failed":
			return errors.New("no luck")
		case "dismissed":
			if err := call.Progress(map[string]int{"percent": 40}); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		case "large":
			result.ContentType = "image/tiff"
			_, err := result.Write(make([]byte, 1<<20))
			return err
		}
		result.ContentType = "application/json"
		_, err := io.WriteString(result, `{"buffered": {"value": 7}}`)
		return err
	})
	template := subscriberTemplate(t)
	g := setup(t, operation("buffer", "POST /processes/buffer/execution", work, func(op *job.Operation) {
		op.Retry.Attempts = 1
		op.Callback = job.Contract{Format: job.FormatTemplate, Template: template, Success: []string{"{$request.body#/subscriber/successUri}"},
			Failure: []string{"{$request.body#/subscriber/failedUri}"}, Progress: []string{"{$request.body#/subscriber/inProgressUri}"}}
	}))
	type arrival struct {
		path string
		said map[string]any
	}
	arrived := make(chan arrival, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got := arrival{path: r.Method + " " + r.URL.Path}
		if err := json.NewDecoder(r.Body).Decode(&got.said); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v, %v", got.path, r.Header, err)
		}
		arrived <- got
	}))
	t.Cleanup(server.Close)
	document := fmt.Sprintf(`{"inputs":{},"subscriber":{"successUri":"%[1]s/good","failedUri":"%[1]s/bad","inProgressUri":"%[1]s/on"}}`, server.URL)
	for end, want := range map[string]string{"successful": "POST /good", "large": "POST /good", "failed": "POST /bad", "dismissed": "POST /bad"} {
		accepted := g.call(t, client.Call{Path: "/processes/buffer/execution", ContentType: "application/json", Body: strings.NewReader(document),
			Header: http.Header{"X-End": {end}}})
		got := <-arrived
		for ; got.path == "POST /on"; got = <-arrived {
			if got.said["jobID"] != accepted.ID || got.said["status"] != "running" || got.said["type"] != "process" || got.said["started"] == nil || got.said["finished"] != nil {
				t.Errorf("%s: in progress: %v", end, got.said)
			}
			if got.said["progress"] == 40.0 {
				if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got.path != want {
			t.Errorf("%s: %s, want %s", end, got.path, want)
		}
		switch end {
		case "successful":
			if fmt.Sprint(got.said) != "map[buffered:map[value:7]]" {
				t.Errorf("the results: %v", got.said)
			}
		case "large":
			if link, _ := got.said["href"].(string); !strings.HasPrefix(link, g.url+"/v1/jobs/"+accepted.ID+"/result?") || got.said["type"] != "image/tiff" {
				t.Errorf("the results: %v", got.said)
			}
		default:
			message, _ := got.said["message"].(string)
			if got.said["jobID"] != accepted.ID || got.said["status"] != end || got.said["type"] != "process" || got.said["finished"] == nil || (message == "") != (end == "dismissed") {
				t.Errorf("%s: %v", end, got.said)
			}
		}
	}
}
