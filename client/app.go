package client

// AppCreate makes an app.
type AppCreate struct {
	Name string `json:"name" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" doc:"The app's name." example:"shop"`
}

// App is a client of the API.
type App struct {
	Name      string `json:"name" doc:"The app's name." example:"shop"`
	Limits    Limits `json:"limits,omitzero" doc:"What it may do and have, where that is not the gateway's default."`
	Policy    Policy `json:"policy,omitzero" doc:"Which callback URLs it may have; absent: any that the gateway permits."`
	CreatedAt Time   `json:"created_at" format:"date-time" doc:"When it was made."`
	DeletedAt Time   `json:"deleted_at,omitzero" format:"date-time" doc:"When it was deleted. It is listed until all that it had is erased."`
}

// Policy says which callback URLs an app may have, of those that the gateway permits.
type Policy struct {
	Registered bool     `json:"registered,omitempty" doc:"No URL comes with a call: only endpoints are called."`
	Prefixes   []string `json:"prefixes,omitempty" nullable:"false" doc:"A URL is below one of these: the same scheme, host and port, and a path that begins with the same segments." example:"https://my.server/hooks/"`
	HTTPS      bool     `json:"https,omitempty" doc:"https only."`
	Ports      []uint16 `json:"ports,omitempty" nullable:"false" doc:"One of these ports only."`
}

// AppPatch changes an app: what is nil stays as it is.
type AppPatch struct {
	Policy *Policy `json:"policy,omitempty" doc:"The policy, in place of the one before. An empty one permits any URL."`
	Limits *Limits `json:"limits,omitempty" doc:"The limits, in place of all before."`
}

// AppCreated is a new app with its first key, which is shown this once.
type AppCreated struct {
	Name      string `json:"name" doc:"The app's name." example:"shop"`
	Key       string `json:"key" doc:"The app's API key. It cannot be shown again."`
	CreatedAt Time   `json:"created_at" format:"date-time" doc:"When it was made."`
}
