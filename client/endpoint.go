package client

// Endpoint is a callback URL that an app registered.
type Endpoint struct {
	Name       string   `json:"name" doc:"The endpoint's name, unique within the app." example:"shop"`
	URL        string   `json:"url" doc:"The callback URL." example:"https://my.server/bar"`
	Default    bool     `json:"default" doc:"Takes the callbacks of calls that name no URL."`
	Operations []string `json:"operations,omitempty" nullable:"false" doc:"The operations that it is the default for; none: all."`
	Events     []string `json:"events,omitempty" nullable:"false" enum:"accepted,running,progress,succeeded,failed,canceled,expired" doc:"The events that it is sent; none: those of the operation."`
	// ProgressInterval is a duration such as 5s.
	ProgressInterval string            `json:"progress_interval,omitempty" doc:"The least time between two progress callbacks of a job, from 100ms to 24h; empty: that of the operation." example:"5s"`
	Method           string            `json:"method,omitempty" doc:"The HTTP method; empty: that of the operation." example:"POST"`
	Format           string            `json:"format,omitempty" doc:"What callbacks look like; empty: as the operation says." example:"envelope"`
	Headers          map[string]string `json:"headers,omitempty" doc:"Headers that are set on every callback. The value of an Authorization is never shown."`
	Signature        any               `json:"signature,omitempty" doc:"How callbacks are signed: v1, v1a, rfc9421, none, {\"legacy\": …}, or a list of several; none given: as the operation says."`
	Concurrency      int               `json:"concurrency,omitempty" doc:"How many callbacks may be under way at once; 0: the gateway's default." example:"8"`
	Ordered          bool              `json:"ordered" doc:"Callbacks are sent one after the other, in the order in which results were stored."`
	OrderKey         string            `json:"order_key,omitempty" doc:"The runtime expression that says which of them belong together: each value has a line of its own."`
	Rate             string            `json:"rate,omitempty" doc:"How many callbacks may begin in a second, a minute or an hour: 50/s, 100/m, 1000/h; empty: any number." example:"50/s"`
	Operational      bool              `json:"operational,omitempty" doc:"It is told of what happens to the app's other endpoints, and of nothing else."`
	Disabled         bool              `json:"disabled" doc:"Nothing is sent there. What becomes due is kept."`
	DisabledReason   string            `json:"disabled_reason,omitempty" enum:"manual,gone,failing" doc:"Why: manual, by the app; gone, its receiver answered 410; failing, it brought nothing but failures for too long."`
	DisabledAt       Time              `json:"disabled_at,omitzero" format:"date-time" doc:"Since when."`
	FailingSince     Time              `json:"failing_since,omitzero" format:"date-time" doc:"Since when it has brought nothing but failures; absent where it works, or has failed for less than a minute."`
	// Auth is nil where the gateway shows nothing of itself but its signature.
	Auth *EndpointAuth `json:"auth,omitempty" doc:"How the gateway shows who calls. Secrets are never shown."`
	// Verification is nil where the gateway asks for no proof.
	Verification *Verification `json:"verification,omitempty" doc:"Whether the receiver has shown that it wants callbacks, where the gateway asks for that."`
	CreatedAt    Time          `json:"created_at" format:"date-time" doc:"When it was registered."`
	UpdatedAt    Time          `json:"updated_at" format:"date-time" doc:"When it was last changed."`
}

// EndpointCreate registers a callback URL.
type EndpointCreate struct {
	Name       string   `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"The endpoint's name, unique within the app." example:"shop"`
	URL        string   `json:"url" minLength:"1" maxLength:"2048" doc:"The callback URL." example:"https://my.server/bar"`
	Default    bool     `json:"default,omitempty" doc:"Takes the callbacks of calls that name no URL. The default it replaces, if any, is one no more."`
	Operations []string `json:"operations,omitempty" nullable:"false" doc:"The operations that it is the default for; none: all."`
	Events     []string `json:"events,omitempty" nullable:"false" enum:"accepted,running,progress,succeeded,failed,canceled,expired" doc:"The events that it is sent; none: those of the operation."`
	// ProgressInterval is a duration such as 5s.
	ProgressInterval string            `json:"progress_interval,omitempty" doc:"The least time between two progress callbacks of a job, from 100ms to 24h; empty: that of the operation." example:"5s"`
	Method           string            `json:"method,omitempty" doc:"The HTTP method; empty: that of the operation." example:"POST"`
	Format           string            `json:"format,omitempty" doc:"What callbacks look like; empty: as the operation says." example:"envelope"`
	Headers          map[string]string `json:"headers,omitempty" doc:"Headers to set on every callback."`
	Signature        any               `json:"signature,omitempty" doc:"How callbacks are to be signed: v1, v1a, rfc9421, none, {\"legacy\": …}, or a list of several; none given: as the operation says."`
	Secret           string            `json:"secret,omitempty" maxLength:"512" doc:"The secret that the receiver has already: a whsec_…, or for a legacy scheme any text; none: one is made."`
	Concurrency      int               `json:"concurrency,omitempty" minimum:"0" maximum:"1000" doc:"How many callbacks may be under way at once; 0: the gateway's default." example:"8"`
	Ordered          bool              `json:"ordered,omitempty" doc:"Send callbacks one after the other, in the order in which results are stored."`
	OrderKey         string            `json:"order_key,omitempty" maxLength:"512" doc:"A runtime expression that says which of them belong together: each value has a line of its own. None: all do." example:"$request.body#/customer"`
	Rate             string            `json:"rate,omitempty" maxLength:"16" doc:"How many callbacks may begin in a second, a minute or an hour: 50/s, 100/m, 1000/h; empty: any number." example:"50/s"`
	Operational      bool              `json:"operational,omitempty" doc:"Tell it of what happens to the app's other endpoints, and of nothing else. One endpoint of an app may be so."`
	Disabled         bool              `json:"disabled,omitempty" doc:"Send nothing there."`
	Auth             *EndpointAuth     `json:"auth,omitempty" doc:"How the gateway shows who calls."`
}

