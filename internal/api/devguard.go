package api

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// devGuard keeps web pages away from a gateway that asks for no key. A page can
// make a browser send requests to loopback: across origins, where fetch metadata
// and Origin tell, or under a name of its own that resolves to loopback, where
// Host tells. Unlike net/http's CrossOriginProtection it guards GET too, since a
// GET can be the route of an operation.
func devGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !loopbackHost(r.Host) || r.URL.Host != "" && !loopbackHost(r.URL.Host):
			kindMisdirected.problem("with --dev only localhost, 127.0.0.1 and [::1] are served").write(w)
		case crossOrigin(r):
			kindCrossSite.problem("with --dev no other web page may send requests").write(w)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(host, "localhost") || host == "127.0.0.1" || host == "::1"
}

func crossOrigin(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Sec-Fetch-Site"], func(site string) bool {
		return site != "same-origin" && site != "none"
	}) || slices.ContainsFunc(r.Header["Origin"], func(origin string) bool {
		u, err := url.Parse(origin) // "null" has no host
		return err != nil || u.Host != r.Host
	})
}
