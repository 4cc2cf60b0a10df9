package client_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ringback/ringback/client"
)

func TestTimesAreUTCWithMilliseconds(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 2*60*60)
	for at, want := range map[time.Time]string{
		time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC):       `"2026-03-01T12:00:00.000Z"`,
		time.Date(2026, 3, 1, 14, 0, 0, 120_999_999, east): `"2026-03-01T12:00:00.120Z"`,
		{}: `null`,
	} {
		got, err := json.Marshal(client.At(at))
		if err != nil || string(got) != want {
			t.Errorf("At(%v) is written %s, %v; want %s", at, got, err, want)
		}
	}
}

func TestTimesAreReadFromAnyZone(t *testing.T) {
	t.Parallel()
	var v struct{ A, B, C client.Time }
	err := json.Unmarshal([]byte(`{"A":"2026-03-01T14:00:00.120+02:00","B":null,"C":"2026-03-01T12:00:00Z"}`), &v)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.A.String() + " " + v.B.String() + " " + v.C.String(); got != "2026-03-01T12:00:00.120Z  2026-03-01T12:00:00.000Z" {
		t.Errorf("read %q", got)
	}
	for _, bad := range []string{`1`, `"yesterday"`, `""`, `{}`} {
		if err := json.Unmarshal([]byte(bad), &v.A); err == nil {
			t.Errorf("%s is read as %v", bad, v.A)
		}
	}
}

func TestJobWithoutCallbackLeavesOutWhatItHasNot(t *testing.T) {
	t.Parallel()
	at := client.At(time.UnixMilli(1_790_000_000_000))
	got, err := json.Marshal(client.Job{ID: "job_1", Operation: "scan", Status: client.StatusAccepted, CreatedAt: at,
		Links: client.Links{Self: "/s", Result: "/r", Events: "/e"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"job_1","operation":"scan","status":"accepted","created_at":"2026-09-21T14:13:20.000Z","attempts":0,` +
		`"links":{"self":"/s","result":"/r","events":"/e"}}`
	if string(got) != want {
		t.Errorf("written %s\nwant    %s", got, want)
	}
}

func TestPatchTellsUnchangedFromEmpty(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		patch client.EndpointPatch
		want  string
	}{
		{client.EndpointPatch{}, `{}`},
		{client.EndpointPatch{Operations: []string{}, Headers: map[string]string{}}, `{"operations":[],"headers":{}}`},
		{client.EndpointPatch{Disabled: new(bool)}, `{"disabled":false}`},
	} {
		got, err := json.Marshal(c.patch)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v is written %s, %v; want %s", c.patch, got, err, c.want)
		}
	}
}
