package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// authUse is of the sealer.
const authUse = "auth"

// setAuth gives an endpoint the credentials of a request; nil leaves them, and empty
// ones take them away. A secret that is sent as it is shown stays what it was, but
// no OAuth2 secret goes to another URL in that way.
func (v *v1) setAuth(e *job.Endpoint, sent *client.EndpointAuth) error {
	if sent == nil {
		return nil
	}
	var before job.Auth
	if known, ok := v.openAuth(e); ok {
		before = known
	}
	c := authCheck{}
	auth, kinds := job.Auth{}, 0
	if b := sent.Basic; b != nil {
		kinds++
		known := before.Basic
		auth.Basic = &job.BasicAuth{Username: b.Username, Password: b.Password}
		c.text("basic/username", b.Username, ":")
		if b.Password != redactedValue {
			c.text("basic/password", b.Password, "")
		} else if c.known("basic/password", known != nil) {
			auth.Basic.Password = known.Password
		}
	}
	if b := sent.Bearer; b != nil {
		kinds++
		auth.Bearer = &job.BearerAuth{Token: b.Token}
		if b.Token != redactedValue {
			c.token("bearer/token", b.Token)
		} else if c.known("bearer/token", before.Bearer != nil) {
			auth.Bearer.Token = before.Bearer.Token
		}
	}
	if o := sent.OAuth2; o != nil {
		kinds++
		auth.OAuth2 = v.oauth2(&c, o, before.OAuth2)
	}
	if m := sent.MTLS; m != nil {
		kinds++
		auth.MTLS = v.mtls(&c, m, before.MTLS)
	}
	if kinds > 1 {
		c.fault("", "there may be one of basic, bearer, oauth2 and mtls")
	}
	if len(c.items) > 0 {
		return faultyBody(c.items...)
	}
	if e.Auth = nil; kinds == 0 {
		return nil
	}
	plain, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	e.Auth = v.opt.Seal.Seal(plain, authUse)
	return nil
}

func (v *v1) oauth2(c *authCheck, o *client.OAuth2Auth, before *job.OAuth2) *job.OAuth2 {
	out := &job.OAuth2{TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes, Audience: o.Audience}
	if err := v.opt.CheckURL(o.TokenURL); err != nil {
		c.fault("oauth2/token_url", strings.ReplaceAll(err.Error(), "callback URL", "token URL"))
	}
	c.text("oauth2/client_id", o.ClientID, "")
	if o.ClientSecret != redactedValue {
		c.text("oauth2/client_secret", o.ClientSecret, "")
	} else if c.known("oauth2/client_secret", before != nil && before.TokenURL == o.TokenURL) {
		out.ClientSecret = before.ClientSecret
	}
	for i, scope := range o.Scopes {
		c.token(fmt.Sprintf("oauth2/scopes/%d", i), scope)
	}
	c.text("oauth2/audience", o.Audience, "")
	return out
}

func (v *v1) mtls(c *authCheck, m *client.MTLSAuth, before *job.MTLS) *job.MTLS {
	out := &job.MTLS{Certificate: m.Certificate, Key: m.Key}
	if m.Key == redactedValue && c.known("mtls/key", before != nil) {
		out.Key = before.Key
	}
	pair, err := out.Pair()
	switch {
	case errors.Is(err, job.ErrCertificatePEM):
		c.fault("mtls/certificate", err.Error())
	case out.Key == redactedValue: // said already
	case err != nil:
		c.fault("mtls/key", err.Error())
	case v.now().After(pair.Leaf.NotAfter):
		c.fault("mtls/certificate", "the certificate ended on "+pair.Leaf.NotAfter.UTC().Format("2006-01-02 15:04:05")+" UTC")
	}
	return out
}

// authCheck gathers what is wrong with credentials. It repeats nothing of them.
type authCheck struct{ items []ProblemItem }

func (c *authCheck) fault(place, detail string) {
	c.items = append(c.items, ProblemItem{Pointer: strings.TrimSuffix("#/auth/"+place, "/"), Detail: detail})
}

// text wants no control characters, and none of the others that are named.
func (c *authCheck) text(place, value, without string) {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.ContainsAny(value, without) {
		c.fault(place, "this holds a character that it may not hold")
	}
}

