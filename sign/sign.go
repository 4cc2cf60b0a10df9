// Package sign signs callbacks and verifies them. Standard Webhooks 1.0 is the
// default: the headers webhook-id, webhook-timestamp and webhook-signature over the
// bytes "id.timestamp.body" (Sign, Verify).
//
// A signature scheme is a file of its own: v1.go (HMAC-SHA256) and v1a.go (Ed25519)
// of Standard Webhooks, rfc9421.go (HTTP Message Signatures, over method and URL,
// too), legacy.go (what others send). Schemes is a choice of them, and Schemes.Sign
// what a sender calls. A new one brings a case in both, and its published vectors
// as a test.
package sign

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The header fields of Standard Webhooks, in the spelling of http.Header.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Tolerance is how far a webhook-timestamp may lie from the receiver's clock, in
// either direction.
const Tolerance = 5 * time.Minute

// maxSignatures bounds the work that a stranger's webhook-signature can cause: each
// of its members costs a pass over the body. A rotation needs two.
const maxSignatures = 16

// What Sign and Verify return, wrapped with the particulars; none of them quotes a
// header, a body or a secret.
var (
	// ErrHeader: one of the scheme's headers is missing, repeated or malformed.
	ErrHeader = errors.New("the headers of the signature are not usable")
	// ErrTimestamp: the message is older or newer than Tolerance allows.
	ErrTimestamp = errors.New("the timestamp is not within 5 minutes of now")
	// ErrMismatch: the headers are in order, but no signature fits.
	ErrMismatch = errors.New("no signature matches")
	// ErrSecret: the caller's secret cannot be used for this.
	ErrSecret = errors.New("secret is not usable")
)

// Message is what a signature covers.
type Message struct {
	// ID is the webhook-id, the same for all attempts of one callback: printable
	// ASCII without space and without ".".
	ID string
	// Timestamp is the time of the attempt; the wire has whole seconds.
	Timestamp time.Time
	// Body is the request's body as it is sent.
	Body []byte
}

// content is a Message in the spelling of the wire.
type content struct {
	id, timestamp string
	body          []byte
}

// appendPrefix appends what stands before the body in the signed bytes.
func (c content) appendPrefix(b []byte) []byte {
	b = append(b, c.id...)
	b = append(b, '.')
	b = append(b, c.timestamp...)
	return append(b, '.')
}

// verifier is a key that can check the signatures of one scheme. Its methods MUST
// be safe for concurrent use.
type verifier interface {
	// version is the scheme's name in webhook-signature, before the comma.
	version() string
	// verify tells whether signature, the text after the comma, is one of c. It
	// MUST take the same time wherever a wrong signature differs from the right one.
	verify(c content, signature string) bool
}

// signer is a key that can sign under one scheme. It MUST be safe for concurrent use.
type signer interface {
	// sign returns one member of webhook-signature: version, comma, base64.
	sign(c content) string
}

// Sign sets the three headers for m. Several secrets give several signatures, in
// their order, which is how an old secret stays valid while a new one is rolled out.
func Sign(header http.Header, m Message, secrets ...Secret) error {
	c, err := contentOf(m)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	signature, err := signAll(c, secrets)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	c.set(header, signature)
	return nil
}

func contentOf(m Message) (content, error) {
	if err := checkID(m.ID); err != nil {
		return content{}, err
	}
	seconds := m.Timestamp.Unix()
	if seconds < 0 {
		return content{}, fmt.Errorf("%w: timestamp is before 1970", ErrHeader)
	}
	return content{id: m.ID, timestamp: strconv.FormatInt(seconds, 10), body: m.Body}, nil
}

// set sets the three headers, but for an empty signature.
func (c content) set(header http.Header, signature string) {
	// One array for the three values: this runs once for each attempt of a callback.
	values := []string{c.id, c.timestamp, signature}
	header[HeaderID] = values[0:1:1]
	header[HeaderTimestamp] = values[1:2:2]
	if signature != "" {
		header[HeaderSignature] = values[2:3:3]
	}
}

func signAll(c content, secrets []Secret) (string, error) {
	if len(secrets) == 0 {
		return "", fmt.Errorf("%w: none given", ErrSecret)
	}
	all := ""
	for _, s := range secrets {
		member, err := sign(c, s)
		if err != nil {
			return "", err
		}
		all = join(all, member)
	}
	return all, nil
}

// sign makes one member of webhook-signature.
func sign(c content, s Secret) (string, error) {
	k := s.key()
	if k == nil {
		return "", fmt.Errorf("%w: empty", ErrSecret)
	}
	if k.signer == nil {
		return "", fmt.Errorf("%w: a public key (%s) cannot sign", ErrSecret, prefixPublic)
	}
	return k.signer.sign(c), nil
}

