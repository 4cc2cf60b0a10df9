package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestDestinationsAndPoliciesAreRead(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, `
operations:
  a:
    route: POST /a/{id}
    backend: {relay: {}}
    callback:
      also: ["{$request.header.Copy}", ["{$request.path.id}", "https://a.example"]]
      success: "{$request.body#/ok}"
      subscriber: true
      policy: {prefixes: [https://a.example/in/], https: true, ports: [443, 8443]}
      headers: {X-Order: "no. {$request.body#/order}"}
      query: {v: "1"}
      caller_may: [method, format]
  b: {route: POST /b, backend: {relay: {}}, callback: {policy: registered}}
  c: {route: POST /c, backend: {relay: {}}, callback: {policy: any}}
`, Sources{}, map[string]string{"RINGBACK_OPERATIONS_C_CALLBACK_POLICY_PORTS": "443,80", "RINGBACK_OPERATIONS_C_CALLBACK_ALSO": "x"})
	got := s.Options.Operations[0].Callback
	want := job.Contract{
		Also:     [][]string{{"{$request.header.Copy}"}, {"{$request.path.id}", "https://a.example"}},
		Success:  []string{"{$request.body#/ok}", subscriberSuccess},
		Failure:  []string{subscriberFailure},
		Progress: []string{subscriberProgress},
		Policy:   job.Policy{Prefixes: []string{"https://a.example/in/"}, HTTPS: true, Ports: []uint16{443, 8443}},
		Headers:  map[string]string{"X-Order": "no. {$request.body#/order}"},
		Query:    map[string]string{"v": "1"}, CallerMay: []string{"method", "format"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if p := s.Options.Operations[1].Callback.Policy; !p.Registered {
		t.Errorf("b: %+v", p)
	}
	if p := s.Options.Operations[2].Callback.Policy; p.Registered || len(p.Ports) != 2 {
		t.Errorf("c: %+v", p)
	}
}

func TestWrongDestinationsAndPoliciesAreSaidWithTheirPlace(t *testing.T) {
	t.Parallel()
	for callback, want := range map[string]string{
		"{policy: some}":                               `callback.policy: "some" is no policy`,
		"{policy: {prefix: [x]}}":                      "callback.policy.prefix: unknown key",
		"{policy: {prefixes: [https://u@a.example/]}}": "callback.policy: the prefix",
		"{policy: {ports: [0]}}":                       `callback.policy.ports[0]: "0" is not a port`,
		"{policy: {ports: [70000]}}":                   `callback.policy.ports[0]: "70000" is not a port`,
		"{also: [['{$nope}']]}":                        "callback.also[0][0]: ",
		"{also: https://a.example}":                    "callback.also: must be a list",
		"{success: '{$request.path.nope}'}":            "callback.success[0]: the route has no parameter {nope}",
		"{headers: {Host: x}}":                         "callback.headers.Host: ",
		"{headers: {Authorization: x}}":                "callback.headers.Authorization: it would be stored with every job",
		"{headers: {webhook-id: x}}":                   "callback.headers.webhook-id: ",
		"{headers: {X-A: '{$request.header.Cookie}'}}": "callback.headers.X-A: ",
		"{query: {k: '{$request.body#nope}'}}":         "callback.query.k: ",
		"{caller_may: [body]}":                         "callback.caller_may[0]: ",
	} {
		_, err := loadText(t, op("{relay: {}}", "callback: "+callback), Sources{}, nil)
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), "operations.scan."+want) || !strings.Contains(err.Error(), "7:") {
			t.Errorf("%s: %v, want %s", callback, err, want)
		}
	}
}