// token wants what may stand in a header without quotes (RFC 6749 appendix A).
func (c *authCheck) token(place, value string) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
		c.fault(place, `this must be ASCII without blanks, " and \`)
	}
}

// known tells whether there is a secret that the redacted one stands for.
func (c *authCheck) known(place string, known bool) bool {
	if !known {
		c.fault(place, "there is no secret that "+redactedValue+" could stand for")
	}
	return known
}

// checkAuth says what does not go with an endpoint's credentials.
func (v *v1) checkAuth(e *job.Endpoint) error {
	auth, ok := v.openAuth(e)
	if !ok {
		return nil
	}
	if auth.MTLS != nil && len(e.URL) >= 5 && strings.EqualFold(e.URL[:5], "http:") {
		return faultyBody(ProblemItem{Pointer: "#/auth/mtls", Detail: "a certificate can be shown to an https URL only"})
	}
	if auth.MTLS == nil && e.Authorization != nil {
		return faultyBody(ProblemItem{Pointer: "#/auth", Detail: "the endpoint has a header Authorization already: leave out one of the two"})
	}
	return nil
}

// openAuth is false where there are no credentials, or none that can be opened.
func (v *v1) openAuth(e *job.Endpoint) (auth job.Auth, ok bool) {
	if e.Auth == nil {
		return auth, false
	}
	plain, err := v.opt.Seal.Open(e.Auth, authUse)
	if err == nil {
		err = json.Unmarshal(plain, &auth)
	}
	if err != nil {
		v.opt.Log.Error("open the auth of an endpoint", "app", e.App, "endpoint", e.Name)
	}
	return auth, err == nil
}

// showAuth is what may be shown of an endpoint's credentials.
func (v *v1) showAuth(e *job.Endpoint) *client.EndpointAuth {
	auth, ok := v.openAuth(e)
	if !ok {
		return nil
	}
	out := &client.EndpointAuth{}
	switch {
	case auth.Basic != nil:
		out.Basic = &client.BasicAuth{Username: auth.Basic.Username, Password: redactedValue}
	case auth.Bearer != nil:
		out.Bearer = &client.BearerAuth{Token: redactedValue}
	case auth.OAuth2 != nil:
		o := auth.OAuth2
		out.OAuth2 = &client.OAuth2Auth{TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: redactedValue, Scopes: o.Scopes, Audience: o.Audience}
	case auth.MTLS != nil:
		out.MTLS = &client.MTLSAuth{Certificate: auth.MTLS.Certificate, Key: redactedValue}
		if pair, err := auth.MTLS.Pair(); err == nil {
			out.MTLS.ExpiresAt = client.At(pair.Leaf.NotAfter)
		}
	}
	return out
}

// leaveSecrets makes sure that credentials of an endpoint do not go along to another
// origin: who may change the URL, but not see them, would get to see them there. They
// have to be sent again. A client certificate may stay: its key goes nowhere.
func (v *v1) leaveSecrets(e *job.Endpoint, patch client.EndpointPatch) error {
	if patch.URL == nil || sameOrigin(e.URL, *patch.URL) {
		return nil
	}
	const again = "the URL leads to another origin: send the credentials again, or none"
	auth, ok := v.openAuth(e)
	if ok && auth.MTLS == nil {
		if patch.Auth == nil {
			return faultyBody(ProblemItem{Pointer: "#/auth", Detail: again})
		}
		e.Auth = nil // what is redacted in the patch stands for nothing now
	}
	if e.Authorization == nil {
		return nil
	}
	if patch.Headers == nil {
		return faultyBody(ProblemItem{Pointer: "#/headers/" + authorizationHeader, Detail: again})
	}
	for name, value := range patch.Headers {
		if strings.EqualFold(name, authorizationHeader) && value == redactedValue {
			return faultyBody(ProblemItem{Pointer: "#/headers/" + authorizationHeader, Detail: again})
		}
	}
	return nil
}

// sameOrigin tells whether two URLs have scheme, host and port in common, without
// reading more into them: one that cannot be read has only itself.
func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	w, err2 := url.Parse(b)
	if err != nil || err2 != nil {
		return a == b
	}
	return u.Scheme == w.Scheme && strings.EqualFold(u.Host, w.Host)
}
