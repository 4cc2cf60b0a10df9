package api

import (
	"encoding/json"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestRefusedURLIsToldWithItsPlaces(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback = job.Contract{URL: []string{"{$request.query.to}", "{$request.header.x-to}", "{$request.body#/a~1b/0}",
			"https://{$request.query.host}/{$request.header.Kind}"}}
		o.Operations[1].Callback = job.Contract{URL: []string{"{$request.query.to}"}, CallerMay: []string{"state"}}
	})
	key := g.app("shop")
	for _, test := range []struct {
		path, document, header string
		places                 []ProblemItem
	}{
		{"/scan?to=nonsense", "{}", "", []ProblemItem{{Parameter: "to"}}},
		{"/scan?to=", "{}", "", []ProblemItem{{Parameter: "to"}}},
		{"/scan?to=a&to=b", "{}", "", []ProblemItem{{Parameter: "to"}}},
		{"/scan", "{}", "X-To", []ProblemItem{{Header: "X-To"}}},
		{"/scan", `{"a/b": ["nonsense"]}`, "", []ProblemItem{{Pointer: "#/a~1b/0"}}},
		{"/scan", `{"a/b": [{}]}`, "", []ProblemItem{{Pointer: "#/a~1b/0"}}},
		{"/scan?host=", "{}", "Kind", []ProblemItem{{Parameter: "host"}, {Header: "Kind"}}},
		{"/reports/x?to=https://a.example", "{}", "", []ProblemItem{{Parameter: "to"}}},
	} {
		headers := []string{"Content-Type", "application/json"}
		if test.header != "" {
			headers = append(headers, test.header, "nonsense")
		}
		a := g.call("POST", test.path, key, test.document, headers...)
		a.want(t, 400, "")
		var p Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			t.Fatal(err)
		}
		for i := range p.Errors {
			if p.Errors[i].Detail == "" {
				t.Errorf("%s %s: %s says nothing", test.path, test.document, a.body)
			}
			p.Errors[i].Detail = ""
		}
		if len(p.Errors) != len(test.places) {
			t.Errorf("%s %s: %s", test.path, test.document, a.body)
			continue
		}
		for i, place := range test.places {
			if p.Errors[i] != place {
				t.Errorf("%s %s: %+v, want %+v", test.path, test.document, p.Errors[i], place)
			}
		}
	}
}
