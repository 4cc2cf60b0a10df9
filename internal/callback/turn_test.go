package callback

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestOrderKeyLooksAtTheCallAndAtTheResult(t *testing.T) {
	t.Parallel()
	s := &Sender{opt: Options{OpenBody: func(b job.Body) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Inline)), nil }}}
	body := func(text string) job.Body { return job.Body{Inline: []byte(text), Size: int64(len(text))} }
	long := strings.Repeat("x", MaxOrderKeyBytes+1)
	j := &job.Job{
		Request: job.Request{Method: "POST", Path: "/order/7", RawQuery: "till=3&twice=1&twice=2&long=" + long + "&nul=%00&bad=%zz&empty=",
			Header: http.Header{"Content-Type": {"application/json"}, "X-Shop": {"north"}, "X-Twice": {"1", "2"}},
			Params: map[string]string{"id": "7"}, Body: body(`{"customer": "a b", "n": 12, "deep": {"id": true}, "null": null}`)},
		Result: &job.Result{ContentType: "application/json", Header: http.Header{"X-Shard": {"4"}}, Body: body(`{"account": "z"}`)},
	}
	form := *j
	form.Request.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	form.Request.Body = body("customer=a+b&twice=1&twice=2")
	none := *j
	none.Result, none.Request.Body = nil, job.Body{}
	packed := *j
	packed.Request.Header = http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	for _, tt := range []struct {
		text string
		job  *job.Job
		want string
	}{
		{"$request.body#/customer", j, "a b"},
		{"$request.body#/n", j, "12"},
		{"$request.body#/deep/id", j, "true"},
		{"$request.body#/deep", j, ""},
		{"$request.body#/null", j, ""},
		{"$request.body#/missing", j, ""},
		{"$request.body#/customer", &form, "a b"},
		{"$request.body#/twice", &form, ""},
		{"$request.body#/customer", &none, ""},
		{"$request.body#/customer", &packed, ""},
		{"{$request.path.id}-{$request.query.till}", j, "7-3"},
		{"{$request.path.id}-{$request.query.missing}", j, ""},
		{"$request.query.twice", j, ""},
		{"$request.query.empty", j, ""},
		{"$request.query.bad", j, ""},
		{"$request.header.x-shop", j, "north"},
		{"$request.header.X-Twice", j, ""},
		{"$method", j, "POST"},
		{"$response.body#/account", j, "z"},
		{"$response.header.X-Shard", j, "4"},
		{"$response.header.Content-Type", j, "application/json"},
		{"$response.header.X-Missing", j, ""},
		{"$response.body#/account", &none, ""},
		{"$response.header.X-Shard", &none, ""},
		{"$request.query.long", j, "sha256:"},
		{"$request.query.nul", j, "sha256:"},
	} {
		expr, err := ParseOrderKey(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		got := orderKey(expr, jobCall{s, tt.job})
		if tt.want == "sha256:" {
			if len(got) != len("sha256:")+64 || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s is %q", tt.text, got)
			}
		} else if got != tt.want {
			t.Errorf("%s is %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestLongKeysThatDifferAreDifferentLines(t *testing.T) {
	t.Parallel()
	expr, err := ParseOrderKey("$request.query.k")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, end := range []string{"a", "b", "a"} {
		j := &job.Job{Request: job.Request{RawQuery: "k=" + strings.Repeat("x", 1000) + end}}
		keys[orderKey(expr, jobCall{&Sender{}, j})] = true
	}
	if len(keys) != 2 {
		t.Errorf("%d keys, want 2", len(keys))
	}
}
