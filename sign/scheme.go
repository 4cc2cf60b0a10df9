package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// The names of the schemes.
const (
	SchemeV1      = "v1"      // Standard Webhooks, HMAC-SHA256
	SchemeV1a     = "v1a"     // Standard Webhooks, Ed25519
	SchemeRFC9421 = "rfc9421" // HTTP Message Signatures, by both keys
	SchemeNone    = "none"    // not signed
	SchemeLegacy  = "legacy"  // what another sender has sent
)

var schemeWords = []string{SchemeV1, SchemeV1a, SchemeRFC9421, SchemeNone}

// maxSchemes bounds what one request is signed with.
const maxSchemes = 8

// ErrStreamed says that the scheme needs the whole body in memory, and it is not.
var ErrStreamed = errors.New("v1a cannot sign a body that is not in memory")

// Scheme is one way to sign. Legacy is set for SchemeLegacy, and for no other.
type Scheme struct {
	Name   string
	Legacy *Legacy
}

// Schemes are the ways in which a request is signed, all of them at once. None at
// all is SchemeV1. Make them with ParseSchemes.
type Schemes []Scheme

// SchemesError says what is wrong with the text of a signature.
type SchemesError struct {
	Pointer string // to the place in the JSON (RFC 6901), "" for the whole
	Message string
	Hint    string // how to mend it
}

func (e *SchemesError) Error() string { return e.Message }

func wrongScheme(pointer, hint, format string, args ...any) *SchemesError {
	return &SchemesError{Pointer: pointer, Message: fmt.Sprintf(format, args...), Hint: hint}
}

const schemeHint = `write v1, v1a, rfc9421 or none, {"legacy": "github"} (or stripe, slack, shopify), {"legacy": {"header": …}}, or a list of several`

// ParseSchemes reads which schemes there are to be: a word ("v1a"), words with
// commas between ("v1,v1a"), or JSON: a string, {"legacy": "github"}, {"legacy":
// {…}} with the members of Legacy, or an array of them. "" is none at all. Its error
// is a *SchemesError.
func ParseSchemes(text string) (Schemes, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	if !strings.ContainsAny(text[:1], `"[{`) {
		words := strings.Split(text, ",")
		for i := range words {
			words[i] = strings.TrimSpace(words[i])
		}
		if len(words) == 1 {
			return parseSchemes(words[0], nil)
		}
		return parseSchemes("", mustJSON(words))
	}
	return parseSchemes("", json.RawMessage(text))
}

func mustJSON(words []string) json.RawMessage {
	data, _ := json.Marshal(words) // strings always can
	return data
}

// parseSchemes reads a word, or JSON.
func parseSchemes(word string, data json.RawMessage) (Schemes, error) {
	if data == nil {
		s, err := parseWord(word, "")
		if err != nil {
			return nil, err
		}
		return Schemes{s}, nil
	}
	if data[0] != '[' {
		s, err := parseScheme(data, "")
		if err != nil {
			return nil, err
		}
		return Schemes{s}, nil
	}
	var members []json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil, wrongScheme("", schemeHint, "is not valid JSON")
	}
	if len(members) == 0 || len(members) > maxSchemes {
		return nil, wrongScheme("", schemeHint, "must name 1 to %d schemes", maxSchemes)
	}
	all := make(Schemes, len(members))
	for i, member := range members {
		var err error
		if all[i], err = parseScheme(member, fmt.Sprintf("/%d", i)); err != nil {
			return nil, err
		}
	}
	return all, all.check()
}

