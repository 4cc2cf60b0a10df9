package outbound

import (
	"errors"
	"fmt"
	"strings"
)

// connectionFields are written by the client itself, or not at all.
var connectionFields = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Trailer",
	"Keep-Alive", "Expect", "Proxy-Connection",
}

// reservedFields say something about a callback that only the gateway may say.
var reservedFields = []string{
	"Content-Type", "Content-Encoding", "Content-Digest", "Forwarded", "Idempotency-Key",
	"Signature", "Signature-Input", "traceparent", "tracestate",
}

var reservedPrefixes = []string{"proxy-", "x-forwarded-", "webhook-", "ringback-", "ce-"}

// CheckHeader says whether a user may have the field sent with a callback: a
// token for a name, a value without control characters (RFC 9110 §5.5, §5.6.2),
// and none of the names that belong to the gateway. The error does not repeat
// the value.
func CheckHeader(name, value string) error {
	if err := checkField(name, value); err != nil {
		return err
	}
	lower := strings.ToLower(name)
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(lower, prefix) {
			return fmt.Errorf("header %s: names that begin with %s are reserved", name, prefix)
		}
	}
	for _, reserved := range reservedFields {
		if strings.EqualFold(name, reserved) {
			return fmt.Errorf("header %s: the name is reserved", name)
		}
	}
	return nil
}

// checkField holds for any field of a request, whoever wants it sent.
func checkField(name, value string) error {
	if !isToken(name) {
		return errors.New("a header's name must be a token of letters, digits and !#$%&'*+-.^_`|~")
	}
	for _, own := range connectionFields {
		if strings.EqualFold(name, own) {
			return fmt.Errorf("header %s: the name belongs to the connection", name)
		}
	}
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return fmt.Errorf("header %s: the value holds a control character", name)
		}
	}
	return nil
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenOctet[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenOctet = func() (table [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		table[b] = true
	}
	return table
}()