// EndpointPatch changes an endpoint: what is nil stays as it is. An empty slice
// or map, unlike a nil one, takes away what there was.
type EndpointPatch struct {
	URL        *string  `json:"url,omitempty" minLength:"1" maxLength:"2048" doc:"The callback URL." example:"https://my.server/bar"`
	Default    *bool    `json:"default,omitempty" doc:"Takes the callbacks of calls that name no URL."`
	Operations []string `json:"operations,omitzero" nullable:"false" doc:"The operations that it is the default for; none: all."`
	Events     []string `json:"events,omitzero" nullable:"false" enum:"accepted,running,progress,succeeded,failed,canceled,expired" doc:"The events that it is sent; none: those of the operation."`
	// ProgressInterval is a duration such as 5s.
	ProgressInterval *string           `json:"progress_interval,omitempty" doc:"The least time between two progress callbacks of a job, from 100ms to 24h; empty: that of the operation." example:"5s"`
	Method           *string           `json:"method,omitempty" doc:"The HTTP method; empty: that of the operation." example:"POST"`
	Format           *string           `json:"format,omitempty" doc:"What callbacks look like; empty: as the operation says." example:"envelope"`
	Headers          map[string]string `json:"headers,omitzero" doc:"Headers to set on every callback, in place of those before."`
	Signature        any               `json:"signature,omitempty" doc:"How callbacks are signed: v1, v1a, rfc9421, none, {\"legacy\": …}, or a list of several. An empty text takes away what there was."`
	Concurrency      *int              `json:"concurrency,omitempty" minimum:"0" maximum:"1000" doc:"How many callbacks may be under way at once; 0: the gateway's default." example:"8"`
	Ordered          *bool             `json:"ordered,omitempty" doc:"Send callbacks one after the other, in the order in which results are stored. What is owed already keeps its place."`
	OrderKey         *string           `json:"order_key,omitempty" maxLength:"512" doc:"A runtime expression that says which of them belong together; empty: all do." example:"$request.body#/customer"`
	Rate             *string           `json:"rate,omitempty" maxLength:"16" doc:"How many callbacks may begin in a second, a minute or an hour: 50/s, 100/m, 1000/h; empty: any number." example:"50/s"`
	Operational      *bool             `json:"operational,omitempty" doc:"Tell it of what happens to the app's other endpoints, and of nothing else."`
	Disabled         *bool             `json:"disabled,omitempty" doc:"Send nothing there; false: enable it, and deliver what waited."`
	Auth             *EndpointAuth     `json:"auth,omitempty" doc:"How the gateway shows who calls, in place of what was; {} for none."`
}

// Secret is a signing secret, of an endpoint or of the app itself.
type Secret struct {
	Secret        string `json:"secret" doc:"The secret that callbacks are signed with." example:"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"`
	LegacySecret  string `json:"legacy_secret,omitempty" doc:"The secret that was brought along, which legacy schemes sign with."`
	PublicKey     string `json:"public_key" doc:"The public half of the Ed25519 key of v1a and RFC 9421." example:"whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="`
	PublicKeysURL string `json:"public_keys_url" doc:"Where it is for everybody, with the one before it as long as that signs too."`
	JWKSURL       string `json:"jwks_url" doc:"The same as a JSON Web Key Set."`
	PreviousUntil Time   `json:"previous_until,omitzero" format:"date-time" doc:"Until when the secret before it signs too."`
}
