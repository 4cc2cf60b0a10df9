package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// Class says why an attempt brought no answer. The list is closed: it is also
// the label of a metric.
type Class string

// The classes. Only ClassPolicy and ClassRequest would fail again for certain.
const (
	ClassPolicy         Class = "policy"                // forbidden by the outbound policy; nothing was dialled
	ClassRequest        Class = "request"               // cannot be written as HTTP; nothing was sent
	ClassBody           Class = "body"                  // our own content could not be read
	ClassDNSNotFound    Class = "dns_not_found"         // the name has no address
	ClassDNSFailed      Class = "dns_failed"            // the DNS failed
	ClassRefused        Class = "refused"               // nothing listens at the port
	ClassUnreachable    Class = "unreachable"           // no address took the connection for another reason
	ClassProxy          Class = "proxy"                 // our proxy is not there, or opened no tunnel
	ClassEgress         Class = "egress"                // no connection can be made from this machine
	ClassTLSExpired     Class = "tls_expired"           // or not valid yet
	ClassTLSHost        Class = "tls_wrong_host"        // the certificate is for another one
	ClassTLSAuthority   Class = "tls_unknown_authority" // has signed the certificate
	ClassTLSCertificate Class = "tls_certificate"       // is not valid for another reason
	ClassTLSVersion     Class = "tls_version"           // none in common
	ClassTLSRejected    Class = "tls_rejected"          // the receiver ended the connection by an alert
	ClassTLSFailed      Class = "tls_failed"            // the handshake, for another reason
	ClassTimeoutDNS     Class = "timeout_dns"           // while the name was resolved
	ClassTimeoutConnect Class = "timeout_connect"       // while connecting
	ClassTimeoutTLS     Class = "timeout_tls"           // in the handshake
	ClassTimeoutWrite   Class = "timeout_write"         // before the request was out
	ClassTimeoutHeader  Class = "timeout_header"        // before the answer's header was whole
	ClassReset          Class = "reset"                 // connection reset or broken before the header was whole
	ClassClosed         Class = "closed"                // connection closed before the header was whole
	ClassHeaderLimit    Class = "header_limit"          // header and interim answers above Limits.HeaderBytes
	ClassProtocol       Class = "protocol"              // what came back is not HTTP/1
	ClassCanceled       Class = "canceled"              // the caller's context was canceled
)

// Classes returns all of them.
func Classes() []Class {
	return []Class{
		ClassPolicy, ClassRequest, ClassBody, ClassDNSNotFound, ClassDNSFailed, ClassRefused, ClassUnreachable, ClassProxy, ClassEgress,
		ClassTLSExpired, ClassTLSHost, ClassTLSAuthority, ClassTLSCertificate, ClassTLSVersion, ClassTLSRejected, ClassTLSFailed,
		ClassTimeoutDNS, ClassTimeoutConnect, ClassTimeoutTLS, ClassTimeoutWrite, ClassTimeoutHeader,
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

// phase is what an attempt was doing: its words, and the classes of what ends it.
type phase struct {
	doing    string
	timeout  Class
	fallback Class // where nothing more is known
}

var (
	resolving  = phase{"resolving the name", ClassTimeoutDNS, ClassDNSFailed}
	connecting = phase{"connecting", ClassTimeoutConnect, ClassUnreachable}
	shaking    = phase{"in the TLS handshake", ClassTimeoutTLS, ClassTLSFailed}
	writing    = phase{"sending the request", ClassTimeoutWrite, ClassReset}
	awaiting   = phase{"waiting for the answer", ClassTimeoutHeader, ClassReset}
)

// failure classifies err, which ended a phase.
func failure(ctx context.Context, t *Target, p phase, err error) *Error {
	e := &Error{Class: p.fallback, Detail: p.doing, origin: t.origin, err: err}
	var (
		urlError *URLError
		body     *bodyError
		netError net.Error
		dnsError *net.DNSError
		alert    tls.AlertError
		own      *egressError
		verdict  *proxyVerdict
	)
	switch {
	case errors.As(err, &urlError):
		e.Class, e.Detail = ClassPolicy, urlError.Message
	case errors.As(err, &body):
		e.Class, e.Detail = ClassBody, "the content of the callback could not be read"
	case errors.Is(ctx.Err(), context.Canceled):
		e.Class, e.Detail = ClassCanceled, "canceled while "+p.doing
	case errors.As(err, &own):
		e.Class, e.Detail = own.class, own.detail
	case errors.As(err, &verdict) && verdict.timeout:
		e.Class, e.Detail = p.timeout, "timed out while the proxy was connecting"
	case errors.As(err, &verdict):
		e.Detail = "the proxy could not connect"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &netError) && netError.Timeout():
		e.Class, e.Detail = p.timeout, "timed out while "+p.doing
	case errors.Is(err, errHeaderLimit):
		e.Class, e.Detail = ClassHeaderLimit, "the answer's header is too long"
	case errors.Is(err, errTLSLimit):
		e.Class, e.Detail = ClassTLSFailed, "the receiver sends more TLS messages than anybody needs"
	case errors.Is(err, errUpgrade):
		e.Class, e.Detail = ClassProtocol, "the receiver switched to another protocol unasked"
	case p == resolving:
		e.Detail = "the name could not be resolved"
		if errors.As(err, &dnsError) && dnsError.IsNotFound {
			e.Class, e.Detail = ClassDNSNotFound, "the name has no address"
		}
	case p == connecting && ours(err):
		e.Class, e.Detail = ClassEgress, "no connection can be made from here"+errno(err)
	case p == connecting:
		e.Detail = "could not connect" + errno(err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			e.Class = ClassRefused
		}
	case p == shaking:
		e.Class, e.Detail = tlsFailure(err)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Class, e.Detail = ClassReset, "the connection was reset before the answer was whole"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		e.Class, e.Detail = ClassClosed, "the connection was closed before the answer was whole"
	case errors.As(err, &alert), isAlert(err):
		e.Class, e.Detail = ClassTLSRejected, "the receiver ended the TLS connection"
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

// tlsFailure classifies what ended a handshake.
func tlsFailure(err error) (Class, string) {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return certificateFailure(certificate.Err)
	case strings.Contains(err.Error(), "protocol version"): // crypto/tls has no other sign of it, from either side
		return ClassTLSVersion, "no version of TLS is common to the receiver and us"
	case isAlert(err):
		return ClassTLSRejected, "the receiver ended the TLS handshake"
	}
	return ClassTLSFailed, "the TLS handshake failed" + errno(err)
}

// certificateFailure says what is wrong in our words: the error's own text quotes
// names out of the receiver's certificate.
func certificateFailure(err error) (Class, string) {
	var (
		invalidCertificate x509.CertificateInvalidError
		wrongHost          x509.HostnameError
		unknownAuthority   x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &invalidCertificate) && invalidCertificate.Reason == x509.Expired:
		return ClassTLSExpired, "the certificate has expired or is not valid yet"
	case errors.As(err, &wrongHost):
		return ClassTLSHost, "the certificate is for another host"
	case errors.As(err, &unknownAuthority):
		return ClassTLSAuthority, "the certificate is signed by an unknown authority"
	}
	return ClassTLSCertificate, "the certificate is not valid"
}
