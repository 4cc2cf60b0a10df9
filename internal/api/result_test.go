package api

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

func TestResultComesAsItIs(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	path := "/v1/jobs/" + j.ID.Job() + "/result"
	early := g.call("GET", path, key, "")
	early.want(t, 202, "")
	if early.header.Get("Retry-After") == "" || field[string](t, early, "status") != "accepted" {
		t.Errorf("not ready: %v %s", early.header, early.body)
	}
	g.finish(j, job.Succeeded, &job.Result{
		Status: 203, ContentType: "text/html; charset=utf-8", Body: body.Inline([]byte("<script>alert(1)</script>")),
		Header: http.Header{"X-Report": {"7"}, "Set-Cookie": {"session=1"}, "Access-Control-Allow-Origin": {"*"}, "Content-Security-Policy": {"default-src *"}},
	}, nil)
	a := g.call("GET", path, key, "")
	a.want(t, 200, "")
	if a.body != "<script>alert(1)</script>" {
		t.Errorf("body %q", a.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Report": "7", "Set-Cookie": "", "Access-Control-Allow-Origin": "",
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox", "Ringback-Result-Status": "203",
	} {
		if got := strings.Join(a.header[name], ", "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if head := g.call("HEAD", path, key, ""); head.body != "" || head.header.Get("Content-Length") != "25" {
		t.Errorf("HEAD: %v", head.header)
	}
}

func TestLargeResultIsReadInParts(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	text := strings.Repeat("0123456789", 20_000)
	stored, err := body.Read(t.Context(), g.bodies, strings.NewReader(text), 1<<20)
	if err != nil || stored.Ref == "" {
		t.Fatal(stored, err)
	}
	g.finish(j, job.Succeeded, &job.Result{Status: 200, ContentType: "text/plain", Body: stored}, nil)
	path := "/v1/jobs/" + j.ID.Job() + "/result"
	if a := g.call("GET", path, key, ""); a.status != 200 || a.body != text {
		t.Errorf("whole: %d, %d bytes", a.status, len(a.body))
	}
	if a := g.call("GET", path, key, "", "Range", "bytes=199995-"); a.status != 206 || a.body != "56789" {
		t.Errorf("range: %d %.100q", a.status, a.body)
	}
}

func TestResultThatIsTheRequestIsReadFromThere(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	g.finish(j, job.Succeeded, &job.Result{Status: 200, ContentType: "text/plain", Echo: true}, nil)
	if a := g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result", key, ""); a.body != "document" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestJobThatFailedHasNoResult(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	g.finish(j, job.Failed, nil, &job.Error{Code: job.CodeExit, Message: "exit status 3"})
	a := g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result", key, "")
	a.want(t, 409, "no_result")
	if !strings.Contains(a.body, "exit_status: exit status 3") {
		t.Errorf("the job's error is missing: %s", a.body)
	}
}

func TestSignedLinkOpensItsResultWithoutKey(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	g.app("a")
	j, other := g.job("a", nil), g.job("a", nil)
	g.finish(j, job.Succeeded, &job.Result{Status: 200, Body: body.Inline([]byte("verdict"))}, nil)
	token := g.seal.LinkToken(j.ID.Job())
	if a := g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result?token="+token, "", ""); a.status != 200 || a.body != "verdict" {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.call("GET", "/v1/jobs/"+other.ID.Job()+"/result?token="+token, "", "").want(t, 404, "not_found")
	g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result?token=A"+token[1:], "", "").want(t, 404, "not_found")
	g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result?token=", "", "").want(t, 401, "unauthenticated")
	g.call("GET", "/v1/jobs/"+j.ID.Job()+"?token="+token, "", "").want(t, 401, "unauthenticated")
	g.call("GET", "/v1/jobs/"+j.ID.Job()+"/events?token="+token, "", "").want(t, 401, "unauthenticated")
}

func TestLostResultIsAnErrorOfOurs(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	stored, err := body.Read(t.Context(), g.bodies, strings.NewReader(strings.Repeat("x", 100_000)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	g.finish(j, job.Succeeded, &job.Result{Status: 200, Body: stored}, nil)
	if err := g.bodies.Delete(stored.Ref); err != nil {
		t.Fatal(err)
	}
	a := g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result", key, "")
	a.want(t, 500, "internal")
	if strings.Contains(a.body, stored.Ref) || strings.Contains(a.body, string(filepath.Separator)+"tmp") || strings.Contains(a.body, os.TempDir()) {
		t.Errorf("the answer tells of files: %s", a.body)
	}
}
