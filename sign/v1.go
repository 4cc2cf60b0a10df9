package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// hmacKey is scheme v1: HMAC-SHA256 with a shared secret.
type hmacKey struct {
	// states keeps keyed HMACs: keying one costs two blocks of SHA-256 and, what is
	// more, half a dozen allocations.
	states sync.Pool
}

type hmacState struct {
	mac      hash.Hash
	buf, sum []byte
}

func parseShared(raw []byte) (verifier, signer, error) {
	if len(raw) < 24 || len(raw) > 64 {
		return nil, nil, errors.New("does not hold 24 to 64 bytes")
	}
	k := newHMACKey(raw)
	return k, k, nil
}

func newHMACKey(raw []byte) *hmacKey {
	return &hmacKey{states: sync.Pool{New: func() any {
		return &hmacState{mac: hmac.New(sha256.New, raw)}
	}}}
}

func (*hmacKey) version() string { return "v1" }

func (k *hmacKey) sign(c content) string {
	state := k.compute(c)
	defer k.states.Put(state)
	return string(state.buf)
}

func (k *hmacKey) verify(c content, signature string) bool {
	state := k.compute(c)
	defer k.states.Put(state)
	// Compared as text: each signature has one spelling only.
	return hmac.Equal(state.buf[len("v1,"):], []byte(signature))
}

// compute returns a state whose buf is c's member of webhook-signature. The caller
// puts it back.
func (k *hmacKey) compute(c content) *hmacState {
	state := k.states.Get().(*hmacState)
	state.mac.Reset()
	state.buf = c.appendPrefix(state.buf[:0])
	_, _ = state.mac.Write(state.buf) // a hash.Hash never fails
	_, _ = state.mac.Write(c.body)
	state.sum = state.mac.Sum(state.sum[:0])
	state.buf = append(state.buf[:0], "v1,"...)
	state.buf = base64.StdEncoding.AppendEncode(state.buf, state.sum)
	return state
}

// signStreamed signs a body that is not in memory, with all keys in one pass.
func signStreamed(c content, open func() (io.ReadCloser, error), keys []Keys) (string, error) {
	states, writers := make([]*hmacState, len(keys)), make([]io.Writer, len(keys))
	for i, key := range keys {
		k := key.Shared.key()
		if k == nil {
			return "", fmt.Errorf("%w: empty", ErrSecret)
		}
		shared, ok := k.signer.(*hmacKey)
		if !ok {
			return "", fmt.Errorf("%w: it is not a shared one (%s)", ErrSecret, prefixShared)
		}
		state := shared.states.Get().(*hmacState)
		defer shared.states.Put(state)
		state.mac.Reset()
		_, _ = state.mac.Write(c.appendPrefix(nil))
		states[i], writers[i] = state, state.mac
	}
	if err := copyStream(io.MultiWriter(writers...), open); err != nil {
		return "", err
	}
	all := ""
	for _, state := range states {
		all = join(all, "v1,"+base64.StdEncoding.EncodeToString(state.mac.Sum(nil)))
	}
	return all, nil
}