// Verify checks the three headers and the body of a received message against the
// secrets and returns what was signed. It passes if any signature fits any secret;
// signatures of a scheme that no secret belongs to are skipped. The error is an
// ErrHeader, ErrTimestamp, ErrMismatch or, for the caller's own mistake, ErrSecret.
func Verify(header http.Header, body []byte, now time.Time, secrets ...Secret) (Message, error) {
	if len(secrets) == 0 {
		return Message{}, fmt.Errorf("verify: %w: none given", ErrSecret)
	}
	for _, s := range secrets {
		if s.IsZero() {
			return Message{}, fmt.Errorf("verify: %w: empty", ErrSecret)
		}
	}
	c, signatures, err := parseHeader(header)
	if err != nil {
		return Message{}, fmt.Errorf("verify: %w", err)
	}
	c.body = body
	timestamp, err := parseTimestamp(c.timestamp, now)
	if err != nil {
		return Message{}, fmt.Errorf("verify: %w", err)
	}
	if matches, tried := anyMatches(c, signatures, secrets); !matches {
		return Message{}, fmt.Errorf("verify: %w: %s", ErrMismatch, mismatchHint(tried))
	}
	return Message{ID: c.id, Timestamp: timestamp, Body: body}, nil
}

// anyMatches also tells whether there was a signature of a scheme that one of the
// secrets belongs to.
func anyMatches(c content, signatures []string, secrets []Secret) (matches, tried bool) {
	for _, presented := range signatures {
		version, signature, _ := strings.Cut(presented, ",")
		for _, s := range secrets {
			k := s.key()
			if k.verifier.version() != version {
				continue
			}
			if k.verifier.verify(c, signature) {
				return true, true
			}
			tried = true
		}
	}
	return false, tried
}

func mismatchHint(tried bool) string {
	if !tried {
		return "none of them is of the secret's scheme; whsec_ is for v1, whsk_ and whpk_ are for v1a"
	}
	return "it was signed with another secret (an endpoint has its own, which is not the app's), " +
		"or the body was changed: verify the bytes as they came, before a parser has them"
}

func parseHeader(header http.Header) (content, []string, error) {
	var values [3]string
	for i, name := range [...]string{HeaderID, HeaderTimestamp, HeaderSignature} {
		all := header.Values(name)
		if len(all) == 0 || all[0] == "" {
			return content{}, nil, fmt.Errorf("%w: %s is missing: the request is no callback, or a proxy has dropped the header", ErrHeader, strings.ToLower(name))
		}
		// Two ids or timestamps are two messages; who picks which one is open.
		if len(all) > 1 {
			return content{}, nil, fmt.Errorf("%w: %s is repeated", ErrHeader, strings.ToLower(name))
		}
		values[i] = all[0]
	}
	if err := checkID(values[0]); err != nil {
		return content{}, nil, err
	}
	signatures := strings.SplitN(values[2], " ", maxSignatures+1)
	if len(signatures) > maxSignatures {
		return content{}, nil, fmt.Errorf("%w: more than %d signatures", ErrHeader, maxSignatures)
	}
	return content{id: values[0], timestamp: values[1]}, signatures, nil
}

// checkID refuses "." above all: with it, the same signed bytes could be cut into
// another id, timestamp and body.
func checkID(id string) error {
	if id == "" {
		return fmt.Errorf("%w: webhook-id is missing", ErrHeader)
	}
	for i := range len(id) {
		if b := id[i]; b <= ' ' || b > '~' || b == '.' {
			return fmt.Errorf("%w: webhook-id is not printable ASCII without space and dot", ErrHeader)
		}
	}
	return nil
}

func parseTimestamp(text string, now time.Time) (time.Time, error) {
	// 63 bits, unsigned: a sign would make a second spelling of the same time.
	seconds, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: webhook-timestamp is not a number of seconds", ErrHeader)
	}
	sent := time.Unix(int64(seconds), 0)
	return sent, checkAge(sent, now)
}

// checkAge is an ErrTimestamp for what is not within Tolerance of now.
func checkAge(sent, now time.Time) error {
	age := now.Unix() - sent.Unix()
	if limit := int64(Tolerance / time.Second); age > limit || age < -limit {
		return fmt.Errorf("%w: %s", ErrTimestamp, clockHint(age))
	}
	return nil
}

// clockHint says how far a timestamp of this age in seconds is off, and what to do.
func clockHint(age int64) string {
	const most = 1e9 // about 30 years; more would not fit a Duration
	if age > 0 {
		return fmt.Sprintf("it is %v in the past: an old message repeated by somebody else, "+
			"or this clock is fast; set it by NTP", time.Duration(min(age, most))*time.Second)
	}
	return fmt.Sprintf("it is %v in the future: this clock is slow, or the sender's is fast; set them by NTP",
		time.Duration(min(-age, most))*time.Second)
}
