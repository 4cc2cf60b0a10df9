package sign

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Legacy is an HMAC of the kind that senders used before there was a standard, so
// that a receiver of theirs can be called back as it stands. The key is the text of
// a secret, byte for byte, prefix and all.
type Legacy struct {
	// Header holds the signature: Prefix, and behind it the signature.
	Header string `json:"header"`
	// Prefix may have {timestamp} in it: "sha256=", "t={timestamp},v1=".
	Prefix string `json:"prefix,omitempty"`
	// Separator stands before the second signature while a secret is replaced. Without
	// one there is room for one signature only.
	Separator string `json:"separator,omitempty"`
	// Signed is what is signed: {body} once, {timestamp} and {id}; "" is "{body}".
	Signed string `json:"signed,omitempty"`
	// Encoding of the signature is hex or base64; "" is hex.
	Encoding string `json:"encoding,omitempty"`
	// Hash is sha256, sha1 or sha512; "" is sha256.
	Hash string `json:"hash,omitempty"`
	// TimestampHeader holds the timestamp, unless it stands in Prefix or is of no use.
	TimestampHeader string `json:"timestamp_header,omitempty"`
	// TimestampFormat is unix, unix_ms or rfc3339; "" is unix.
	TimestampFormat string `json:"timestamp_format,omitempty"`

	preset string // the word in place of all this
}

// presets are what these senders send.
var presets = map[string]Legacy{
	"github":  {Header: "X-Hub-Signature-256", Prefix: "sha256="},
	"stripe":  {Header: "Stripe-Signature", Prefix: "t={timestamp},v1=", Separator: ",v1=", Signed: "{timestamp}.{body}"},
	"slack":   {Header: "X-Slack-Signature", Prefix: "v0=", Signed: "v0:{timestamp}:{body}", TimestampHeader: "X-Slack-Request-Timestamp"},
	"shopify": {Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"},
}

// Preset is what github, stripe, slack or shopify send. ok is false for other words.
func Preset(word string) (l Legacy, ok bool) {
	l, ok = presets[word]
	l.preset = word
	return l, ok
}

type hashFunc = func() hash.Hash

var hashes = map[string]hashFunc{"": sha256.New, "sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}

var encodings = map[string]struct {
	encode   func([]byte) string
	alphabet string
}{
	"":       {hex.EncodeToString, "0123456789abcdef"},
	"hex":    {hex.EncodeToString, "0123456789abcdef"},
	"base64": {base64.StdEncoding.EncodeToString, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="},
}

var timestampFormats = map[string]func(time.Time) string{
	"":        func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
	"unix":    func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
	"unix_ms": func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) },
	"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
}

const (
	placeID        = "{id}"
	placeTimestamp = "{timestamp}"
	placeBody      = "{body}"
	// maxLegacyBytes bounds each text of a Legacy.
	maxLegacyBytes = 256
)

// parseLegacy reads the word of a preset, or an object.
func parseLegacy(data json.RawMessage, at string) (*Legacy, error) {
	var word string
	if json.Unmarshal(data, &word) == nil && data[0] == '"' {
		l, ok := Preset(word)
		if !ok {
			words := slices.Sorted(maps.Keys(presets))
			return nil, wrongScheme(at, "or write its parts: {\"header\": …, \"prefix\": …, \"signed\": …}", "is none of: %s", strings.Join(words, ", "))
		}
		return &l, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	l := &Legacy{}
	if err := dec.Decode(l); err != nil || data[0] != '{' {
		return nil, wrongScheme(at, "it has header, prefix, separator, signed, encoding, hash, timestamp_header and timestamp_format, all of them texts",
			"is not the description of a scheme: %s", strings.TrimPrefix(fmt.Sprint(err), "json: "))
	}
	if err := l.check(at); err != nil {
		return nil, err
	}
	return l, nil
}

// check says the first thing that is wrong.
func (l *Legacy) check(at string) error {
	for _, field := range []struct{ name, text string }{{"header", l.Header}, {"prefix", l.Prefix}, {"separator", l.Separator},
		{"signed", l.Signed}, {"timestamp_header", l.TimestampHeader}} {
		if len(field.text) > maxLegacyBytes || strings.ContainsFunc(field.text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return wrongScheme(at+"/"+field.name, "", "must be printable ASCII, %d characters at most", maxLegacyBytes)
		}
	}
	switch {
	case !isHeaderName(l.Header) || isOwnHeader(l.Header):
		return wrongScheme(at+"/header", "such as X-Hub-Signature-256", "must be the name of a header that is not the gateway's own")
	case l.TimestampHeader != "" && (!isHeaderName(l.TimestampHeader) || isOwnHeader(l.TimestampHeader) || strings.EqualFold(l.Header, l.TimestampHeader)):
		return wrongScheme(at+"/timestamp_header", "such as X-Slack-Request-Timestamp", "must be the name of another header that is not the gateway's own")
	case hashes[l.Hash] == nil:
		return wrongScheme(at+"/hash", "", "is none of: sha256, sha1, sha512")
	case encodings[l.Encoding].encode == nil:
		return wrongScheme(at+"/encoding", "", "is none of: hex, base64")
	case timestampFormats[l.TimestampFormat] == nil:
		return wrongScheme(at+"/timestamp_format", "", "is none of: unix, unix_ms, rfc3339")
	case l.Separator != "" && strings.ContainsAny(l.Separator[:1], encodings[l.Encoding].alphabet):
		return wrongScheme(at+"/separator", `such as ",v1="`, "begins with a character that a signature can have")
	}
	return l.checkPlaces(at)
}

func (l *Legacy) checkPlaces(at string) error {
	const hint = "write {body} once, and {timestamp} and {id} where they belong, such as {timestamp}.{body}"
	signed := strings.NewReplacer(placeID, "", placeTimestamp, "", placeBody, "").Replace(l.signed())
	if strings.Count(l.signed(), placeBody) != 1 || strings.ContainsAny(signed, "{}") {
		return wrongScheme(at+"/signed", hint, "must have {body} once, and no other braces than those of {timestamp} and {id}")
	}
	before, after, found := strings.Cut(l.Prefix, placeTimestamp)
	if strings.ContainsAny(before+after, "{}") {
		return wrongScheme(at+"/prefix", "such as t={timestamp},v1=", "may have {timestamp} once, and no other braces")
	}
	if found && (after == "" || strings.ContainsAny(after[:1], "0123456789:TZ-")) {
		return wrongScheme(at+"/prefix", "such as t={timestamp},v1=", "must have something behind {timestamp} that no timestamp can have")
	}
	return nil
}

func (l *Legacy) signed() string {
	if l.Signed == "" {
		return placeBody
	}
	return l.Signed
}

// isOwnHeader tells what no legacy scheme may set: the names are those of the other
// schemes, or belong to the message itself.
func isOwnHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "webhook-") || slices.Contains([]string{"signature", "signature-input", "content-digest",
		"content-type", "content-length", "content-encoding", "host", "connection", "transfer-encoding"}, name)
}

func isHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// sign sets the headers of the scheme.
func (l *Legacy) sign(r Request, keys []Keys) error {
	timestamp := timestampFormats[l.TimestampFormat](r.Timestamp)
	if l.Separator == "" {
		keys = keys[:1]
	}
	value := strings.ReplaceAll(l.Prefix, placeTimestamp, timestamp)
	macs := make([]hash.Hash, len(keys))
	writers := make([]io.Writer, len(keys))
	for i, k := range keys {
		secret := k.legacy()
		if secret.IsZero() {
			return fmt.Errorf("%w: empty", ErrSecret)
		}
		macs[i] = hmac.New(hashes[l.Hash], []byte(secret.Reveal()))
		writers[i] = macs[i]
	}
	if err := l.write(io.MultiWriter(writers...), r, r.ID, timestamp); err != nil {
		return err
	}
	for i, mac := range macs {
		if i > 0 {
			value += l.Separator
		}
		value += encodings[l.Encoding].encode(mac.Sum(nil))
	}
	r.Header[http.CanonicalHeaderKey(l.Header)] = []string{value}
	if l.TimestampHeader != "" {
		r.Header[http.CanonicalHeaderKey(l.TimestampHeader)] = []string{timestamp}
	}
	return nil
}

// write writes what is signed.
func (l *Legacy) write(w io.Writer, r Request, id, timestamp string) error {
	before, after, _ := strings.Cut(l.signed(), placeBody)
	places := strings.NewReplacer(placeID, id, placeTimestamp, timestamp)
	_, _ = io.WriteString(w, places.Replace(before)) // a hash.Hash never fails
	if err := r.copyBody(w); err != nil {
		return err
	}
	_, _ = io.WriteString(w, places.Replace(after))
	return nil
}

