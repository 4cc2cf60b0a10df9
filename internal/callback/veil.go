package callback

import (
	"bytes"
	"strings"

	"github.com/ringback/ringback/job"
)

// What a callback says may hold tokens: of the link to the result, of the URL to
// reply at. Whoever reads the store, or a backup, must not be able to use them, so
// what is kept has a veil in the place of each: as many characters that nobody can
// guess, and that lead nowhere. They are put back for the attempt. A template that
// writes a token in another encoding has it stored as it writes it.

// tokens are those that a callback may hold, each followed by its veil.
func (s *Sender) tokens(cb *job.Callback) (pairs []string) {
	if s.opt.Seal == nil {
		return nil
	}
	add := func(url, behind string) {
		if _, token, ok := strings.Cut(url, behind); ok && token != "" {
			pairs = append(pairs, token, s.opt.Seal.Veil(token))
		}
	}
	if cb.Link != "" || cb.Body != nil {
		add(s.opt.ResultLink(cb.JobID), "?token=")
	}
	if cb.Event == job.EventAsk && s.opt.ReplyURL != nil {
		add(s.opt.ReplyURL(cb.JobID, cb.ID), "/replies/")
	}
	return pairs
}

// veil takes the tokens out of what a callback keeps.
func (s *Sender) veil(cb *job.Callback) {
	tokens := s.tokens(cb)
	for i := 0; i < len(tokens); i += 2 {
		replaceToken(cb, tokens[i], tokens[i+1])
	}
}

// unveiled is the callback with its tokens, for an attempt.
func (s *Sender) unveiled(cb *job.Callback) *job.Callback {
	tokens := s.tokens(cb)
	if tokens == nil {
		return cb
	}
	whole := *cb
	for i := 0; i < len(tokens); i += 2 {
		replaceToken(&whole, tokens[i+1], tokens[i])
	}
	return &whole
}

func replaceToken(cb *job.Callback, from, to string) {
	cb.Link = strings.ReplaceAll(cb.Link, from, to)
	for _, b := range []*[]byte{&cb.Body, &cb.Data} {
		if bytes.Contains(*b, []byte(from)) {
			*b = bytes.ReplaceAll(*b, []byte(from), []byte(to))
		}
	}
}
