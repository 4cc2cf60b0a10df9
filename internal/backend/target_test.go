package backend

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestURLOfAJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config, path, query string
		params              map[string]string
		want                string // the request target; empty: refused
	}{
		"fixed path":                  {config: "http://u/reports", path: "/x", want: "/reports"},
		"only a slash":                {config: "http://u/", path: "/x", want: "/"},
		"own path":                    {config: "http://u", path: "/a/b", query: "c=d", want: "/a/b?c=d"},
		"own path, byte for byte":     {config: "http://u", path: "/a%2Fb%2fc%20d//e;f,g:@!$&'()*+=~%7E", want: "/a%2Fb%2fc%20d//e;f,g:@!$&'()*+=~%7E"},
		"own path, letters unescaped": {config: "http://u", path: `/"<>^|{}` + "`[]", want: `/"<>^|{}` + "`[]"},
		"own path, two slashes":       {config: "http://u", path: "//evil/x", want: "//evil/x"},
		"own path, both":              {config: "http://u", path: `//"`, want: "//%22"},
		"own path, bad escape":        {config: "http://u", path: "/%zz", want: ""},
		"own path, a blank":           {config: "http://u", path: "/a b", want: ""},
		"own path, a query in it":     {config: "http://u", path: "/a?b", want: ""},
		"own path, a star":            {config: "http://u", path: "*", want: ""},
		"own path, an URL":            {config: "http://u", path: "http://evil/x", want: ""},
		"query of both":               {config: "http://u/r?a=1", query: "b=%2f&c;", want: "/r?a=1&b=%2f&c;"},
		"query of the configuration":  {config: "http://u/r?a=1", want: "/r?a=1"},
		"query with a blank":          {config: "http://u/r", query: "a b", want: ""},
		"parameter":                   {config: "http://u/r/{k}/x", params: map[string]string{"k": "daily"}, want: "/r/daily/x"},
		"two in a segment":            {config: "http://u/{a}.{b}", params: map[string]string{"a": "x", "b": "y"}, want: "/x.y"},
		"parameter is missing":        {config: "http://u/r/{k}", want: ""},
		"parameter is empty":          {config: "http://u/r/{k}", params: map[string]string{"k": ""}, want: ""},
		"parameter is escaped":        {config: "http://u/r/{k}", params: map[string]string{"k": "a/b?c#d%e f"}, want: "/r/a%2Fb%3Fc%23d%25e%20f"},
		"parameter is Unicode":        {config: "http://u/r/{k}", params: map[string]string{"k": "ä"}, want: "/r/%C3%A4"},
		"parameter holds a line end":  {config: "http://u/r/{k}", params: map[string]string{"k": "a HTTP/1.1\r\nX-Admin: 1"}, want: "/r/a%20HTTP%2F1.1%0D%0AX-Admin:%201"},
		"parameter climbs":            {config: "http://u/r/{k}", params: map[string]string{"k": ".."}, want: ""},
		"parameter climbs far":        {config: "http://u/r/{k}", params: map[string]string{"k": "../../admin"}, want: ""},
		"parameter climbs at the end": {config: "http://u/r/{k}", params: map[string]string{"k": "a/.."}, want: ""},
		"parameter climbs backwards":  {config: "http://u/r/{k}", params: map[string]string{"k": `..\admin`}, want: ""},
		"parameter stays":             {config: "http://u/r/{k}", params: map[string]string{"k": "."}, want: ""},
		"dots add up":                 {config: "http://u/r/.{k}", params: map[string]string{"k": "."}, want: ""},
		"escaped dots add up":         {config: "http://u/r/%2e{k}", params: map[string]string{"k": "."}, want: ""},
		"dots in a name":              {config: "http://u/r/{k}", params: map[string]string{"k": "a..b"}, want: "/r/a..b"},
		"escaped twice":               {config: "http://u/r/{k}", params: map[string]string{"k": "%2e%2e"}, want: "/r/%252e%252e"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, err := parseTarget(c.config)
			if err != nil {
				t.Fatal(err)
			}
			u, err := target.url(&job.Request{Path: c.path, RawQuery: c.query, Params: c.params})
			if c.want == "" {
				wantFailure(t, err, job.CodeBackendError, true)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := u.RequestURI(); got != c.want || u.Host != "u" {
				t.Errorf("%s at %s, want %s", got, u.Host, c.want)
			}
		})
	}
}

func TestURLInTheConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "must begin",
		"127.0.0.1:9000":       "must begin",
		"ftp://u/":             "must begin",
		"unix:///x":            "must begin",
		"http://":              "host",
		"http:///x":            "host",
		"http://:80/":          "host",
		"http://u:port/":       "host",
		"http://{host}/":       "host",
		"http://me:secret@u/":  "user name",
		"http://u/#x":          "fragment",
		"http://u/a b":         "blank",
		"http://u/ä":           "ASCII",
		"http://u/\n":          "control",
		"http://u/?a b":        "blank",
		"http://u/?a={b}":      "path only",
		"http://u/%zz":         "stray %",
		"http://u/}":           "stray",
		"http://u/{":           "begins no",
		"http://u/{}":          "begins no",
		"http://u/{a b}":       "blank",
		"http://u/{a/b}":       "begins no",
		"http://u/{rest...}":   "begins no",
		"http://u/{a{b}}":      "begins no",
		"http://u/ok/{a}/{b}x": "",
		"https://u:8443/%41":   "",
		"http://[::1]:80/":     "",
	} {
		_, err := NewHTTP(HTTPConfig{URL: text})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "backend.http.url: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: err = %v, want one with %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParamsNamesEachOnce(t *testing.T) {
	t.Parallel()
	h := newHTTP(t, HTTPConfig{URL: "http://u/{b}/{a}-{b}"})
	if got := strings.Join(h.Params(), " "); got != "a b" {
		t.Errorf("Params() = %s", got)
	}
}

func TestEndToEndDropsWhatConnectionNames(t *testing.T) {
	t.Parallel()
	in := http.Header{"Connection": {"close, x-One", "X-Two"}, "X-One": {"1"}, "X-Two": {"2"}, "X-Three": {"3"},
		"Te": {"trailers"}, "Upgrade": {"h2c"}, "Keep-Alive": {"1"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"X"},
		"Proxy-Authorization": {"x"}, "Proxy-Connection": {"x"}}
	out := endToEnd(in)
	if len(out) != 1 || out.Get("X-Three") != "3" {
		t.Errorf("kept %v", out)
	}
	if in.Get("X-One") != "1" {
		t.Error("the original was changed")
	}
	if out := endToEnd(nil); out == nil {
		t.Error("a nil header cannot be added to")
	}
}

func FuzzURLOfAJob(f *testing.F) {
	f.Add("http://u/r/{k}?q", "../x", "/p", "a=b")
	f.Add("http://u", "", "//x/%2f", "")
	f.Add("https://u:1/a{b}.{b}", "%2e", "/", "\x7f")
	f.Fuzz(func(t *testing.T, config, param, path, query string) {
		target, err := parseTarget(config)
		if err != nil {
			return
		}
		params := map[string]string{}
		for _, name := range target.params() {
			params[name] = param
		}
		u, err := target.url(&job.Request{Path: path, RawQuery: query, Params: params})
		if err != nil {
			return
		}
		uri := u.RequestURI()
		if u.Scheme+"://"+u.Host != target.origin() || !strings.HasPrefix(uri, "/") || !sendable(uri) {
			t.Fatalf("%q %q %q %q lead to %q at %q", config, param, path, query, uri, u.Host)
		}
		sent, _, _ := strings.Cut(uri, "?")
		if target.segments == nil {
			plain, err := url.PathUnescape(path)
			if got, _ := url.PathUnescape(sent); err != nil || got != plain {
				t.Fatalf("path %q is sent as %q: %v", path, sent, err)
			}
			if sent != path && !strings.HasPrefix(path, "//") {
				t.Fatalf("path %q is sent as %q", path, sent)
			}
			return
		}
		if n := strings.Count(sent, "/"); n != len(target.segments) {
			t.Fatalf("%q with %q has %d segments: %q", config, param, n, sent)
		}
		for i, s := range strings.Split(sent, "/")[1:] {
			plain, err := url.PathUnescape(s)
			if err != nil || len(target.segments[i]) > 1 && (plain == "." || plain == "..") {
				t.Fatalf("%q with %q: segment %q", config, param, s)
			}
		}
	})
}