func parseScheme(data json.RawMessage, at string) (Scheme, error) {
	var word string
	if json.Unmarshal(data, &word) == nil && data[0] == '"' {
		return parseWord(word, at)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil || object == nil {
		return Scheme{}, wrongScheme(at, schemeHint, "is no scheme")
	}
	legacy, ok := object[SchemeLegacy]
	if !ok || len(object) > 1 {
		return Scheme{}, wrongScheme(at, schemeHint, "must have one member, legacy")
	}
	l, err := parseLegacy(legacy, at+"/"+SchemeLegacy)
	if err != nil {
		return Scheme{}, err
	}
	return Scheme{Name: SchemeLegacy, Legacy: l}, nil
}

func parseWord(word, at string) (Scheme, error) {
	if slices.Contains(schemeWords, word) {
		return Scheme{Name: word}, nil
	}
	if _, ok := presets[word]; ok {
		return Scheme{}, wrongScheme(at, `write {"legacy": "`+word+`"}`, "is no scheme by itself")
	}
	return Scheme{}, wrongScheme(at, schemeHint, "is none of: %s", strings.Join(schemeWords, ", "))
}

// check looks at the schemes together.
func (s Schemes) check() error {
	headers := map[string]bool{}
	for i, scheme := range s {
		at := fmt.Sprintf("/%d", i)
		switch {
		case scheme.Name == SchemeNone && len(s) > 1:
			return wrongScheme(at, "leave it out, or write none alone", "none stands beside others")
		case scheme.Legacy == nil && slices.ContainsFunc(s[:i], func(o Scheme) bool { return o.Name == scheme.Name }):
			return wrongScheme(at, "leave it out", "%s stands here twice", scheme.Name)
		}
		if l := scheme.Legacy; l != nil {
			for _, name := range []string{l.Header, l.TimestampHeader} {
				name = http.CanonicalHeaderKey(name)
				if name != "" && headers[name] {
					return wrongScheme(at, "one request can have it once only", "another one has the header %s, too", name)
				}
				headers[name] = true
			}
		}
	}
	return nil
}

// String is the JSON that ParseSchemes reads; "" for none at all.
func (s Schemes) String() string {
	var v any
	switch len(s) {
	case 0:
		return ""
	case 1:
		v = s[0].json()
	default:
		all := make([]any, len(s))
		for i, scheme := range s {
			all[i] = scheme.json()
		}
		v = all
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings always can
	return strings.TrimSuffix(out.String(), "\n")
}

func (s Scheme) json() any {
	switch {
	case s.Legacy == nil:
		return s.Name
	case s.Legacy.preset != "":
		return map[string]string{SchemeLegacy: s.Legacy.preset}
	}
	return map[string]*Legacy{SchemeLegacy: s.Legacy}
}

// Has tells whether a scheme of this name is among s. Without any there is SchemeV1.
func (s Schemes) Has(name string) bool {
	if len(s) == 0 {
		return name == SchemeV1
	}
	return slices.ContainsFunc(s, func(o Scheme) bool { return o.Name == name })
}

// WithRFC9421 is s and SchemeRFC9421, for a request that says something outside its
// body, which the other schemes do not sign. What is not signed at all stays so.
func (s Schemes) WithRFC9421() Schemes {
	if s.Has(SchemeNone) || s.Has(SchemeRFC9421) {
		return s
	}
	all := make(Schemes, 0, len(s)+2)
	if len(s) == 0 {
		all = append(all, Scheme{Name: SchemeV1})
	}
	all = append(all, s...)
	return append(all, Scheme{Name: SchemeRFC9421})
}

// Headers are the names of the headers that s sets beside Webhook-Id and
// Webhook-Timestamp, in the spelling of http.Header.
func (s Schemes) Headers() []string {
	var names []string
	if s.Has(SchemeV1) || s.Has(SchemeV1a) {
		names = append(names, HeaderSignature)
	}
	for _, scheme := range s {
		switch {
		case scheme.Name == SchemeRFC9421:
			names = append(names, headerContentDigest, headerSignatureInput, headerSignature)
		case scheme.Legacy != nil:
			names = append(names, http.CanonicalHeaderKey(scheme.Legacy.Header))
			if scheme.Legacy.TimestampHeader != "" {
				names = append(names, http.CanonicalHeaderKey(scheme.Legacy.TimestampHeader))
			}
		}
	}
	return names
}

// Request is a request as it is signed, or as it came.
type Request struct {
	Message
	// Open opens a body that is not in memory; Message.Body is nil then. It is read
	// through once for each scheme.
	Open   func() (io.ReadCloser, error)
	Method string
	// URL is where the request goes, absolute and as it is sent. RFC 9421 alone needs
	// it, and Method.
	URL string
	// Header is that of the request: Sign adds to it, and RFC 9421 covers some of it.
	Header http.Header
}

// Sign sets Webhook-Id and Webhook-Timestamp, and the headers of every scheme. With
// several keys each of them signs, the first one first. A legacy scheme that has
// room for one signature is signed by the first alone. It is an ErrStreamed where v1a
// is to sign a body that Open opens; the errors of Open and of reading are passed on.
func (s Schemes) Sign(r Request, keys ...Keys) error {
	if len(keys) == 0 {
		return fmt.Errorf("sign: %w: none given", ErrSecret)
	}
	c, err := contentOf(r.Message)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	signature := ""
	if v1, v1a := s.Has(SchemeV1), s.Has(SchemeV1a); v1 || v1a {
		if signature, err = signWebhook(c, r.Open, v1, v1a, keys); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	c.set(r.Header, signature)
	for _, scheme := range s {
		switch {
		case scheme.Name == SchemeRFC9421:
			err = signRFC9421(r, keys)
		case scheme.Legacy != nil:
			err = scheme.Legacy.sign(r, keys)
		}
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	return nil
}

// signWebhook makes the members of webhook-signature.
func signWebhook(c content, open func() (io.ReadCloser, error), v1, v1a bool, keys []Keys) (string, error) {
	if open != nil {
		if v1a {
			return "", ErrStreamed
		}
		return signStreamed(c, open, keys)
	}
	all := ""
	for _, k := range keys {
		if v1 {
			member, err := sign(c, k.Shared)
			if err != nil {
				return "", err
			}
			all = join(all, member)
		}
		if v1a {
			member, err := sign(c, k.Private)
			if err != nil {
				return "", err
			}
			all = join(all, member)
		}
	}
	return all, nil
}

func join(all, member string) string {
	if all == "" {
		return member
	}
	return all + " " + member
}

// copyBody writes the body, wherever it is.
func (r Request) copyBody(w io.Writer) error {
	if r.Open == nil {
		_, err := w.Write(r.Body)
		return err
	}
	return copyStream(w, r.Open)
}

func copyStream(w io.Writer, open func() (io.ReadCloser, error)) error {
	body, err := open()
	if err != nil {
		return fmt.Errorf("open body: %w", err)
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}
