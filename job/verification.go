package job

import "time"

// Proof is how a receiver shows that it wants the callbacks of an endpoint.
type Proof string

// The kinds of proof.
const (
	ProofNone      Proof = ""          // none is asked for
	ProofChallenge Proof = "challenge" // a signed POST, whose challenge the answer repeats
	ProofHandshake Proof = "handshake" // CloudEvents' OPTIONS (HTTP 1.1 Web Hooks §4)
)

// VerificationState is how far a proof is. Its zero value: nothing was asked yet.
type VerificationState string

// The states of a proof. Unverified is shown where none is asked for, or it has
// expired; it is never stored.
const (
	Unverified         VerificationState = "unverified"
	VerificationWaits  VerificationState = "pending" // asked for; another request may follow
	Verified           VerificationState = "verified"
	VerificationFailed VerificationState = "failed" // nothing more is tried until somebody asks for it
)

// Verification is the proof that the receiver behind an endpoint wants callbacks.
type Verification struct {
	// URL is the one that was asked: for another one this counts for nothing.
	URL       string            `json:"url"`
	State     VerificationState `json:"state"`
	Method    Proof             `json:"method"`
	CheckedAt time.Time         `json:"checked_at,omitzero"` // of the last request's end
	ExpiresAt time.Time         `json:"expires_at,omitzero"` // of a verified one
	// Error is why the last request brought no consent: a word of the closed list in
	// docs/endpoints.md; empty where it did.
	Error string `json:"error,omitempty"`
	Tries int    `json:"tries,omitempty"` // without consent, one after the other
	// Rate is how many callbacks a minute the receiver allows; 0: it set no bound.
	Rate int `json:"rate,omitempty"`
	// DueAt is when the next request is due; zero: none is. Where nothing was asked
	// yet, or of another URL, it says nothing: a store has that due at once.
	DueAt time.Time `json:"-"`
}

// Verified tells whether callbacks may go to the endpoint's URL by a proof that is
// good at now.
func (e *Endpoint) Verified(now time.Time) bool {
	v := &e.Verification
	return v.State == Verified && v.URL == e.URL && now.Before(v.ExpiresAt)
}
