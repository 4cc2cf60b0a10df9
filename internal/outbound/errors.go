package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Class says why an attempt brought no answer. The list is closed: it is also
// the label of a metric.
type Class string

// The classes. Only ClassRefused and ClassRequest would fail again for certain.
const (
	ClassRefused     Class = "refused"      // by the outbound policy; nothing was dialled
	ClassRequest     Class = "request"      // cannot be written as HTTP; nothing was sent
	ClassBody        Class = "body"         // our own content could not be read
	ClassDNS         Class = "dns"          // the name has no address, or the DNS failed
	ClassConnect     Class = "connect"      // no address took the connection
	ClassTLS         Class = "tls"          // handshake or certificate; nothing was sent
	ClassTimeout     Class = "timeout"      // of the attempt, of connecting or of the handshake
	ClassReset       Class = "reset"        // connection reset or broken before the header was whole
	ClassClosed      Class = "closed"       // connection closed before the header was whole
	ClassHeaderLimit Class = "header_limit" // header and interim answers above Limits.HeaderBytes
	ClassProtocol    Class = "protocol"     // what came back is not HTTP/1
	ClassCanceled    Class = "canceled"     // the caller's context was canceled
)

// Classes returns all of them.
func Classes() []Class {
	return []Class{
		ClassRefused, ClassRequest, ClassBody, ClassDNS, ClassConnect, ClassTLS, ClassTimeout,
		ClassReset, ClassClosed, ClassHeaderLimit, ClassProtocol, ClassCanceled,
	}
}

// Error is the error of Do and Explain. Its text names the target by its origin
// and repeats nothing that the receiver sent.
type Error struct {
	Class  Class
	Detail string         // what happened, in words that are safe to show
	Addr   netip.AddrPort // where the attempt had got to; may be invalid
	Timing Timing

	origin string
	err    error
}

func (e *Error) Error() string {
	return "call " + e.origin + ": " + string(e.Class) + ": " + e.Detail
}

// Unwrap returns the cause, such as a *URLError. The cause's own text may repeat
// what the receiver sent: it is for errors.As, not for a log.
func (e *Error) Unwrap() error { return e.err }

var (
	errHeaderLimit = errors.New("header limit")
	errProtocol    = errors.New("not an answer in HTTP/1")
	errUpgrade     = errors.New("switches protocols")
)

// bodyError is a failure to read the content of our own request.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the content: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// failure classifies err, which ended what the phase says.
func failure(ctx context.Context, t *Target, phase string, fallback Class, err error) *Error {
	e := &Error{Class: fallback, Detail: phase, origin: t.origin, err: err}
	var (
		urlError *URLError
		body     *bodyError
		netError net.Error
		dnsError *net.DNSError
		alert    tls.AlertError
	)
	switch {
	case errors.As(err, &urlError):
		e.Class, e.Detail = ClassRefused, urlError.Message
	case errors.As(err, &body):
		e.Class, e.Detail = ClassBody, "the content of the callback could not be read"
	case errors.Is(ctx.Err(), context.Canceled):
		e.Class, e.Detail = ClassCanceled, "canceled while "+phase
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netError) && netError.Timeout():
		e.Class, e.Detail = ClassTimeout, "timed out while "+phase
	case errors.Is(err, errHeaderLimit):
		e.Class, e.Detail = ClassHeaderLimit, "the answer's header is too long"
	case errors.Is(err, errUpgrade):
		e.Class, e.Detail = ClassProtocol, "the receiver switched to another protocol unasked"
	case fallback == ClassDNS:
		e.Detail = "the name could not be resolved"
		if errors.As(err, &dnsError) && dnsError.IsNotFound {
			e.Detail = "the name has no address"
		}
	case fallback == ClassConnect:
		e.Detail = "could not connect" + errno(err)
	case fallback == ClassTLS:
		e.Detail = tlsDetail(err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Class, e.Detail = ClassReset, "the connection was reset before the answer was whole"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		e.Class, e.Detail = ClassClosed, "the connection was closed before the answer was whole"
	case errors.As(err, &alert), isAlert(err):
		e.Class, e.Detail = ClassTLS, "the receiver ended the TLS connection"
	case errors.Is(err, errProtocol):
		e.Class, e.Detail = ClassProtocol, "the answer is not HTTP/1.1"
	default:
		e.Detail = "the connection broke" + errno(err)
	}
	return e
}

// isAlert tells an alert of the receiver, such as one that it refuses our certificate
// with: by TLS 1.3 it comes when the handshake is over for us.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// errno is the system's word for why, if there is one.
func errno(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) {
		return ": " + number.Error()
	}
	return ""
}

func tlsDetail(err error) string {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return certificateDetail(certificate.Err)
	}
	return "the TLS handshake failed" + errno(err)
}
