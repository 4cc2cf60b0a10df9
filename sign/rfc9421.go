package sign

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The header fields of RFC 9421 and RFC 9530, in the spelling of http.Header.
const (
	headerSignature      = "Signature"
	headerSignatureInput = "Signature-Input"
	headerContentDigest  = "Content-Digest"
	headerContentType    = "Content-Type"
)

// tagRingback is the profile's tag (RFC 9421 §2.3).
const tagRingback = "ringback"

// The algorithms of the profile (RFC 9421 §3.3.3, §3.3.6).
const (
	algHMAC    = "hmac-sha256"
	algEd25519 = "ed25519"
)

// baseSigner signs a signature base. It MUST be safe for concurrent use.
type baseSigner interface {
	baseVerifier
	signBase(base string) []byte
}

// baseVerifier checks the signature of a base.
type baseVerifier interface {
	algorithm() string
	keyID() string
	// verifyBase MUST take the same time wherever a wrong signature differs.
	verifyBase(base string, signature []byte) bool
}

func (*hmacKey) algorithm() string { return algHMAC }

func (k *hmacKey) signBase(base string) []byte {
	state := k.states.Get().(*hmacState)
	defer k.states.Put(state)
	state.mac.Reset()
	_, _ = state.mac.Write([]byte(base)) // a hash.Hash never fails
	return state.mac.Sum(nil)
}

func (k *hmacKey) verifyBase(base string, signature []byte) bool {
	return hmac.Equal(k.signBase(base), signature)
}

func (ed25519Verifier) algorithm() string { return algEd25519 }

func (k ed25519Verifier) verifyBase(base string, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(k.public, []byte(base), signature)
}

// edBaseSigner joins both halves of a private key.
type edBaseSigner struct {
	ed25519Verifier
	private ed25519.PrivateKey
}

func (k edBaseSigner) signBase(base string) []byte { return ed25519.Sign(k.private, []byte(base)) }

// baseSigner is the key as one that signs bases; nil where it cannot.
func (s Secret) baseSigner() baseSigner {
	k := s.key()
	if k == nil {
		return nil
	}
	switch signer := k.signer.(type) {
	case *hmacKey:
		return signer
	case ed25519Signer:
		return edBaseSigner{k.verifier.(ed25519Verifier), signer.private}
	}
	return nil
}

// signRFC9421 sets Content-Digest, Signature-Input and Signature: a label for each
// part of each key, sig1, sig2, … in their order. Covered are method, URL,
// Content-Type where there is one, the digest, Webhook-Id, and all that a format says
// in headers of its own (see isCovered).
func signRFC9421(r Request, keys []Keys) error {
	digest := sha256.New()
	if err := r.copyBody(digest); err != nil {
		return err
	}
	r.Header[headerContentDigest] = []string{"sha-256=:" + base64.StdEncoding.EncodeToString(digest.Sum(nil)) + ":"}
	covered := profileComponents(r.Header)
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: see its documentation
	var inputs, signatures []string
	for _, k := range keys {
		for _, secret := range []Secret{k.Shared, k.Private} {
			signer := secret.baseSigner()
			if signer == nil {
				return fmt.Errorf("%w: empty or public", ErrSecret)
			}
			params := fmt.Sprintf(`(%s);created=%d;keyid="%s";alg="%s";nonce="%s";tag="%s"`, strings.Join(quoteAll(covered), " "),
				r.Timestamp.Unix(), signer.keyID(), signer.algorithm(), base64.RawURLEncoding.EncodeToString(nonce[:]), tagRingback)
			base, err := signatureBase(r, covered, params)
			if err != nil {
				return err
			}
			label := "sig" + strconv.Itoa(len(inputs)+1)
			inputs = append(inputs, label+"="+params)
			signatures = append(signatures, label+"=:"+base64.StdEncoding.EncodeToString(signer.signBase(base))+":")
		}
	}
	r.Header[headerSignatureInput] = []string{strings.Join(inputs, ", ")}
	r.Header[headerSignature] = []string{strings.Join(signatures, ", ")}
	return nil
}

