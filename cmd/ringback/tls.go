package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/config"
)

const (
	// certificateCheck is how often the files of a certificate are looked at, at most.
	certificateCheck = time.Second
	// strictTransport is for browsers: a year of https only, for this host alone.
	strictTransport = "max-age=31536000"
	// maxStreams bounds what a client asks for at once on one HTTP/2 connection.
	maxStreams = 100
	// pingAfter and pingTimeout end an HTTP/2 connection whose other side is gone.
	pingAfter, pingTimeout = 30 * time.Second, 15 * time.Second
)

// certificate is a pair of files that may change while the gateway serves: a handshake
// that comes a second or more after the last look at them takes what is there then. A
// pair that cannot be used leaves the one before in its place.
type certificate struct {
	conf config.TLS
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	pair    *tls.Certificate
	files   [2]fileMark // of pair, or of what was refused last
	looked  time.Time
	refused bool // files is what was refused
}

// fileMark tells whether a file has changed.
type fileMark struct {
	modified time.Time
	size     int64
	file     fs.FileInfo
}

func (m fileMark) same(as fileMark) bool {
	return m.modified.Equal(as.modified) && m.size == as.size && (m.file == nil) == (as.file == nil) && (m.file == nil || os.SameFile(m.file, as.file))
}

func markOf(path string) fileMark {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{}
	}
	return fileMark{modified: info.ModTime(), size: info.Size(), file: info}
}

// openCertificate reads a pair, which must be good.
func openCertificate(conf config.TLS, log *slog.Logger) (*certificate, error) {
	c := &certificate{conf: conf, log: log, now: time.Now}
	c.files = c.marks()
	c.looked = c.now()
	var err error
	if c.pair, err = c.read(); err != nil {
		return nil, &failure{code: exitFailure, err: err,
			hint: "tls.cert_file must hold the certificate and those between it and the root, tls.key_file its key, both as PEM, readable for the user who runs ringback"}
	}
	if c.now().After(c.pair.Leaf.NotAfter) {
		log.Warn("the certificate has ended: clients will refuse it", "file", conf.CertFile, "ended", c.pair.Leaf.NotAfter.UTC())
	}
	return c, nil
}

func (c *certificate) marks() [2]fileMark {
	return [2]fileMark{markOf(c.conf.CertFile), markOf(c.conf.KeyFile)}
}

// read loads the pair. The error names the files, and nothing that is in them.
func (c *certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.conf.CertFile, c.conf.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate of %s and %s: %w", c.conf.CertFile, c.conf.KeyFile, err)
	}
	return &pair, nil
}

// get is the certificate for a handshake.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.looked) < certificateCheck {
		return c.pair, nil
	}
	c.looked = c.now()
	marks := c.marks()
	changed := !marks[0].same(c.files[0]) || !marks[1].same(c.files[1])
	if !changed && !c.refused {
		return c.pair, nil
	}
	// Read again what was refused, too: a file may be written to within the grain of
	// its time. It is said once.
	c.files = marks
	switch pair, err := c.read(); {
	case err == nil:
		c.pair, c.refused = pair, false
		c.log.Info("another certificate is used", "file", c.conf.CertFile, "until", pair.Leaf.NotAfter.UTC())
	case changed:
		c.refused = true
		c.log.Error("the certificate cannot be used, and the one before stays", "error", err)
	}
	return c.pair, nil
}

// secure makes a server speak TLS with the certificate, and HTTP/2. A nil one leaves it
// as it is.
func (c *certificate) secure(s *http.Server) {
	if c == nil {
		return
	}
	s.TLSConfig = &tls.Config{MinVersion: max(c.conf.MinVersion, tls.VersionTLS12), GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", strictTransport)
		next.ServeHTTP(w, r)
	})
}

// serveOn serves until the server is closed.
func serveOn(s *http.Server, ln net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(ln, "", "")
	} else {
		err = s.Serve(ln)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}
