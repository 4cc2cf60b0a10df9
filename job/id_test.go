package job

import (
	"testing"
	"time"
)

func TestIDsGrowWithinAMillisecondAndWhenTheClockJumpsBack(t *testing.T) {
	t.Parallel()
	var ids IDs
	now := time.UnixMilli(1_700_000_000_000)
	last := ids.New(now)
	for i := range 100_000 {
		at := now
		if i%3 == 0 {
			at = now.Add(-time.Hour)
		}
		id := ids.New(at)
		if id.Compare(last) <= 0 || id.Key() <= last.Key() || id.Job() <= last.Job() {
			t.Fatalf("id %d does not grow: %s after %s", i, id.Job(), last.Job())
		}
		last = id
	}
}

func TestObservedIDIsNeverMadeAgain(t *testing.T) {
	t.Parallel()
	var before, after IDs
	old := before.New(time.UnixMilli(1_700_000_000_000))
	after.Observe(old)
	if id := after.New(time.UnixMilli(1_600_000_000_000)); id.Key() <= old.Key() {
		t.Fatalf("%x is not after %x", id.Key(), old.Key())
	}
}

func TestIDTextGoesRound(t *testing.T) {
	t.Parallel()
	var ids IDs
	at := time.UnixMilli(1_790_000_000_123)
	for range 1000 {
		id := ids.New(at)
		got, ok := ParseJob(id.Job())
		if !ok || got != id {
			t.Fatalf("ParseJob(%q) = %x, %v; want %x", id.Job(), got, ok, id)
		}
		if got, ok := ParseCallback(id.Callback()); !ok || got != id {
			t.Fatalf("ParseCallback(%q) = %x, %v", id.Callback(), got, ok)
		}
	}
	if id := ids.New(at); id.Time().Sub(at) > time.Second || id.Time().Before(at) {
		t.Fatalf("Time() = %v, want about %v", id.Time(), at)
	}
}

func FuzzParseJob(f *testing.F) {
	var ids IDs
	f.Add(ids.New(time.UnixMilli(1)).Job())
	f.Add("job_7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("job_\x00")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseJob(s); ok && id.Job() != s {
			t.Fatalf("%q reads as %q", s, id.Job())
		}
	})
}

func FuzzParseCallback(f *testing.F) {
	var ids IDs
	f.Add(ids.New(time.UnixMilli(1)).Callback())
	f.Add(ids.New(time.UnixMilli(1)).Job())
	f.Add("cb_7zzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("cb_\x00")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseCallback(s); ok && id.Callback() != s {
			t.Fatalf("%q reads as %q", s, id.Callback())
		}
	})
}

func TestOriginLeavesNothingSecret(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://my.server/bar?token=1":      "https://my.server",
		"https://user:pw@My.Server:8443/x#y": "https://my.server:8443",
		"http://[::1]:80/":                   "http://[::1]:80",
		"https://example.com?@127.0.0.1/":    "https://example.com",
		"https://example.com\\@127.0.0.1/":   "https://example.com",
		"nonsense":                           "",
	} {
		if got := Origin(url); got != want {
			t.Errorf("Origin(%q) = %q, want %q", url, got, want)
		}
	}
}
