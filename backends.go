package ringback

import "github.com/ringback/ringback/internal/backend"

// The configurations of the kinds of backend; docs/backends.md explains them.
type (
	HTTPConfig    = backend.HTTPConfig
	CommandConfig = backend.CommandConfig
	ClamdConfig   = backend.ClamdConfig
)

// Func is a Go function as a backend; Call, Result and Failure are what it deals in.
type (
	Func    = backend.Func
	Call    = backend.Call
	Result  = backend.Result
	Failure = backend.Failure
)

// HTTP makes a backend of an HTTP upstream.
func HTTP(c HTTPConfig) (Backend, error) { return backend.NewHTTP(c) }

// Command makes a backend of a command.
func Command(c CommandConfig) (Backend, error) { return backend.NewCommand(c) }

// Clamd makes a backend of a ClamAV daemon.
func Clamd(c ClamdConfig) (Backend, error) { return backend.NewClamd(c) }

// Relay makes a backend whose result is the request itself.
func Relay() Backend { return backend.Relay{} }
