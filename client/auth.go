package client

// EndpointAuth is how the gateway shows an endpoint who calls: one of its members is
// set, or none. Secrets are shown as "[redacted]"; sent so, they stay what they are.
type EndpointAuth struct {
	Basic  *BasicAuth  `json:"basic,omitempty" doc:"A name and a password (RFC 7617)."`
	Bearer *BearerAuth `json:"bearer,omitempty" doc:"A token that does not change (RFC 6750)."`
	OAuth2 *OAuth2Auth `json:"oauth2,omitempty" doc:"A token of the client credentials grant (RFC 6749 §4.4), fetched when it is needed."`
	MTLS   *MTLSAuth   `json:"mtls,omitempty" doc:"A client certificate; https only."`
}

// BasicAuth is a name and a password.
type BasicAuth struct {
	Username string `json:"username" minLength:"1" maxLength:"256" doc:"A name without a colon." example:"ringback"`
	Password string `json:"password" maxLength:"4096" doc:"The password; never shown."`
}

// BearerAuth is a token.
type BearerAuth struct {
	Token string `json:"token" minLength:"1" maxLength:"8192" doc:"The token; never shown."`
}

// OAuth2Auth gets tokens by the client credentials grant.
type OAuth2Auth struct {
	TokenURL     string   `json:"token_url" minLength:"1" maxLength:"2048" doc:"Where tokens come from; the same policy as for callbacks holds." example:"https://login.example/token"`
	ClientID     string   `json:"client_id" minLength:"1" maxLength:"1024" doc:"Who asks."`
	ClientSecret string   `json:"client_secret" maxLength:"4096" doc:"The secret, sent with Basic auth; never shown."`
	Scopes       []string `json:"scopes,omitempty" nullable:"false" maxItems:"50" doc:"What the token is to be good for." example:"[\"hooks\"]"`
	Audience     string   `json:"audience,omitempty" maxLength:"2048" doc:"For servers that want one."`
}

// MTLSAuth is a client certificate.
type MTLSAuth struct {
	Certificate string `json:"certificate" minLength:"1" maxLength:"65536" doc:"The certificate in PEM, its chain behind it."`
	Key         string `json:"key" minLength:"1" maxLength:"16384" doc:"Its private key in PEM, without a password; never shown."`
	ExpiresAt   Time   `json:"expires_at,omitzero" format:"date-time" readOnly:"true" doc:"When the certificate ends."`
}

// Verification is the proof that the receiver behind an endpoint wants callbacks.
type Verification struct {
	State       string `json:"state" enum:"unverified,pending,verified,failed" doc:"Callbacks wait unless it is verified. While it is pending the receiver is asked again by itself; after failed it is not."`
	Method      string `json:"method" enum:"challenge,handshake" doc:"What the receiver is asked by: a signed POST, or CloudEvents' OPTIONS."`
	CheckedAt   Time   `json:"checked_at,omitzero" format:"date-time" doc:"When it was last asked."`
	ExpiresAt   Time   `json:"expires_at,omitzero" format:"date-time" doc:"Until when the proof is good; it is repeated before."`
	Error       string `json:"error,omitempty" doc:"Why the last request brought no consent." example:"no_consent"`
	AllowedRate int    `json:"allowed_rate,omitempty" doc:"How many callbacks a minute the receiver said that it allows."`
}
