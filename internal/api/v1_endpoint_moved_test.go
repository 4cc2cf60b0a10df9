package api

import "testing"

func TestCredentialsDoNotGoAlongToAnotherOrigin(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	g.call("POST", "/v1/endpoints", key, `{"name":"bearer","url":"https://a.example/x","auth":{"bearer":{"token":"hunter2"}}}`).want(t, 201, "")
	g.call("POST", "/v1/endpoints", key, `{"name":"header","url":"https://a.example/x","headers":{"Authorization":"Bearer hunter2"}}`).want(t, 201, "")
	g.call("POST", "/v1/endpoints", key, `{"name":"none","url":"https://a.example/x"}`).want(t, 201, "")
	for _, tt := range []struct {
		name, patch string
		want        int
	}{
		{"bearer", `{"url":"https://a.example/y"}`, 200},
		{"bearer", `{"url":"https://A.example/z?q"}`, 200},
		{"bearer", `{"url":"https://evil.example/"}`, 400},
		{"bearer", `{"url":"https://a.example:8443/"}`, 400},
		{"bearer", `{"url":"https://evil.example/","auth":{"bearer":{"token":"[redacted]"}}}`, 400},
		{"bearer", `{"auth":{"bearer":{"token":"[redacted]"}}}`, 200},
		{"bearer", `{"url":"https://b.example/","auth":{"bearer":{"token":"hunter3"}}}`, 200},
		{"bearer", `{"url":"https://c.example/","auth":{}}`, 200},
		{"bearer", `{"url":"https://d.example/"}`, 200},
		{"header", `{"url":"https://evil.example/"}`, 400},
		{"header", `{"url":"https://evil.example/","headers":{"authorization":"[redacted]"}}`, 400},
		{"header", `{"url":"https://evil.example/","headers":{"X-A":"b"}}`, 200},
		{"none", `{"url":"https://evil.example/"}`, 200},
	} {
		code := ""
		if tt.want == 400 {
			code = "bad_request"
		}
		t.Log(tt.name, tt.patch)
		g.call("PATCH", "/v1/endpoints/"+tt.name, key, tt.patch).want(t, tt.want, code)
	}
}
