package receiver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ringback/ringback/sign"
)

// checkPublicURL says what is wrong with Options.PublicURL.
func checkPublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || text != "" && (u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		return errors.New("new receiver: Options.PublicURL must be such as https://my.server, without a query")
	}
	return nil
}

// verify checks whichever signature the request has. One of RFC 9421 says all that the
// others say and more, so it alone is checked where there is one.
func (rc *Receiver) verify(r *http.Request, body []byte) (Message, error) {
	now := time.Now()
	if !sign.HasRFC9421(r.Header) {
		if rc.requireRFC9421 {
			return Message{}, fmt.Errorf(`%w: Signature-Input is missing; have the endpoint's callbacks signed: {"signature": ["v1", "rfc9421"]}`, sign.ErrHeader)
		}
		m, err := sign.Verify(r.Header, body, now, rc.secrets...)
		if err == nil && sign.SaysOutsideBody(sign.Request{Message: sign.Message{Body: body}, Method: r.Method, Header: r.Header}) {
			return Message{}, fmt.Errorf("%w: it has no body, a method without one, or headers Ringback-* or ce-*, and webhook-signature covers the body alone; gateways "+
				"sign such a request by RFC 9421, too: let proxies pass Signature, Signature-Input and Content-Digest on, or it is forged", ErrOutsideBody)
		}
		return Message{ID: m.ID, Timestamp: m.Timestamp, Body: body}, err
	}
	var err error
	for _, base := range rc.bases(r) {
		var m sign.Message
		m, err = sign.VerifyRFC9421(sign.Request{Message: sign.Message{Body: body}, Method: r.Method, URL: base + r.URL.RequestURI(), Header: r.Header}, now, rc.secrets...)
		if err == nil {
			return Message{ID: m.ID, Timestamp: m.Timestamp, Body: body, WholeRequest: true}, nil
		}
		if !errors.Is(err, sign.ErrMismatch) {
			break
		}
	}
	return Message{}, err
}

// bases are what the URL may have begun with, as the sender called it. Whether it was
// https does not show behind a proxy that ends TLS, so both are tried.
func (rc *Receiver) bases(r *http.Request) []string {
	if rc.publicURL != "" {
		return []string{strings.TrimSuffix(rc.publicURL, "/")}
	}
	bases := []string{"https://" + r.Host, "http://" + r.Host}
	if r.TLS == nil {
		bases[0], bases[1] = bases[1], bases[0]
	}
	return bases
}
