package api

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// limit sets the limits of an app.
func (g *gateway) limit(app, limits string) {
	g.t.Helper()
	g.call("PATCH", "/v1/apps/"+app, adminKey, `{"limits":`+limits+`}`).want(g.t, 200, "")
}

func TestCallsOfAnAppAreLimited(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	began := time.Now()
	g := setup(t, func(o *Options) {
		o.Now = func() time.Time { return began.Add(time.Duration(clock.Load())) }
		o.Limits = job.Limits{Calls: 3, Per: time.Minute}
	})
	key, free := g.app("shop"), g.app("free")
	g.limit("free", `{"calls":"none"}`)
	for i, want := range []string{`"calls";r=2;t=20`, `"calls";r=1;t=40`, `"calls";r=0;t=60`} {
		a := g.call([]string{"GET", "POST", "GET"}[i], []string{"/v1/jobs", "/scan", "/v1/endpoints"}[i], key, "")
		if a.status/100 != 2 || a.header.Get("RateLimit-Policy") != `"calls";q=3;w=60` || a.header.Get("RateLimit") != want {
			t.Errorf("%d %q %q, want %q", a.status, a.header.Get("RateLimit-Policy"), a.header.Get("RateLimit"), want)
		}
	}
	for _, path := range []string{"GET /v1/jobs", "POST /scan"} {
		method, path, _ := strings.Cut(path, " ")
		a := g.call(method, path, key, "")
		a.want(t, 429, "limit_calls")
		if a.header.Get("RateLimit") != `"calls";r=0;t=20` || a.header.Get("Retry-After") != "20" {
			t.Errorf("%q, Retry-After %q", a.header.Get("RateLimit"), a.header.Get("Retry-After"))
		}
	}
	for range 5 {
		a := g.call("GET", "/v1/jobs", free, "")
		a.want(t, 200, "")
		if a.header.Get("RateLimit") != "" {
			t.Error("an app without a limit is told of one")
		}
	}
	clock.Store(int64(20 * time.Second))
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	g.call("GET", "/v1/jobs", key, "").want(t, 429, "limit_calls")
	// A change of the app that is none of its limit leaves the bucket as it is.
	g.key("shop", "read")
	g.call("GET", "/v1/jobs", key, "").want(t, 429, "limit_calls")
	g.limit("shop", `{"calls":"100/s"}`)
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
}

func TestJobsBytesAndEndpointsOfAnAppAreLimited(t *testing.T) {
	t.Parallel()
	var bodies *countedBodies
	g := setup(t, func(o *Options) { bodies = countBodies(o) })
	key := g.app("shop")
	g.limit("shop", `{"jobs":5,"bytes":200000,"endpoints":1}`)
	var accepted, refused atomic.Int64
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			switch a := g.call("POST", "/scan", key, "{}"); a.status {
			case 202:
				accepted.Add(1)
			case 429:
				refused.Add(1)
				if a.header.Get("RateLimit-Policy") != `"jobs";q=5` || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "limit_jobs") {
					t.Errorf("%v %s", a.header, a.body)
				}
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	calls.Wait()
	if accepted.Load() != 5 || refused.Load() != 15 {
		t.Errorf("%d accepted, %d refused", accepted.Load(), refused.Load())
	}
	g.limit("shop", `{"bytes":200000,"endpoints":1}`)
	document := strings.Repeat("a", 150_000)
	g.call("POST", "/scan", key, document, "Idempotency-Key", "k").want(t, 202, "")
	g.call("POST", "/scan", key, document).want(t, 429, "limit_bytes")
	g.call("POST", "/scan", key, document, "Idempotency-Key", "k").want(t, 202, "")
	if n := bodies.count(); n != 1 {
		t.Errorf("%d files, want that of the job", n)
	}
	g.call("POST", "/v1/endpoints", key, `{"name":"a","url":"https://a.example/"}`).want(t, 201, "")
	a := g.call("POST", "/v1/endpoints", key, `{"name":"b","url":"https://a.example/"}`)
	a.want(t, 429, "limit_endpoints")
	if a.header.Get("Retry-After") == "" || a.header.Get("RateLimit-Policy") != `"endpoints";q=1` {
		t.Errorf("%v", a.header)
	}
	for path, key := range map[string]string{"/v1/usage": key, "/v1/apps/shop/usage": adminKey} {
		a = g.call("GET", path, key, "")
		a.want(t, 200, "")
		for _, want := range []string{`"jobs":6`, `"bytes":` + strconv.Itoa(5*2+len(document)), `"endpoints":1`, `"limits":{"bytes":200000,"endpoints":1}`} {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s lacks %s: %s", path, want, a.body)
			}
		}
	}
	g.call("GET", "/v1/apps/nobody/usage", adminKey, "").want(t, 404, "not_found")
	for _, bad := range []string{`{"calls":"100"}`, `{"calls":"0/s"}`, `{"jobs":-2}`, `{"bytes":"1GiB"}`, `{"rate":"1/s"}`} {
		g.call("PATCH", "/v1/apps/shop", adminKey, `{"limits":`+bad+`}`).want(t, 400, "bad_request")
	}
	g.call("PATCH", "/v1/apps/nobody", adminKey, `{"limits":{}}`).want(t, 404, "not_found")
}

func TestCallsAreWrittenAsTheyAreRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"100/s", "6000/m", "1/h", "10000/d", "none"} {
		calls, per, err := job.ParseCalls(text)
		if got := (job.Limits{Calls: calls, Per: per}).CallsText(); err != nil || got != text {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
}