// Verify checks the scheme's headers and the body of a received message. It passes
// if any signature fits the text of any secret. Where a timestamp is signed it must
// be within Tolerance of now; without one an old message cannot be told from a new
// one. The message's ID is Webhook-Id; it is signed only where Signed says so. The
// error is an ErrHeader, ErrTimestamp, ErrMismatch or ErrSecret.
func (l *Legacy) Verify(header http.Header, body []byte, now time.Time, secrets ...Secret) (Message, error) {
	if len(secrets) == 0 {
		return Message{}, fmt.Errorf("verify: %w: none given", ErrSecret)
	}
	if err := l.check(""); err != nil {
		return Message{}, fmt.Errorf("verify: %w", err)
	}
	m := Message{ID: header.Get(HeaderID), Body: body}
	if strings.Contains(l.Signed, placeID) || m.ID != "" {
		if err := checkID(m.ID); err != nil {
			return Message{}, fmt.Errorf("verify: %w", err)
		}
	}
	timestamp, signatures, err := l.parse(header)
	if err != nil {
		return Message{}, fmt.Errorf("verify: %w", err)
	}
	if strings.Contains(l.Signed, placeTimestamp) {
		if m.Timestamp, err = l.parseTimestamp(timestamp, now); err != nil {
			return Message{}, fmt.Errorf("verify: %w", err)
		}
	}
	for _, secret := range secrets {
		if secret.IsZero() {
			return Message{}, fmt.Errorf("verify: %w: empty", ErrSecret)
		}
		mac := hmac.New(hashes[l.Hash], []byte(secret.Reveal()))
		_ = l.write(mac, Request{Message: m}, m.ID, timestamp) // the body is in memory
		want := []byte(encodings[l.Encoding].encode(mac.Sum(nil)))
		for _, signature := range signatures {
			if hmac.Equal(want, []byte(signature)) {
				return m, nil
			}
		}
	}
	return Message{}, fmt.Errorf("verify: %w: %s", ErrMismatch, mismatchHint(true))
}

// parse takes the header's value apart.
func (l *Legacy) parse(header http.Header) (timestamp string, signatures []string, err error) {
	value, err := single(header, l.Header)
	if err != nil {
		return "", nil, err
	}
	malformed := fmt.Errorf("%w: %s does not begin with %q", ErrHeader, l.Header, l.Prefix)
	before, after, found := strings.Cut(l.Prefix, placeTimestamp)
	rest, ok := strings.CutPrefix(value, before)
	if !ok {
		return "", nil, malformed
	}
	if found {
		if timestamp, rest, ok = strings.Cut(rest, after); !ok {
			return "", nil, malformed
		}
	} else if strings.Contains(l.Signed, placeTimestamp) {
		name := l.TimestampHeader
		if name == "" {
			name = HeaderTimestamp
		}
		if timestamp, err = single(header, name); err != nil {
			return "", nil, err
		}
	}
	signatures = []string{rest}
	if l.Separator != "" {
		signatures = strings.SplitN(rest, l.Separator, maxSignatures+1)
	}
	if len(signatures) > maxSignatures {
		return "", nil, fmt.Errorf("%w: more than %d signatures", ErrHeader, maxSignatures)
	}
	for i, s := range signatures {
		// What follows is of another scheme: Stripe has sent a v0 behind its v1.
		signatures[i] = s[:len(s)-len(strings.TrimLeft(s, encodings[l.Encoding].alphabet))]
	}
	return timestamp, signatures, nil
}

func single(header http.Header, name string) (string, error) {
	values := header.Values(name)
	if len(values) == 0 || values[0] == "" {
		return "", fmt.Errorf("%w: %s is missing", ErrHeader, name)
	}
	if len(values) > 1 {
		return "", fmt.Errorf("%w: %s is repeated", ErrHeader, name)
	}
	return values[0], nil
}

func (l *Legacy) parseTimestamp(text string, now time.Time) (time.Time, error) {
	switch l.TimestampFormat {
	case "rfc3339":
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return t, fmt.Errorf("%w: the timestamp is not a time of RFC 3339", ErrHeader)
		}
		return t, checkAge(t, now)
	case "unix_ms":
		ms, err := strconv.ParseUint(text, 10, 62)
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: the timestamp is not a number of milliseconds", ErrHeader)
		}
		return time.UnixMilli(int64(ms)), checkAge(time.UnixMilli(int64(ms)), now)
	}
	return parseTimestamp(text, now)
}
