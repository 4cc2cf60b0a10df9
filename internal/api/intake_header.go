package api

import (
	"net/http"
	"slices"
	"strings"
)

// readHeader takes over the headers that the backend will see. Cookie is kept sealed,
// and so is, in front of an upstream, Authorization, which is the upstream's there.
func (c *call) readHeader() (p *Problem) {
	c.job.Request.Header = c.op.endToEnd(c.r.Header)
	authorization := ""
	if c.api.opt.Upstream != nil {
		// The upstream sees the host that its callers name, now or later.
		c.job.Request.Header["Host"] = []string{c.r.Host}
		authorization, p = singleHeader(c.r.Header, authorizationHeader)
	}
	cookie := strings.Join(c.job.Request.Header["Cookie"], "; ") // RFC 9113 §8.2.3
	delete(c.job.Request.Header, "Cookie")
	if authorization != "" || cookie != "" {
		c.job.Request.Authorization = c.api.opt.Seal.Seal([]byte(authorization+"\n"+cookie), authorizationUse)
	}
	return p
}

// endToEnd picks the headers that are meant for whoever executes the operation.
// The values are shared with h.
func (op *operation) endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h))
	connection := h["Connection"]
	for name, values := range h {
		switch {
		case isOwnHeader(name) || op.isChoice(name) || slices.Contains(op.ownHeaders, name):
		case connection != nil && isNamed(connection, name):
		default:
			out[name] = values
		}
	}
	return out
}

// isOwnHeader tells the headers that end here: those of this connection (RFC 9110
// §7.6.1), those that the HTTP library sets anew, and those that are for the gateway.
func isOwnHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Host", "Content-Length", "Expect",
		authorizationHeader, "Ringback-Key", "Idempotency-Key", "Prefer", "Traceparent", "Tracestate":
		return true
	}
	return false
}

func (op *operation) isChoice(name string) bool {
	return (strings.HasPrefix(name, "X-Callback") || strings.HasPrefix(name, "X-Run")) &&
		slices.ContainsFunc(op.choices(), func(c choice) bool { return c.header == name })
}

// isNamed tells whether a Connection header names another header.
func isNamed(connection []string, name string) bool {
	for _, value := range connection {
		for token := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(token, " \t"), name) {
				return true
			}
		}
	}
	return false
}
