package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback/client"
)

// authFlags are how create and update say what callbacks are authenticated with. No
// secret is an argument: those are in the list of processes and in the shell's history.
type authFlags struct {
	kind, user, tokenURL, clientID, audience string
	scopes                                   []string
	certificate, key, secretFile             string
	given                                    *pflag.FlagSet
}

// authSecretEnv holds the secret where no file does.
const authSecretEnv = "RINGBACK_AUTH_SECRET"

// authParts are the flags that each kind of --auth takes.
var authParts = map[string][]string{
	"basic":  {"auth-user", "auth-secret-file"},
	"bearer": {"auth-secret-file"},
	"oauth2": {"auth-token-url", "auth-client-id", "auth-scopes", "auth-audience", "auth-secret-file"},
	"mtls":   {"auth-certificate", "auth-key"},
	"none":   {},
}

func (a *authFlags) add(f *pflag.FlagSet) {
	a.given = f
	f.StringVar(&a.kind, "auth", "", "how callbacks show who calls: basic, bearer, oauth2, mtls, or none")
	f.StringVar(&a.user, "auth-user", "", "basic: the name")
	f.StringVar(&a.tokenURL, "auth-token-url", "", "oauth2: where tokens come from")
	f.StringVar(&a.clientID, "auth-client-id", "", "oauth2: who asks for them")
	f.StringSliceVar(&a.scopes, "auth-scopes", nil, "oauth2: what they are to be good for")
	f.StringVar(&a.audience, "auth-audience", "", "oauth2: for servers that want one")
	f.StringVar(&a.certificate, "auth-certificate", "", "mtls: the file of the certificate, in PEM, its chain behind it")
	f.StringVar(&a.key, "auth-key", "", "mtls: the file of its private key, in PEM")
	f.StringVar(&a.secretFile, "auth-secret-file", "", "the file of the password, token or client secret; else it is in "+authSecretEnv)
}

// auth is nil where nothing was said of it.
func (a *authFlags) auth() (*client.EndpointAuth, error) {
	parts, known := authParts[a.kind]
	var stray string
	a.given.Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, "auth-") && !slices.Contains(parts, f.Name) {
			stray = f.Name
		}
	})
	switch {
	case stray != "" && a.kind == "":
		return nil, usagef("--%s needs --auth", stray)
	case a.kind == "":
		return nil, nil
	case !known:
		return nil, usagef("--auth must be basic, bearer, oauth2, mtls or none, not %q", a.kind)
	case stray != "":
		return nil, usagef("--%s does not go with --auth %s", stray, a.kind)
	}
	out := &client.EndpointAuth{}
	var err error
	switch a.kind {
	case "basic":
		out.Basic = &client.BasicAuth{Username: a.user}
		out.Basic.Password, err = a.secret()
	case "bearer":
		out.Bearer = &client.BearerAuth{}
		out.Bearer.Token, err = a.secret()
	case "oauth2":
		out.OAuth2 = &client.OAuth2Auth{TokenURL: a.tokenURL, ClientID: a.clientID, Scopes: a.scopes, Audience: a.audience}
		out.OAuth2.ClientSecret, err = a.secret()
	case "mtls":
		out.MTLS = &client.MTLSAuth{}
		if out.MTLS.Certificate, err = a.file("auth-certificate", a.certificate); err == nil {
			out.MTLS.Key, err = a.file("auth-key", a.key)
		}
	}
	return out, err
}

// secret is in a file or in the environment, without the line's end.
func (a *authFlags) secret() (string, error) {
	if a.secretFile == "" {
		if secret := os.Getenv(authSecretEnv); secret != "" {
			return secret, nil
		}
		return "", usagef("--auth %s needs its secret: in a file (--auth-secret-file) or in %s", a.kind, authSecretEnv)
	}
	text, err := a.file("auth-secret-file", a.secretFile)
	return strings.TrimRight(text, "\r\n"), err
}

func (a *authFlags) file(flag, path string) (string, error) {
	if path == "" {
		return "", usagef("--auth %s needs --%s", a.kind, flag)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", usagef("--%s: %w", flag, err)
	}
	return string(text), nil
}

// showAuth is what an endpoint is authenticated towards with, in a few words.
func showAuth(a *client.EndpointAuth) string {
	switch {
	case a == nil:
		return ""
	case a.Basic != nil:
		return "basic, " + a.Basic.Username
	case a.Bearer != nil:
		return "bearer"
	case a.OAuth2 != nil:
		return "oauth2, " + a.OAuth2.ClientID + " at " + a.OAuth2.TokenURL
	case a.MTLS != nil:
		return "mtls, until " + local(a.MTLS.ExpiresAt)
	}
	return ""
}

// showVerification is how far an endpoint's proof is, in a few words.
func showVerification(v *client.Verification) string {
	switch {
	case v == nil:
		return ""
	case v.State == "verified":
		return v.State + " until " + local(v.ExpiresAt)
	case v.Error != "":
		return v.State + ": " + v.Error
	}
	return v.State
}

func (c *cli) endpointVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify NAME",
		Short: "Have its receiver asked again whether it wants callbacks",
		Long: `Have its receiver asked again whether it wants callbacks, where the gateway wants a
proof of that. It is asked soon: ringback endpoint get NAME shows what it said.`,
		Example: "  ringback endpoint verify shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			e, err := gw.VerifyEndpoint(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showEndpoint(e)
		}),
	}
}