// profileComponents are what a signature of ours covers, and what one must cover.
func profileComponents(header http.Header) []string {
	covered := []string{"@method", "@target-uri"}
	if len(header[headerContentType]) > 0 {
		covered = append(covered, "content-type")
	}
	covered = append(covered, "content-digest", "webhook-id")
	var own []string
	for name := range header {
		if name = strings.ToLower(name); isCovered(name) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	return append(covered, own...)
}

// isCovered tells which headers are a part of what a callback says: those of
// CloudEvents and our own.
func isCovered(lower string) bool {
	return strings.HasPrefix(lower, "ce-") || strings.HasPrefix(lower, "ringback-")
}

// SaysOutsideBody tells whether r says something that stands in its URL or its
// headers, which RFC 9421 alone signs: it has no body, or its method asks for none, or
// it has headers ce-* or Ringback-*. A gateway signs each such request by RFC 9421,
// too, so one without is forged, or a proxy has dropped its signature.
func SaysOutsideBody(r Request) bool {
	if r.Open == nil && len(r.Body) == 0 {
		return true
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	}
	for name := range r.Header {
		if hasPrefixFold(name, "ce-") || hasPrefixFold(name, "ringback-") {
			return true
		}
	}
	return false
}

// hasPrefixFold is for each attempt of a callback, without a copy in lower case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func quoteAll(names []string) []string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = `"` + name + `"`
	}
	return quoted
}

// signatureBase is what is signed (RFC 9421 §2.5). covered are names without
// parameters, params the value of @signature-params.
func signatureBase(r Request, covered []string, params string) (string, error) {
	var base strings.Builder
	for i, name := range covered {
		if slices.Contains(covered[:i], name) {
			return "", fmt.Errorf("%w: %s is covered twice", ErrHeader, name)
		}
		value, err := component(r, name)
		if err != nil {
			return "", err
		}
		base.WriteString(`"` + name + `": ` + value + "\n")
	}
	base.WriteString(`"@signature-params": ` + params)
	return base.String(), nil
}

// component is the value of a component (RFC 9421 §2.1, §2.2).
func component(r Request, name string) (string, error) {
	if !strings.HasPrefix(name, "@") {
		values := r.Header.Values(name)
		if len(values) == 0 {
			return "", fmt.Errorf("%w: %s is signed, but missing: a proxy has dropped it", ErrHeader, name)
		}
		trimmed := make([]string, len(values))
		for i, v := range values {
			trimmed[i] = strings.Trim(v, " \t")
			if strings.ContainsAny(v, "\r\n") {
				return "", fmt.Errorf("%w: %s has a line break", ErrHeader, name)
			}
		}
		return strings.Join(trimmed, ", "), nil
	}
	if name == "@method" {
		return r.Method, nil
	}
	if name == "@target-uri" {
		return r.URL, nil
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%w: the URL of the request is not absolute", ErrHeader)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	switch name {
	case "@scheme":
		return strings.ToLower(u.Scheme), nil
	case "@authority":
		port := map[string]string{"http": ":80", "https": ":443"}[strings.ToLower(u.Scheme)]
		return strings.TrimSuffix(strings.ToLower(u.Host), port), nil
	case "@path":
		return path, nil
	case "@query":
		return "?" + u.RawQuery, nil
	case "@request-target":
		if u.RawQuery != "" || u.ForceQuery {
			path += "?" + u.RawQuery
		}
		return path, nil
	}
	return "", fmt.Errorf("%w: %s cannot be checked", ErrHeader, name)
}

// HasRFC9421 tells whether a request has a signature of RFC 9421 with our tag, as far
// as that shows: VerifyRFC9421 looks closer.
func HasRFC9421(header http.Header) bool {
	return slices.ContainsFunc(header[headerSignatureInput], func(value string) bool { return strings.Contains(value, `tag="`+tagRingback+`"`) })
}

// VerifyRFC9421 checks the signatures that r has after RFC 9421 with the tag
// "ringback". It passes if one of them is by one of the secrets, covers all that
// Schemes.Sign would cover, is of this method, URL, body and headers, and was created
// within Tolerance of now. Who stands behind a proxy sets r.URL to what the sender
// called. The error is an ErrHeader, ErrTimestamp, ErrMismatch or ErrSecret.
func VerifyRFC9421(r Request, now time.Time, secrets ...Secret) (Message, error) {
	m, err := verifyRFC9421(r, now, secrets)
	if err != nil {
		return Message{}, fmt.Errorf("verify: %w", err)
	}
	return m, nil
}

