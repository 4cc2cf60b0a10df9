package ringback

import (
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
)

// HTTPConfig configures an HTTP upstream; docs/backends.md explains it.
type HTTPConfig = backend.HTTPConfig

// CommandConfig configures a command; docs/backends.md explains it.
type CommandConfig = backend.CommandConfig

// ClamdConfig configures a ClamAV daemon; docs/backends.md explains it.
type ClamdConfig = backend.ClamdConfig

// Func is a Go function as a backend.
type Func = backend.Func

// Call is what a Func gets of a job.
type Call = backend.Call

// Answer is what a callback URL said when it was asked something; see Call.Ask.
type Answer = job.Answer

// Result is what a Func writes its result to.
type Result = backend.Result

// Failure is an error of a Func that the app may see.
type Failure = backend.Failure

// HTTP makes a backend of an HTTP upstream.
func HTTP(c HTTPConfig) (Backend, error) { return backend.NewHTTP(c) }

// Command makes a backend of a command.
func Command(c CommandConfig) (Backend, error) { return backend.NewCommand(c) }

// Clamd makes a backend of a ClamAV daemon.
func Clamd(c ClamdConfig) (Backend, error) { return backend.NewClamd(c) }

// Relay makes a backend whose result is the request itself.
func Relay() Backend { return backend.Relay{} }
