package dashboard

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ringback/ringback/client"
)

// A session is a cookie that holds the key, sealed, and when it ends. There is nothing to
// keep here: each page asks the API with the key, so that a key that is revoked ends its
// sessions at once.

const (
	cookieName  = "ringback_session"
	sessionUse  = "dashboard session"
	sessionTime = 12 * time.Hour
	maxKeyBytes = 512
)

// session finds the key that a request's browser has signed in with.
func (s *Site) session(r *http.Request) (key string, ok bool) {
	if s.opt.Dev {
		return "", true
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return "", false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return "", false
	}
	plain, err := s.opt.Seal.Open(sealed, sessionUse)
	if err != nil || len(plain) < 8 {
		return "", false
	}
	until := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	return string(plain[8:]), s.opt.Now().Before(until)
}

func (s *Site) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: s.root, MaxAge: age, HttpOnly: true, //nolint:gosec // without TLS a browser would drop a secure one
		Secure: s.opt.Secure || r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

func (s *Site) endSession(w http.ResponseWriter, r *http.Request) { s.setCookie(w, r, "", -1) }

func (s *Site) serveSignIn(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.session(r); ok {
		http.Redirect(w, r, s.root+"/callbacks", http.StatusSeeOther)
		return
	}
	s.show(w, r, http.StatusOK, "signin", nil)
}

// signIn takes a key that may read.
func (s *Site) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	key := strings.TrimSpace(r.PostFormValue("key"))
	if key == "" || len(key) > maxKeyBytes || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		s.show(w, r, http.StatusBadRequest, "signin", &client.Problem{Title: "Paste an API key"})
		return
	}
	err := caller{site: s, r: r, key: key}.get("/callbacks?limit=1", nil)
	var problem *client.Problem
	if errors.As(err, &problem) {
		s.show(w, r, problem.Status, "signin", problem)
		return
	}
	if err != nil {
		s.opt.Log.ErrorContext(r.Context(), "sign in", "error", err)
		s.show(w, r, http.StatusInternalServerError, "signin", &client.Problem{Title: "Signing in failed"})
		return
	}
	plain := binary.BigEndian.AppendUint64(nil, uint64(s.opt.Now().Add(sessionTime).Unix()))
	s.setCookie(w, r, base64.RawURLEncoding.EncodeToString(s.opt.Seal.Seal(append(plain, key...), sessionUse)), int(sessionTime.Seconds()))
	http.Redirect(w, r, s.root+"/callbacks", http.StatusSeeOther)
}

func (s *Site) signOut(w http.ResponseWriter, r *http.Request) {
	s.endSession(w, r)
	http.Redirect(w, r, s.root+"/signin", http.StatusSeeOther)
}
