package callback

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// credentials are what a place's receiver knows the gateway by. Their zero value is
// none.
type credentials struct {
	authorization []string // the header's value, where it is always the same
	tokens        *tokenSource
	forbidden     error // why no token may be fetched; nil for nothing
	identity      *outbound.Identity
}

// credentialsOf opens what an endpoint is authenticated towards with. Its error
// repeats no secret.
func (p places) credentialsOf(e *job.Endpoint) (c credentials, err error) {
	if len(e.Auth) == 0 {
		return c, nil
	}
	plain, err := p.opt.Seal.Open(e.Auth, "auth")
	if err != nil {
		return c, fmt.Errorf("auth of endpoint %s: %w", e.Name, err)
	}
	var auth job.Auth
	if json.Unmarshal(plain, &auth) != nil {
		return c, fmt.Errorf("auth of endpoint %s cannot be read", e.Name)
	}
	switch {
	case auth.Basic != nil:
		c.authorization = []string{basic(auth.Basic.Username, auth.Basic.Password)}
	case auth.Bearer != nil:
		c.authorization = []string{"Bearer " + auth.Bearer.Token}
	case auth.OAuth2 != nil:
		c.tokens = p.tokens.of(e.App, e.Name, plain, *auth.OAuth2)
	case auth.MTLS != nil:
		pair, err := auth.MTLS.Pair()
		if err != nil {
			return c, fmt.Errorf("auth of endpoint %s: %w", e.Name, err)
		}
		c.identity = outbound.NewIdentity(pair)
	}
	return c, nil
}

// basic is RFC 7617 §2.
func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

// send makes a request as the place's receiver knows us. Its error is a *tokenError
// where there was no token to make it with, else one of outbound. A token that was
// refused is not used again.
func (p *place) send(ctx context.Context, client *outbound.Client, r *outbound.Request) (*outbound.Answer, error) {
	r.Target, r.Identity = p.target, p.auth.identity
	if p.auth.authorization != nil {
		r.Header["Authorization"] = p.auth.authorization
	}
	token := ""
	if p.auth.forbidden != nil {
		return nil, p.auth.forbidden
	}
	if p.auth.tokens != nil {
		var err error
		if token, err = p.auth.tokens.token(ctx); err != nil {
			return nil, err
		}
		r.Header["Authorization"] = []string{"Bearer " + token}
	}
	answer, err := client.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	if token != "" && answer.Status == http.StatusUnauthorized {
		p.auth.tokens.refused(token)
	}
	for _, value := range r.Header["Authorization"] {
		hide(answer, value)
	}
	return answer, nil
}

// minHidden is the shortest secret that is looked for: a shorter one hides nothing, and
// may be part of any word.
const minHidden = 6

// hide takes credentials out of the answer of a receiver that repeats what it gets:
// answers are kept and shown.
func hide(answer *outbound.Answer, authorization string) {
	_, secret, _ := strings.Cut(authorization, " ")
	if len(secret) < minHidden {
		return
	}
	if bytes.Contains(answer.Body, []byte(secret)) {
		answer.Body = bytes.ReplaceAll(answer.Body, []byte(secret), []byte("[redacted]"))
	}
	for _, values := range answer.Header {
		for i, value := range values {
			values[i] = strings.ReplaceAll(value, secret, "[redacted]")
		}
	}
}
