// Package client is the API of a Ringback gateway for Go programs: its JSON as
// types, and a Client that calls operations, follows their jobs and manages
// callback URLs.
package client