func verifyRFC9421(r Request, now time.Time, secrets []Secret) (Message, error) {
	if len(secrets) == 0 {
		return Message{}, fmt.Errorf("%w: none given", ErrSecret)
	}
	id, err := single(r.Header, HeaderID)
	if err == nil {
		err = checkID(id)
	}
	if err != nil {
		return Message{}, err
	}
	found, err := signaturesOf(r.Header)
	if err != nil {
		return Message{}, err
	}
	if err := checkDigest(r.Header, r.Body); err != nil {
		return Message{}, err
	}
	// Of several mistakes the one of a signature by our own key counts.
	err = fmt.Errorf("%w: none is by a key of this receiver; is its secret that of this endpoint, or of the app?", ErrMismatch)
	for _, s := range found {
		for _, secret := range secrets {
			k := secret.key()
			if k == nil {
				return Message{}, fmt.Errorf("%w: empty", ErrSecret)
			}
			verifier, ok := k.verifier.(baseVerifier)
			if !ok || subtle.ConstantTimeCompare([]byte(verifier.keyID()), []byte(s.keyID)) == 0 {
				continue
			}
			if err = s.verify(r, now, verifier); err == nil {
				return Message{ID: id, Timestamp: time.Unix(s.created, 0), Body: r.Body}, nil
			}
		}
	}
	return Message{}, err
}

// httpSignature is a member of Signature-Input, with its Signature.
type httpSignature struct {
	covered    []string
	params     string // as @signature-params
	created    int64
	expires    int64 // 0: never
	keyID, alg string
	signature  []byte
}

// signaturesOf reads the signatures that have our tag.
func signaturesOf(header http.Header) ([]httpSignature, error) {
	inputs, err := parseDictionary(header, headerSignatureInput)
	if err != nil {
		return nil, err
	}
	signatures, err := parseDictionary(header, headerSignature)
	if err != nil {
		return nil, err
	}
	var found []httpSignature
	for _, input := range inputs {
		if tag, _ := input.params["tag"].(string); tag != tagRingback || !input.isList {
			continue
		}
		s := httpSignature{covered: input.list, params: input.raw}
		var hasCreated bool
		s.created, hasCreated = input.params["created"].(int64)
		s.keyID, _ = input.params["keyid"].(string)
		s.alg, _ = input.params["alg"].(string)
		s.expires, _ = input.params["expires"].(int64)
		if !hasCreated || s.keyID == "" || s.alg == "" {
			return nil, fmt.Errorf("%w: Signature-Input %s lacks created, keyid or alg", ErrHeader, input.label)
		}
		for _, other := range signatures {
			if other.label == input.label {
				s.signature = other.bytes
			}
		}
		if s.signature == nil {
			return nil, fmt.Errorf("%w: Signature has no %s, which Signature-Input has", ErrHeader, input.label)
		}
		found = append(found, s)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf(`%w: no signature has the tag "ringback": the request is no callback`, ErrHeader)
	}
	return found, nil
}

// verify checks a signature that is by verifier's key, as it says.
func (s httpSignature) verify(r Request, now time.Time, verifier baseVerifier) error {
	if s.alg != verifier.algorithm() {
		return fmt.Errorf("%w: alg is not that of the key, %s", ErrHeader, verifier.algorithm())
	}
	for _, name := range profileComponents(r.Header) {
		if !slices.Contains(s.covered, name) {
			return fmt.Errorf("%w: the signature does not cover %s, which somebody may have added or changed", ErrHeader, name)
		}
	}
	if err := checkAge(time.Unix(s.created, 0), now); err != nil {
		return err
	}
	if s.expires != 0 && s.expires < now.Unix() {
		return fmt.Errorf("%w: the signature has expired", ErrTimestamp)
	}
	base, err := signatureBase(r, s.covered, s.params)
	if err != nil {
		return err
	}
	if !verifier.verifyBase(base, s.signature) {
		return fmt.Errorf("%w: a header was changed, or the URL that was called is not the one this receiver thinks; "+
			"behind a proxy tell the receiver its public URL", ErrMismatch)
	}
	return nil
}

// checkDigest checks Content-Digest (RFC 9530 §2): every digest in it that is of
// sha-256 or sha-512, and there must be one.
func checkDigest(header http.Header, body []byte) error {
	digests, err := parseDictionary(header, headerContentDigest)
	if err != nil {
		return err
	}
	checked := false
	for _, d := range digests {
		var sum []byte
		switch d.label {
		case "sha-256":
			s := sha256.Sum256(body)
			sum = s[:]
		case "sha-512":
			s := sha512.Sum512(body)
			sum = s[:]
		default:
			continue
		}
		if subtle.ConstantTimeCompare(sum, d.bytes) == 0 {
			return fmt.Errorf("%w: Content-Digest is of another body: it was changed on its way, or a parser had it before", ErrMismatch)
		}
		checked = true
	}
	if !checked {
		return fmt.Errorf("%w: Content-Digest has neither sha-256 nor sha-512", ErrHeader)
	}
	return nil
}
