package callback

import (
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

func TestVariablesAreReplacedWhereTheyStand(t *testing.T) {
	t.Parallel()
	cb, _ := fixture()
	id, callback := cb.JobID.Job(), cb.ID.Callback()
	params := map[string]string{"kind": "a/b ?&=#%", "dots": "..", "dot": ".", "three": "...", "empty": ""}
	for url, want := range map[string]string{
		"https://h.example/{job.id}":                      "https://h.example/" + id,
		"https://h.example?e={event}&o={job.operation}":   "https://h.example?e=succeeded&o=scan",
		"https://h.example/{app}/{callback.id}?":          "https://h.example/shop/" + callback + "?",
		"https://h.example/x{params.kind}y?{params.kind}": "https://h.example/xa%2Fb%20%3F%26%3D%23%25y?a%2Fb%20%3F%26%3D%23%25",
		"https://h.example/{params.three}/{params.empty}": "https://h.example/.../",
		"https://h.example/a{params.dots}":                "https://h.example/a..",
		"https://h.example/x?{params.dots}":               "https://h.example/x?..",
		"https://h.example/%7Bapp%7D":                     "https://h.example/%7Bapp%7D",
	} {
		if got, err := expand(url, cb, params); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", url, got, err, want)
		}
	}
	for _, url := range []string{
		"https://{app}.example/", "https://h.example:{event}/", "https://{app}", "{app}", "{event}://h.example/", "https://{app}@h.example/x",
		"https://h.example/{nope}", "https://h.example/{}", "https://h.example/{params.}", "https://h.example/{params.nope}", "https://h.example/{JOB.ID}",
		"https://h.example/{app", "https://h.example/app}", "https://h.example/}{", "https://h.example/{{app}}",
		"https://h.example/{params.dots}", "https://h.example/{params.dots}/x", "https://h.example/{params.dot}?x", "https://h.example/{app}/../x",
	} {
		if got, err := expand(url, cb, params); err == nil {
			t.Errorf("%s is taken: %s", url, got)
		}
	}
}

func TestEndpointURLIsCheckedAsItWillBeCalled(t *testing.T) {
	t.Parallel()
	c, err := outbound.New(outbound.Policy{}, outbound.Limits{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	j := &job.Job{Operation: "scan", App: "shop", Request: job.Request{Params: map[string]string{"kind": "x"}}}
	for _, test := range []struct {
		url string
		j   *job.Job
		ok  bool
	}{
		{"https://h.example/{params.kind}", nil, true},
		{"https://h.example/{params.kind}", j, true},
		{"https://h.example/{params.other}", nil, true},
		{"https://h.example/{params.other}", j, false},
		{"https://h.example/{params.kind}", &job.Job{}, false},
		{"https://127.0.0.1/{event}", nil, false},
		{"http://h.example/{event}", nil, false},
		{"https://h.example/" + strings.Repeat("{callback.id}", 100), nil, false},
	} {
		if _, err := EndpointURL(c, test.url, test.j); (err == nil) != test.ok {
			t.Errorf("%.60s: %v", test.url, err)
		}
	}
	policy := &job.Policy{Prefixes: []string{"https://h.example/in/"}}
	for url, ok := range map[string]bool{
		"https://h.example/in/{nope}": true, "https://h.example/{event}": false, "https://h.example/in/x": true, "nonsense": false,
	} {
		if err := CheckPolicy(c, url, policy); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzVariablesNeverChangeWhoIsCalled(f *testing.F) {
	f.Add("https://h.example/{params.p}?x={params.p}", "a/../b")
	f.Add("https://h.example?{params.p}#", "@evil.example")
	c, err := outbound.New(outbound.Policy{}, outbound.Limits{}, outbound.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	cb, _ := fixture()
	f.Fuzz(func(t *testing.T, url, value string) {
		before, err := expand(url, cb, nil)
		if err != nil {
			return
		}
		after, err := expand(url, cb, map[string]string{"p": value})
		if err != nil {
			return
		}
		one, err := c.Check(before)
		if err != nil {
			return
		}
		two, err := c.Check(after)
		if err == nil && (two.Origin() != one.Origin() || strings.Count(after, "/") != strings.Count(before, "/") || strings.Count(after, "?") != strings.Count(before, "?")) {
			t.Fatalf("%q with %q becomes %q", url, value, after)
		}
	})
}
